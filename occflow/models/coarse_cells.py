"""The coarse cells of a voxel grid, on which latents live: which one holds a voxel, and which ones frames are in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

from occflow.grid import FREE, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.sparse.sites import Shape, coarse_keys
from occflow.sparse.tables import CellGrid


def cell_grid(grid: VoxelGrid, stride: Shape) -> CellGrid:
    """The coarse cells of a voxel grid."""
    voxels = CellGrid(np.asarray(grid.origin_m), np.full(3, grid.voxel_size_m), grid.shape)
    return voxels.pooled(stride)


@lru_cache(maxsize=4)
def cell_of_voxel(grid: VoxelGrid, stride: Shape) -> np.ndarray:
    """[V] int32: flat key of the coarse cell that holds each voxel."""
    return coarse_keys(torch.arange(grid.num_voxels), grid.shape, stride, 1)[0].int().numpy()


def cells_of(voxels: Sequence[np.ndarray], grid: VoxelGrid, stride: Shape) -> np.ndarray:
    """[X * Y * Z] bool: the coarse cells that hold the flat voxels [N] of any of some arrays."""
    held = np.zeros(cell_grid(grid, stride).num_cells, dtype=bool)
    for flat in voxels:
        held[cell_of_voxel(grid, stride)[flat]] = True
    return held


def cells_that_differ(one: OccupancyFrame, other: OccupancyFrame, grid: VoxelGrid, stride: Shape) -> np.ndarray:
    """[X * Y * Z] bool: coarse cells in which two frames in one grid are not the same."""
    volume = one.dense(grid).reshape(-1)
    differ = volume[other.flat] != other.labels
    volume[other.flat] = FREE
    return cells_of([np.flatnonzero(volume != FREE), other.flat[differ]], grid, stride)
