"""Which voxels the rays of a sensor went through, exactly: every voxel that a ray enters, it enters through a face."""

from __future__ import annotations

import numpy as np

from occflow.grid import VoxelGrid

MAX_RETURN_M = 500.0  # no LiDAR reaches farther: such a point is an error, and its ray is not believed
EDGE = 1e-3  # voxels: rays are cut this far inside the grid, so that rounding cannot carry them over its border


def mark_rays(mask: np.ndarray, grid: VoxelGrid, start_m: np.ndarray, ends_m: np.ndarray) -> None:
    """Mark the voxels that rays go through or end in.

    Of the rays that end (or leave the grid) in the same voxel one is followed: they share nearly all of their way.

    Args:
        mask: [V] bool in flat order, changed in place.
        start_m: [3] where the rays start, metres, grid frame; it may lie outside of the grid.
        ends_m: [3, N] where they end (points in columns).
    """
    start = ((start_m - np.array(grid.origin_m)) / grid.voxel_size_m).astype(np.float32)
    way = ((ends_m - start_m[:, None]) / grid.voxel_size_m).astype(np.float32)
    starts, ends = _followed(start, way, grid)
    mask[_flat(starts, grid)] = True
    strides = (grid.shape[1] * grid.shape[2], grid.shape[2], 1)
    for axis in range(3):
        _mark_entered(mask, starts, ends, axis, strides)


def _followed(start: np.ndarray, way: np.ndarray, grid: VoxelGrid) -> tuple[np.ndarray, np.ndarray]:
    """The parts within the grid, from [3, K] to [3, K], of one ray for every voxel that rays end or leave in.

    Args:
        start, way: [3] and [3, N] float32, voxels: enough for where a ray enters and leaves, and fast over a sweep.
    """
    way[np.abs(way) < EDGE ** 2] = EDGE ** 2  # so that nothing is divided by zero, or by next to nothing
    enter, leave = np.zeros(way.shape[1], np.float32), np.ones(way.shape[1], np.float32)
    for step, begin, length in zip(way, start, grid.shape):
        inverse = 1 / step
        at_low, at_high = inverse * np.float32(EDGE - begin), inverse * np.float32(length - EDGE - begin)
        np.maximum(enter, np.minimum(at_low, at_high), out=enter)
        np.minimum(leave, np.maximum(at_low, at_high), out=leave)
    last_in = np.full(grid.num_voxels, -1)
    within = np.flatnonzero(enter < leave)
    last_in[_flat(_along(start, way[:, within], leave[within], grid), grid)] = within
    kept = last_in[last_in >= 0]
    way = way[:, kept].astype(np.float64)
    return _along(start, way, enter[kept], grid), _along(start, way, leave[kept], grid)


def _along(start: np.ndarray, way: np.ndarray, fraction: np.ndarray, grid: VoxelGrid) -> np.ndarray:
    """Places [3, K] at a fraction [K] of the way from the start, inside the grid whatever the rounding."""
    places = way * fraction
    for axis, begin, length in zip(places, start, grid.shape):
        axis += begin
        axis.clip(EDGE, length - EDGE, out=axis)
    return places


def _flat(places: np.ndarray, grid: VoxelGrid) -> np.ndarray:
    """Flat voxel indices [N] int64 of places [3, N] in the grid, in voxels."""
    x, y, z = places.astype(np.int64)
    return (x * grid.shape[1] + y) * grid.shape[2] + z


def _mark_entered(mask: np.ndarray, starts: np.ndarray, ends: np.ndarray, axis: int, strides: tuple) -> None:
    """Mark the voxels that rays [3, N] (in voxels) enter through the faces across one axis.

    Step k of all rays at once: the rays are in the order of their number of faces, so those with more than k of
    them are the first ones, and along the other two axes a ray moves on by its slope from face to face.
    """
    faces = np.abs(ends[axis].astype(np.int64) - starts[axis].astype(np.int64))
    order = np.argsort(-faces, kind="stable")[:np.count_nonzero(faces)]
    if not len(order):
        return
    faces, starts, way = faces[order], starts[:, order], (ends - starts)[:, order]
    forward = way[axis] > 0
    first = np.floor(starts[axis])
    ahead = np.abs(np.where(forward, first + 1, first) - starts[axis]) / np.abs(way[axis])
    step = np.where(forward, strides[axis], -strides[axis])
    voxel = first.astype(np.int64) * strides[axis]
    others = [other for other in range(3) if other != axis]
    places = [starts[other] + ahead * way[other] for other in others]
    slopes = [way[other] / np.abs(way[axis]) for other in others]
    for active in len(faces) - np.searchsorted(faces[::-1], np.arange(faces[0]), side="right"):
        voxel[:active] += step[:active]
        flat = voxel[:active].copy()
        for other, place, slope in zip(others, places, slopes):
            flat += place[:active].astype(np.int64) * strides[other]
            place[:active] += slope[:active]
        mask[flat] = True
