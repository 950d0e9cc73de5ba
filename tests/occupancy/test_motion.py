"""Finding, matching and moving on, on worlds where the answer is known."""

from dataclasses import replace

import numpy as np

from occflow.geometry import planar_pose
from occflow.grid import VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.motion import advanced_bodies, clusters, match
from occflow.occupancy.warp import touched_voxels, warp

GRID = VoxelGrid((-16, -16, 0), (32, 32, 4), 1.0)
CAR, ROAD = 4, 11


def frame(index: int, objects: list[tuple[int, int, int]], ego_x: float = 0.0) -> OccupancyFrame:
    """A road voxel at (0, 10, 0) m and 3 x 2 x 1 objects (label, x, y) in the world, in the grid of an ego at ego_x."""
    volume = np.full(GRID.shape, 17, dtype=np.uint8)
    offset = 16 - int(ego_x)
    volume[offset, 26, 0] = ROAD
    for label, x, y in objects:
        volume[x + offset:x + offset + 3, y + 16:y + 18, 1] = label
    return OccupancyFrame.from_dense(volume, planar_pose(ego_x, 0, 0), 0.5 * index)


def same(a: OccupancyFrame, b: OccupancyFrame) -> bool:
    return np.array_equal(a.flat, b.flat) and np.array_equal(a.labels, b.labels)


def test_a_queue_is_matched_one_to_one():
    before, now = (clusters(frame(i, [(CAR, -12 + 6 * k + 2 * i, 0) for k in range(4)]), GRID) for i in range(2))
    pairs = match(now, before, 0.5)
    assert sorted(pairs.values()) == [0, 1, 2, 3]
    assert all(now[i].centre_m[0] - before[j].centre_m[0] == 2 for i, j in pairs.items())


def test_warp_by_whole_voxels_and_back():
    source = frame(0, [(CAR, 0, 0)])
    moved = warp(source, GRID, planar_pose(2, -3, np.pi / 2))
    assert len(moved.flat) == len(source.flat) and same(warp(moved, GRID, source.world_from_grid), source)


def test_warp_stays_within_the_touched_voxels():
    source, target = frame(0, [(CAR, 0, 0)]), planar_pose(0.37, 0.21, 0.3)
    assert np.isin(warp(source, GRID, target).flat, touched_voxels(source, GRID, target)).all()


def test_rigid_motions_agree_with_warping_each_body_alone():
    """Batched over bodies; a first body wins over a second one, movers over the world, and no holes are left."""
    rng = np.random.default_rng(0)
    grid = VoxelGrid((-16, -16, -1), (40, 40, 6), 0.8)
    volume = np.where(rng.random(grid.shape) < 0.2, rng.integers(0, 17, grid.shape), 17).astype(np.uint8)
    source = OccupancyFrame.from_dense(volume, planar_pose(3.1, -2.2, 0.4, 0.3), 1.0)
    slots = np.array_split(rng.permutation(len(source.flat))[:600], 9)
    motions = np.stack([planar_pose(*rng.uniform(-4, 4, 2), rng.uniform(-3, 3)) for _ in slots])
    motions[4], target = np.eye(4), planar_pose(4.0, -2.0, 0.7)
    moved = advanced_bodies(source, grid, slots, motions, target, 2.0)
    static = np.isin(np.arange(len(source.flat)), np.concatenate(slots[:4] + slots[5:]), invert=True)
    expected = warp(replace(source, flat=source.flat[static], labels=source.labels[static]), grid, target).dense(grid)
    for part, motion in reversed(list(zip(slots, motions))):
        part = np.sort(part)
        body = OccupancyFrame(source.flat[part], source.labels[part], motion @ source.world_from_grid, 1.0)
        if (motion != np.eye(4)).any():
            expected = np.where((own := warp(body, grid, target).dense(grid)) != 17, own, expected)
    assert np.array_equal(moved.dense(grid), expected) and moved.stamp_s == 2.0


def test_no_bodies_and_bodies_that_stand_are_the_static_world():
    source, target = frame(0, [(CAR, 0, 0)]), planar_pose(0.37, 0.21, 0.3)
    for slots in ([], [np.arange(1, 7)], [np.zeros(0, dtype=int)]):
        assert same(advanced_bodies(source, GRID, slots, np.tile(np.eye(4), (len(slots), 1, 1)), target, 1.0),
                    warp(source, GRID, target))
