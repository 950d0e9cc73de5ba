"""Whole frames in another grid: voxels, observation mask, boxes and names together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from occflow.geometry import invert
from occflow.grid import VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.warp import warp


def regridded(frame: OccupancyFrame, grid: VoxelGrid, world_from_grid: np.ndarray) -> OccupancyFrame:
    """The same instant in a grid at another pose; nothing moves in the world.

    Nearest-voxel resampling: exact for shifts by whole voxels and quarter turns, otherwise a surface may shift by
    up to half a voxel. What lies outside of the frame's own grid is free and unobserved.
    """
    world_from_grid = np.asarray(world_from_grid, dtype=np.float64)
    if np.array_equal(world_from_grid, frame.world_from_grid):
        return frame
    moved = warp(frame, grid, world_from_grid)
    observed = None if frame.observed is None else regridded_mask(frame, grid, world_from_grid)
    return replace(moved, token=frame.token, boxes=frame.boxes, observed=observed)


def regridded_mask(frame: OccupancyFrame, grid: VoxelGrid, world_from_grid: np.ndarray) -> np.ndarray:
    """The observation mask (packed) in a grid at another pose: that of the voxel which holds the centre."""
    source_from_target = invert(frame.world_from_grid) @ world_from_grid
    # scaled = A @ index + b, evaluated axis by axis: 200 x 200 x 16 centres without a [V, 3] array
    matrix = source_from_target[:3, :3]
    first = grid.origin_m + np.full(3, grid.voxel_size_m / 2)
    shift = (matrix @ first + source_from_target[:3, 3] - grid.origin_m) / grid.voxel_size_m
    axes = np.ogrid[tuple(slice(length) for length in grid.shape)]
    source, inside = np.zeros(grid.shape, dtype=np.int64), np.ones(grid.shape, dtype=bool)
    for row, offset, length in zip(matrix, shift, grid.shape):
        cell = np.floor(sum(factor * axis for factor, axis in zip(row, axes)) + offset)
        inside &= (cell >= 0) & (cell < length)
        source = source * length + cell.astype(np.int64)
    mask = np.zeros(grid.shape, dtype=bool)
    mask[inside] = frame.observed_mask(grid).reshape(-1)[source[inside]]
    return np.packbits(mask)
