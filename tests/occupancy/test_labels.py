"""Cells, votes and voxels against what they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from occflow.geometry import planar_pose, points_in_box, transform
from occflow.grid import VoxelGrid
from occflow.logs.protocol import UNLABELLED, Box
from occflow.occupancy.building.accumulate import assign_to_boxes
from occflow.occupancy.building.cells import CellCounter, in_order
from occflow.occupancy.building.labels import flat_voxels, point_weights, voxelise


def test_cells_count_points_by_group_cell_and_label_and_lie_amid_their_points(monkeypatch):
    monkeypatch.setattr("occflow.occupancy.building.cells.PENDING_CELLS", 10)  # merge again and again
    rng = np.random.default_rng(0)
    counter, expected, points_of = CellCounter(0.5, 12), {}, {}
    for _ in range(20):
        points, labels = rng.uniform(-2, 2, (50, 3)), rng.integers(0, 3, 50).astype(np.uint8)
        groups = rng.integers(0, 4, 50)
        counter.add(points, labels, groups)
        for point, label, group in zip(points, labels, groups, strict=True):
            cell = (int(group), *np.floor(point / 0.5).tolist())
            key = (*cell, int(label))
            expected[key] = expected.get(key, 0) + 1
            points_of.setdefault(cell, []).append(point)
    cells, found = counter.cells(), {}
    for group, place, label, count in zip(cells.groups, cells.places_m, cells.labels, cells.counts, strict=True):
        cell = (int(group), *np.floor(place / 0.5).tolist())
        found[(*cell, int(label))] = int(count)
        assert np.allclose(place, np.mean(points_of[cell], axis=0), atol=1e-6)  # of all labels
    assert found == expected


@pytest.mark.parametrize(("count", "most"), [(0, 1), (1, 1), (900, 1), (5000, 7), (5000, 2**16), (5000, 2**40),
                                             (5000, 2**62)])
def test_keys_are_put_in_order_and_equal_ones_stay_as_they_came(count, most):
    keys = np.random.default_rng(count).integers(0, most, count)
    assert np.array_equal(in_order(keys), np.argsort(keys, kind="stable"))


def test_a_wall_just_beyond_a_voxel_s_border_fills_that_voxel_only():
    """A lattice that is not the grid's: a cell that the border cuts is where its points are, not at its centre."""
    rng, counter = np.random.default_rng(4), CellCounter(0.2, 12)
    wall = np.column_stack([np.full(500, 0.43), rng.uniform(0, 2, 500), rng.uniform(0, 2, 500)])
    counter.add(wall, np.zeros(500, np.uint8))
    cells, grid = counter.cells(), VoxelGrid((0.01, 0, 0), (4, 5, 5), 0.4)  # borders at 0.41, 0.81 ...
    assert set(grid.unflatten(flat_voxels(grid, np.eye(4), cells.places_m))[:, 0]) == {1}


def test_flat_voxels_are_the_grid_s_own():
    grid, rng = VoxelGrid((-4, -3, -1), (10, 8, 5), 0.8), np.random.default_rng(1)
    pose, points = planar_pose(1.3, -0.4, 0.7, 0.2), rng.uniform(-8, 8, (5000, 3))
    indices, inside = grid.indices(transform(pose, points))
    assert np.array_equal(flat_voxels(grid, pose, points), np.where(inside, grid.flatten(indices), -1))


def test_the_smallest_box_owns_a_point():
    rng, points = np.random.default_rng(2), np.random.default_rng(3).uniform(-6, 6, (4000, 3))
    tilt = np.eye(4)
    tilt[:3, :3] = Rotation.from_euler("xy", (0.1, -0.2)).as_matrix()
    boxes = [Box(str(i), 4, planar_pose(*rng.uniform(-4, 4, 2), rng.uniform(-3, 3)) @ tilt, rng.uniform(1, 6, 3))
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
    flat, classes = voxelise(8, flat_voxels(grid, np.eye(4), cells.places_m), labels, weights, cells.counts, 1)
    assert flat.tolist() == [0, 1, 3] and classes.tolist() == [11, 15, 0]
