"""Occupancy quality on worlds small enough to count by hand."""

from __future__ import annotations

import numpy as np

from occflow.geometry import planar_pose
from occflow.grid import CLASS_NAMES, VoxelGrid
from occflow.logs.protocol import Box
from occflow.occupancy.frame import OccupancyFrame
from studies.data.quality import BuiltQuality, left_by_movers, persistence_iou

GRID = VoxelGrid((0.0, 0.0, 0.0), (20, 10, 2), 1.0)
CAR, ROAD = CLASS_NAMES.index("car"), CLASS_NAMES.index("driveable_surface")


def frame_of(cells: dict[tuple, int], boxes: tuple[Box, ...] = (), observed: np.ndarray | None = None,
             x_m: float = 0.0) -> OccupancyFrame:
    volume = np.full(GRID.shape, 17, dtype=np.uint8)
    for cell, label in cells.items():
        volume[cell] = label
    return OccupancyFrame(*_sparse(volume), planar_pose(x_m, 0, 0), x_m, "", boxes, observed)


def _sparse(volume: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    flat = np.flatnonzero(volume.reshape(-1) != 17)
    return flat, volume.reshape(-1)[flat]


def car_at(x_m: float) -> Box:
    return Box("car-1", CAR, planar_pose(x_m, 5.0, 0.0, 1.0), np.array([4.0, 2.0, 2.0]))


def test_a_trail_counts_against_the_build_and_the_ground_does_not():
    now, before = car_at(14.0), car_at(4.0)
    left = left_by_movers(frame_of({}, (now,)), [(before,)], GRID).reshape(GRID.shape)
    assert left.sum() == 4 * 2 * 2 and left[2:6, 4:6].all()
    trail = {(3, 4, 0): CAR, (4, 4, 0): CAR, (5, 4, 0): ROAD, (14, 5, 0): CAR}
    quality = BuiltQuality()
    quality.add(frame_of(trail, (now,)), frame_of({(4, 4, 0): CAR, (14, 5, 0): CAR}), [(before,)], GRID)
    assert (quality.left_claimed, quality.left_right, quality.left_precision) == (2, 1, 0.5)
    assert (quality.left, quality.without_trail) == (16, 15 / 16)


def test_what_stands_still_has_left_nothing():
    assert not left_by_movers(frame_of({}, (car_at(4.5),)), [(car_at(4.0),)], GRID).any()


def test_unobserved_voxels_do_not_count():
    observed = np.zeros(GRID.shape, dtype=bool)
    observed[:10] = True
    quality = BuiltQuality()
    quality.add(frame_of({(1, 1, 1): CAR, (12, 1, 1): CAR}, observed=np.packbits(observed)),
                frame_of({(1, 1, 1): CAR, (2, 1, 1): CAR, (15, 1, 1): CAR}), [], GRID)
    assert quality.iou.iou()[0] == 0.5
    assert quality.observed == quality.voxels // 2


def test_persistence_agrees_with_a_static_world_only_under_the_right_poses():
    wall = {(x, 3, 0): CAR for x in range(3, 20)}  # world x = 3 + ...
    frames = [frame_of({(x - k, 3, 0): CAR for x, _, _ in wall if x - k >= 0}, x_m=float(k)) for k in range(3)]
    assert persistence_iou(frames, GRID, [1, 2]) == [1.0, 1.0]
    assert persistence_iou(frames, GRID, [1, 2], moved=False)[1] < 1.0
