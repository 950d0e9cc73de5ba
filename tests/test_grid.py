"""Voxel indexing: indices, flat indices and centres are each other's inverses, inside and only inside the grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from occflow.command_line import compose_config
from occflow.errors import InputError
from occflow.grid import OCC3D_GRID, VoxelGrid

METRES = st.floats(-1e4, 1e4)
GRIDS = st.builds(VoxelGrid, st.tuples(METRES, METRES, METRES), st.tuples(*[st.integers(1, 50)] * 3),
                  st.floats(0.01, 10.0))


@given(GRIDS, st.integers(0, 2 ** 32 - 1))
def test_flat_indices_are_the_voxels_one_by_one(grid, seed):
    flat = np.random.default_rng(seed).integers(0, grid.num_voxels, 50)
    indices = grid.unflatten(flat)
    assert ((indices >= 0) & (indices < grid.shape)).all()
    assert np.array_equal(grid.flatten(indices), flat)
    assert np.array_equal(flat, np.ravel_multi_index(tuple(indices.T), grid.shape))


@given(GRIDS, st.integers(0, 2 ** 32 - 1))
def test_a_centre_lies_in_its_voxel(grid, seed):
    indices = grid.unflatten(np.random.default_rng(seed).integers(0, grid.num_voxels, 50))
    found, inside = grid.indices(grid.centres(indices))
    assert inside.all() and np.array_equal(found, indices)


@given(GRIDS, st.integers(0, 2 ** 32 - 1))
def test_a_point_is_in_the_voxel_whose_centre_is_within_half_an_edge(grid, seed):
    size_m = np.array(grid.shape) * grid.voxel_size_m
    points = grid.origin_m + np.random.default_rng(seed).uniform(-0.5, 1.5, (50, 3)) * size_m
    indices, inside = grid.indices(points)
    away = np.abs(grid.centres(indices[inside]) - points[inside])
    assert (away <= grid.voxel_size_m / 2 + 1e-7).all()
    outside = ((points < grid.origin_m) | (points >= grid.origin_m + size_m)).any(axis=1)
    border = np.minimum(np.abs(points - grid.origin_m), np.abs(points - grid.origin_m - size_m)).min(axis=1) < 1e-7
    assert (inside == ~outside)[~border].all()


@given(GRIDS)
def test_points_beyond_measure_are_outside(grid):
    points = np.array([[np.nan, 0, 0], [np.inf, 0, 0], [0, -np.inf, 0], [1e9, 0, 0], [0, 1e300, 0]])
    assert not grid.indices(points)[1].any()


@given(GRIDS)
def test_a_grid_survives_its_description(grid):
    assert VoxelGrid.from_dict(grid.to_dict()) == grid


@pytest.mark.parametrize("origin_m, shape, voxel_size_m", [
    ((0, 0, 0), (0, 1, 1), 0.4), ((0, 0, 0), (1, 1, 1), 0.0), ((0, 0, 0), (1, 1, 1), -1.0),
    ((0, 0, 0), (1000, 1000, 1000), 0.4), ((float("nan"), 0, 0), (1, 1, 1), 0.4), ((0, 0), (1, 1, 1), 0.4),
    ((0, 0, 0), (1, 1), 0.4), ((0, 0, 0), (1, 1, 1), float("inf")), ((0, 0, 0), (1, 1, 1), 1e-9),
    ((0, 0, 0), (1, 1, 1), 1e9), ((1e12, 0, 0), (1, 1, 1), 0.4), ((0, 0, 0), (2.5, 1, 1), 0.4),
    ((0, 0, 0), (64_000_000, 1, 1), 0.4),
])
def test_an_unusable_grid_is_refused(origin_m, shape, voxel_size_m):
    with pytest.raises(InputError, match="grid"):
        VoxelGrid(origin_m, shape, voxel_size_m)


def test_the_benchmarks_configuration_is_its_grid():
    assert VoxelGrid.from_dict(compose_config(["data=occ3d"])["data"]["grid"]) == OCC3D_GRID
