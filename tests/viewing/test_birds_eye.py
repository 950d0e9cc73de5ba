"""The map of a frame: what is where in the picture, in which colour."""

from __future__ import annotations

import numpy as np

from occflow.geometry import planar_pose
from occflow.grid import CLASS_NAMES, VoxelGrid
from occflow.logs.protocol import UNLABELLED, Box
from occflow.occupancy.frame import OccupancyFrame
from occflow.viewing.birds_eye import FREE_RGB, HIGH_RGB, LOW_RGB, MARGIN_PX, UNSEEN_RGB, draw_birds_eye
from occflow.viewing.palette import BACKGROUND, CLASS_COLOURS

GRID = VoxelGrid((-4, -4, 0), (8, 8, 4), 1.0)  # 100 pixels a voxel
CAR, ROAD = CLASS_NAMES.index("car"), CLASS_NAMES.index("driveable_surface")


def frame_of(voxels: dict[tuple, int], observed: np.ndarray | None = None, boxes: tuple = ()) -> OccupancyFrame:
    flat = GRID.flatten(np.array(list(voxels)).reshape(-1, 3))
    order = np.argsort(flat)
    labels = np.array(list(voxels.values()), np.uint8)[order]
    packed = None if observed is None else np.packbits(observed)
    return OccupancyFrame(flat[order], labels, np.eye(4), 0.0, "", boxes, packed)


def colour(image, x: int, y: int) -> np.ndarray:
    """Colour in the middle of the voxel column (x forward, y left)."""
    return np.array(image.getpixel((MARGIN_PX + (7 - y) * 100 + 50, 2 * MARGIN_PX + (7 - x) * 100 + 50)), dtype=float)


def hue(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values)


def test_forward_is_up_and_left_is_left_and_the_top_voxel_shows():
    image = draw_birds_eye(frame_of({(7, 7, 0): ROAD, (7, 0, 0): ROAD, (7, 0, 3): CAR, (0, 7, 1): CAR}), GRID)
    road, car = colour(image, 7, 7), colour(image, 7, 0)
    assert car[2] > 1.5 * car[0] and np.allclose(hue(road), hue(np.array([142, 138, 152])), atol=0.02)
    low_car = colour(image, 0, 7)
    assert low_car[2] < car[2] and tuple(colour(image, 0, 0)) == FREE_RGB


def test_columns_without_a_ray_are_striped():
    observed = np.ones(GRID.shape, dtype=bool)
    observed[0] = False
    observed[1, :, 1:] = False  # one voxel of the column was seen
    image = draw_birds_eye(frame_of({(0, 7, 0): ROAD}, observed), GRID)
    assert tuple(colour(image, 0, 0)) in UNSEEN_RGB and tuple(colour(image, 1, 0)) == FREE_RGB
    assert np.allclose(hue(colour(image, 0, 7)), hue(np.array([142, 138, 152])), atol=0.02)


def test_unlabelled_voxels_are_coloured_by_height():
    image = draw_birds_eye(frame_of({(7, 7, 0): UNLABELLED, (7, 0, 3): UNLABELLED}), GRID)
    assert np.allclose(colour(image, 7, 7), LOW_RGB, atol=1) and np.allclose(colour(image, 7, 0), HIGH_RGB, atol=1)


def test_a_legend_of_many_classes_is_not_cut():
    flat_grid = VoxelGrid((-4, -1, 0), (8, 2, 4), 1.0)
    wide = VoxelGrid((-1, -20, 0), (2, 40, 1), 1.0)  # a map of 40 pixels
    every = OccupancyFrame(np.arange(17), np.arange(17, dtype=np.uint8), np.eye(4), 0.0)
    for grid in (flat_grid, wide):
        image = np.asarray(draw_birds_eye(every, grid))
        assert (image[-8:] == BACKGROUND).all()  # what is written ends above the lower border
        assert all((image == colour).all(axis=2).any() for colour in CLASS_COLOURS.astype(np.uint8))


def test_boxes_within_the_grid_are_outlined():
    near, far = (Box("a", CAR, planar_pose(x, 2, 0), np.array([2.0, 1.0, 1.0])) for x in (-2, 90))
    plain, drawn = (draw_birds_eye(frame_of({}, None, boxes), GRID, "empty") for boxes in ((), (near, far)))
    assert plain.size == drawn.size and plain.tobytes() != drawn.tobytes()
