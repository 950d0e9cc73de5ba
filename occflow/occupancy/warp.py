"""Moving an occupancy frame into the grid of another instant (a static world, the persistence forecast)."""

from __future__ import annotations

import numpy as np

from occflow.geometry import invert, transform
from occflow.grid import VoxelGrid
from occflow.occupancy.frame import OccupancyFrame


def corner_offsets(voxel_size_m: float, shrink: float = 0.98) -> np.ndarray:
    """Offsets [8, 3], metres, from the centre of a voxel to its (slightly shrunk) corners."""
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)
    return signs * (voxel_size_m * shrink / 2)


def touched_voxels(frame: OccupancyFrame, grid: VoxelGrid, world_from_target: np.ndarray) -> np.ndarray:
    """Flat indices [M] of all target voxels that a corner of a moved voxel falls into: a superset of the warp."""
    target_from_source = invert(world_from_target) @ frame.world_from_grid
    centres = transform(target_from_source, grid.centres(grid.unflatten(frame.flat))) - grid.origin_m
    offsets = corner_offsets(grid.voxel_size_m) @ target_from_source[:3, :3].T
    # float32 voxel coordinates: a rounding of 1e-5 voxels only moves the edge of a superset
    scaled = ((centres[:, None, :] + offsets) / grid.voxel_size_m).astype(np.float32).reshape(-1, 3)
    cells = np.floor(scaled).astype(np.int32)
    inside = ((cells >= 0) & (cells < np.asarray(grid.shape, dtype=np.int32))).all(axis=1)
    occupied = np.zeros(grid.num_voxels, dtype=bool)
    occupied[grid.flatten(cells[inside])] = True
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
