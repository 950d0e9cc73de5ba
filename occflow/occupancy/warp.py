"""Moving an occupancy frame into the grid of another instant (a static world, the persistence forecast)."""

from __future__ import annotations

import numpy as np

from occflow.geometry import invert, transform
from occflow.grid import VoxelGrid
from occflow.occupancy.frame import OccupancyFrame

FEW = 20  # times as many voxels in the grid as indices: sorting these is cheaper


def corner_offsets(voxel_size_m: float, shrink: float = 0.98) -> np.ndarray:
    """Offsets [8, 3], metres, from the centre of a voxel to its (slightly shrunk) corners."""
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)
    return signs * (voxel_size_m * shrink / 2)


def touched_voxels(frame: OccupancyFrame, grid: VoxelGrid, world_from_target: np.ndarray) -> np.ndarray:
    """Flat indices [M] of all target voxels that a corner of a moved voxel falls into: a superset of the warp."""
    target_from_source = invert(world_from_target) @ frame.world_from_grid
    centres = (transform(target_from_source, grid.centres(grid.unflatten(frame.flat))) - grid.origin_m).T
    # float32 voxel coordinates, by columns: a rounding of 1e-5 voxels only moves the edge of a superset
    centres = np.ascontiguousarray(centres / grid.voxel_size_m, dtype=np.float32)  # [3, N]
    offsets = (target_from_source[:3, :3] @ corner_offsets(1.0).T).astype(np.float32)  # [3, 8]
    x, y, z = np.floor(centres[:, None] + offsets[:, :, None]).astype(np.int32).reshape(3, -1)
    inside = (x >= 0) & (x < grid.shape[0]) & (y >= 0) & (y < grid.shape[1]) & (z >= 0) & (z < grid.shape[2])
    flat = ((x * grid.shape[1] + y) * grid.shape[2] + z)[inside]
    return _distinct(flat, grid.num_voxels)


def _distinct(flat: np.ndarray, num_voxels: int) -> np.ndarray:
    """The distinct values [M] int64, increasing, of flat indices [N]."""
    if len(flat) * FEW < num_voxels:  # a mover: sorting is cheaper than a look at the whole grid
        return np.unique(flat).astype(np.int64)
    occupied = np.zeros(num_voxels, dtype=bool)
    occupied[flat] = True
    return np.flatnonzero(occupied)


def warp(frame: OccupancyFrame, grid: VoxelGrid, world_from_target: np.ndarray,
         stamp_s: float | None = None, candidates: np.ndarray | None = None) -> OccupancyFrame:
    """The frame as a static world would show it in a grid at `world_from_target`.

    Backward nearest-voxel resampling: a target voxel takes the label of the source voxel that holds its
    centre, so that a rotated surface gets no holes. Voxels that lie outside the source grid stay free.
    `candidates` are the `touched_voxels`, where the caller has them already.
    """
    if candidates is None:
        candidates = touched_voxels(frame, grid, world_from_target)
    source_from_target = invert(frame.world_from_grid) @ world_from_target
    indices, inside = grid.indices(transform(source_from_target, grid.centres(grid.unflatten(candidates))))
    candidates, sources = candidates[inside], grid.flatten(indices[inside])
    slots = np.searchsorted(frame.flat, sources)
    slots[slots == len(frame.flat)] = 0
    found = frame.flat[slots] == sources if len(frame.flat) else np.zeros(len(sources), dtype=bool)
    return OccupancyFrame(candidates[found], frame.labels[slots[found]], np.asarray(world_from_target),
                          frame.stamp_s if stamp_s is None else stamp_s)
