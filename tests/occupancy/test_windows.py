"""Anchored windows and augmentation keep matter where it is in the world."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from occflow.errors import InputError
from occflow.geometry import invert, is_rigid, planar_pose, transform
from occflow.grid import CLASS_NAMES, VoxelGrid
from occflow.logs.protocol import Box
from occflow.occupancy.augmentation import MIRROR, cropped, mirrored, part_of, random_corner, turned
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.warp import regridded, warp
from occflow.occupancy.windows import Window, WindowKey, anchored

CAR = CLASS_NAMES.index("car")
GRID = VoxelGrid((-8.0, -8.0, -1.0), (20, 20, 5), 0.8)


def random_frame(seed: int, pose: np.ndarray, grid: VoxelGrid = GRID) -> OccupancyFrame:
    rng = np.random.default_rng(seed)
    flat = np.sort(rng.choice(grid.num_voxels, 60, replace=False))
    box = Box("car-1", CAR, pose @ planar_pose(2.0, 1.0, 0.3, 0.5), np.array([4.0, 2.0, 1.5]))
    return OccupancyFrame(flat, rng.integers(0, 17, 60).astype(np.uint8), pose, float(seed), f"frame-{seed}", (box,),
                          np.packbits(rng.random(grid.num_voxels) < 0.5))


def random_window(step_m: float = 1.6) -> Window:
    frames = [random_frame(k, planar_pose(10 + step_m * k, 5.0, 0.0)) for k in range(4)]
    return Window.of(WindowKey("scene", 0), tuple(frames[:2]), tuple(frames[2:]))


def world_points(frame: OccupancyFrame) -> dict[tuple, int]:
    """Label by the world position of every voxel's centre, in whole millimetres."""
    points = transform(frame.world_from_grid, GRID.centres(GRID.unflatten(frame.flat)))
    return {tuple(np.round(point * 1e3).astype(int)): int(label) for point, label in zip(points, frame.labels)}


def test_anchored_frames_share_the_present_grid_and_keep_their_voxels_in_the_world():
    window = random_window()
    still = anchored(window, GRID)
    for before, after in zip(window.history + window.truth, still.history + still.truth):
        assert np.array_equal(after.world_from_grid, window.present.world_from_grid)
        assert (after.stamp_s, after.token, after.boxes) == (before.stamp_s, before.token, before.boxes)
        wanted = world_points(before)
        assert world_points(after).items() <= wanted.items()
        inside = GRID.indices(transform(invert(window.present.world_from_grid), np.array(list(wanted)) / 1e3))[1]
        assert len(after.flat) == inside.sum()  # whole-voxel steps lose nothing but what leaves the grid
    assert still.present is window.present


def test_masks_move_with_the_voxels():
    frame = random_frame(0, planar_pose(0, 0, 0.4))
    moved = regridded(frame, GRID, frame.world_from_grid @ planar_pose(1.6, -0.8, 0.0))
    before, after = frame.observed_mask(GRID), moved.observed_mask(GRID)
    assert np.array_equal(after[:-2, 1:], before[2:, :-1])
    assert not after[-2:].any() and not after[:, 0].any()  # no sensor could judge what no grid covered


def test_mirroring_twice_is_nothing_and_once_mirrors_the_world():
    window = random_window()
    there, back = mirrored(window, GRID), mirrored(mirrored(window, GRID), GRID)
    for one, two, three in zip(window.history, back.history, there.history):
        assert np.array_equal(one.flat, two.flat) and np.array_equal(one.labels, two.labels)
        assert np.allclose(one.world_from_grid, two.world_from_grid) and np.array_equal(one.observed, two.observed)
        assert world_points(three) == {(x, -y, z): label for (x, y, z), label in world_points(one).items()}
        assert np.linalg.det(three.world_from_grid) == pytest.approx(1)
        corner = np.array([[1.0, 0.5, 0.2]])  # a place in the box: mirrored in the box as in the world
        mirrored_corner = transform(three.boxes[0].world_from_box, corner * [1, -1, 1])
        assert np.allclose(mirrored_corner, transform(MIRROR @ one.boxes[0].world_from_box, corner))


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_lose_nothing(quarters):
    window = random_window()
    other = turned(window, GRID, quarters * np.pi / 2)
    for before, after in zip(window.history + window.truth, other.history + other.truth):
        assert world_points(after) == world_points(before)
        assert after.observed_mask(GRID).sum() == before.observed_mask(GRID).sum()


def tilted_pose(rng: np.random.Generator) -> np.ndarray:
    """A pose in any direction, a little tilted; nothing of it falls on the edge of a voxel."""
    pose = planar_pose(*rng.uniform(-3, 3, 2), rng.uniform(-np.pi, np.pi), rng.normal() / 10)
    tilt = Rotation.from_rotvec([*rng.normal(size=2) / 20, 0.0]).as_matrix()
    pose[:3, :3] = pose[:3, :3] @ tilt
    return pose


CHANGES = {"mirrored": lambda window: mirrored(window, GRID), **{
    f"{k} quarter turns": lambda window, k=k: turned(window, GRID, k * np.pi / 2) for k in (1, 2, 3)}}


@pytest.mark.parametrize("change", CHANGES)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2 ** 32 - 1))
def test_what_stands_stands_as_well_in_a_changed_window(change, seed):
    """Moving a frame by the ego motion and changing it give the same in either order, voxel by voxel."""
    rng = np.random.default_rng(seed)
    frames = tuple(random_frame(seed + i, tilted_pose(rng)) for i in range(3))
    other = CHANGES[change](Window.of(WindowKey("scene", 0), frames[:2], frames[2:]))
    others = (*other.history, *other.truth)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        moved = replace(regridded(frames[i], GRID, frames[j].world_from_grid), boxes=frames[i].boxes)
        wanted = CHANGES[change](Window.of(WindowKey("scene", 0), (moved,), (moved,))).present
        found = regridded(others[i], GRID, others[j].world_from_grid)
        assert np.array_equal(found.flat, wanted.flat) and np.array_equal(found.labels, wanted.labels)
        assert np.array_equal(found.observed, wanted.observed)
        assert is_rigid(others[i].world_from_grid) and all(is_rigid(box.world_from_box) for box in others[i].boxes)
        to_box, was = (invert(frame.world_from_grid) @ frame.boxes[0].world_from_box
                       for frame in (others[i], frames[i]))
        if change == "mirrored":
            assert np.allclose(to_box, MIRROR @ was @ MIRROR)
        else:  # the vehicle turned one way sees the world turned the other
            assert np.allclose(to_box, planar_pose(0, 0, -int(change[0]) * np.pi / 2) @ was)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2 ** 32 - 1), angle_rad=st.floats(-np.pi, np.pi))
def test_a_turned_grid_holds_nothing_that_was_not_there(seed, angle_rad):
    frame = random_frame(seed, tilted_pose(np.random.default_rng(seed)))
    after = turned(Window.of(WindowKey("scene", 0), (frame,), (frame,)), GRID, angle_rad).present
    assert is_rigid(after.world_from_grid) and after.boxes is frame.boxes
    places = transform(invert(frame.world_from_grid) @ after.world_from_grid, GRID.centres(GRID.unflatten(after.flat)))
    index, inside = GRID.indices(places)
    assert inside.all() and np.array_equal(frame.dense(GRID)[tuple(index.T)], after.labels)


def test_a_lopsided_grid_is_not_mirrored():
    grid = VoxelGrid((0.0, -2.0, 0.0), (10, 10, 2), 0.8)
    frame = OccupancyFrame(np.zeros(0, np.int64), np.zeros(0, np.uint8), np.eye(4), 0.0)
    with pytest.raises(InputError, match="not symmetric"):
        mirrored(Window.of(WindowKey("scene", 0), (frame,), (frame,)), grid)


def test_a_crop_is_the_same_world_seen_through_a_smaller_grid():
    window = random_window()
    part = part_of(GRID, (4, 8), (10, 6))
    small = cropped(window, GRID, (4, 8), part)
    for before, after in zip(window.history, small.history):
        points = transform(after.world_from_grid, part.centres(part.unflatten(after.flat)))
        found = {tuple(np.round(point * 1e3).astype(int)): int(label) for point, label in zip(points, after.labels)}
        inside = part.indices(GRID.centres(GRID.unflatten(before.flat)))[1]
        assert len(found) == inside.sum() > 0 and found.items() <= world_points(before).items()
        assert (np.diff(after.flat) > 0).all()


def test_a_crop_stays_inside():
    with pytest.raises(ValueError, match="reach out"):
        part_of(GRID, (15, 0), (6, 6))
    corners = {random_corner(GRID, (12, 12), (8, 4), np.random.default_rng(seed)) for seed in range(50)}
    assert corners == {(x, y) for x in (0, 8) for y in (0, 4, 8)}


@pytest.mark.parametrize("angle_deg", [5, 20, 33, 45, 70])
def test_a_turned_surface_has_no_holes(angle_deg):
    """As if every voxel were asked where it comes from: corners of moved voxels do not lie in all of them."""
    surface = OccupancyFrame(np.arange(2, GRID.num_voxels, GRID.shape[2]), np.full(400, 11, np.uint8), np.eye(4), 0.0)
    pose = planar_pose(0.3, 0.1, np.radians(angle_deg))
    everywhere = warp(surface, GRID, pose, candidates=np.arange(GRID.num_voxels))
    assert np.array_equal(warp(surface, GRID, pose).flat, everywhere.flat) and len(everywhere.flat) > 250
