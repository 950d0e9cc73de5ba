"""Cells, votes and voxels against what they stand for."""

from __future__ import annotations

import numpy as np

from occflow.geometry import planar_pose, points_in_box, transform
from occflow.grid import VoxelGrid
from occflow.logs.protocol import UNLABELLED, Box
from occflow.occupancy.accumulate import assign_to_boxes
from occflow.occupancy.cells import CellCounter
from occflow.occupancy.labels import flat_voxels, point_weights, voxelise


def test_cells_count_points_by_group_cell_and_label(monkeypatch):
    monkeypatch.setattr("occflow.occupancy.cells.PENDING_CELLS", 10)  # merge again and again
    rng = np.random.default_rng(0)
    counter, expected = CellCounter(0.5, 12), {}
    for _ in range(20):
        points, labels = rng.uniform(-2, 2, (50, 3)), rng.integers(0, 3, 50).astype(np.uint8)
        groups = rng.integers(0, 4, 50)
        counter.add(points, labels, groups)
        for point, label, group in zip(np.floor(points / 0.5), labels, groups, strict=True):
            key = (int(group), *(point * 0.5 + 0.25).tolist(), int(label))
            expected[key] = expected.get(key, 0) + 1
    cells = counter.cells()
    found = {(int(group), *centre.tolist(), int(label)): int(count) for group, centre, label, count
             in zip(cells.groups, cells.centres_m, cells.labels, cells.counts, strict=True)}
    assert found == expected


def test_flat_voxels_are_the_grid_s_own():
    grid, rng = VoxelGrid((-4, -3, -1), (10, 8, 5), 0.8), np.random.default_rng(1)
    pose, points = planar_pose(1.3, -0.4, 0.7, 0.2), rng.uniform(-8, 8, (5000, 3))
    indices, inside = grid.indices(transform(pose, points))
    assert np.array_equal(flat_voxels(grid, pose, points), np.where(inside, grid.flatten(indices), -1))


def test_the_smallest_box_owns_a_point():
    rng, points = np.random.default_rng(2), np.random.default_rng(3).uniform(-6, 6, (4000, 3))
    boxes = [Box(str(i), 4, planar_pose(*rng.uniform(-4, 4, 2), rng.uniform(-3, 3)), rng.uniform(1, 6, 3))
             for i in range(6)]
    owners, local = assign_to_boxes(points, boxes, 0.2)
    inside = np.stack([points_in_box(points, box.world_from_box, box.size_lwh_m, 0.2) for box in boxes])
    volumes = np.array([np.prod(box.size_lwh_m) for box in boxes])
    expected = np.where(inside.any(axis=0), np.where(inside, volumes[:, None], np.inf).argmin(axis=0), -1)
    assert np.array_equal(owners, expected)
    for index, box in enumerate(boxes):
        assert np.allclose(transform(box.world_from_box, local[owners == index]), points[owners == index])


def test_one_labelled_point_outvotes_any_number_of_borrowed_labels():
    counter = CellCounter(0.4, 12)
    counter.add(np.array([[0.1, 0.1, 0.1]]), np.array([11], np.uint8))
    counter.add(np.array([[0.5, 0.1, 0.1]] * 50), np.full(50, UNLABELLED, np.uint8))  # same voxel, another cell
    counter.add(np.array([[0.9, 0.1, 0.1]]), np.array([15], np.uint8))  # next voxel, next cell
    counter.add(np.array([[3.0, 0.1, 0.1]] * 2), np.full(2, UNLABELLED, np.uint8))  # beyond the radius
    cells, grid = counter.cells(), VoxelGrid((0, 0, 0), (8, 1, 1), 0.8)
    labels, weights = point_weights(cells, radius_m=1.5)
    flat, classes = voxelise(8, flat_voxels(grid, np.eye(4), cells.centres_m), labels, weights, cells.counts, 1)
    assert flat.tolist() == [0, 1, 3] and classes.tolist() == [11, 15, 0]
