"""Which voxels the rays of a sensor went through, exactly: every voxel that a ray enters, it enters through a face."""

from __future__ import annotations

import numpy as np

from occflow.grid import VoxelGrid

EDGE = 1e-3  # voxels: rays are cut this far inside the grid, so that rounding cannot carry them over its border
SMALL_GRID = 512  # voxels along an axis up to which 32 bits hold a place
SMALL_BITS, LARGE_BITS = 21, 40  # of a place, after the point: rounded slopes lead a ray at most 1e-4 voxels astray


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
    _mark_entered(mask, starts, ends, (0, 1), grid)
    _mark_entered(mask, starts, ends, (2,), grid)


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
    last_in = np.full(grid.num_voxels, -1, np.int32)
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


def _mark_entered(mask: np.ndarray, starts: np.ndarray, ends: np.ndarray, axes: tuple[int, ...],
                  grid: VoxelGrid) -> None:
    """Mark the voxels that rays [3, N] (in voxels) enter through the faces across some axes.

    Step k of all crossings at once: they are in the order of their number of faces, so those with more than k of
    them are the first ones, and along the other two axes a ray moves on by its slope from face to face. Places are
    whole numbers of 2**-bits voxels: exact to add, and their voxel is a shift away.
    """
    columns = [np.concatenate(part) for part in zip(*(_crossings(starts, ends, axis, grid) for axis in axes))]
    faces = columns[0].astype(np.int16 if max(grid.shape) <= SMALL_GRID else np.int64)  # short ones sort faster
    order = np.argsort(-faces, kind="stable")
    faces, voxel, step, place, slope, stride, other_place, other_slope, other_stride = (column[order]
                                                                                        for column in columns)
    entered, moved = np.empty(int(faces.sum()), voxel.dtype), np.empty(len(faces), voxel.dtype)
    bits, filled = _bits(grid), 0
    for active in len(faces) - np.searchsorted(faces[::-1], np.arange(faces.max(initial=0)), side="right"):
        flat, offset = entered[filled:filled + active], moved[:active]
        voxel[:active] += step[:active]
        np.right_shift(place[:active], bits, out=flat)
        flat *= stride[:active]
        flat += voxel[:active]
        np.right_shift(other_place[:active], bits, out=offset)
        if axes == (2,):  # else the other axis is that of z, whose stride is 1
            offset *= other_stride[:active]
        flat += offset
        place[:active] += slope[:active]
        other_place[:active] += other_slope[:active]
        filled += active
    mask[entered] = True


def _crossings(starts: np.ndarray, ends: np.ndarray, axis: int, grid: VoxelGrid) -> list[np.ndarray]:
    """The K rays that cross faces across an axis: their number of faces, the flat index along the axis before the
    first and its step from face to face; and for both other axes place at the first face, slope, stride."""
    kind, scale = (np.int32 if _bits(grid) == SMALL_BITS else np.int64), 2.0 ** _bits(grid)
    strides = (grid.shape[1] * grid.shape[2], grid.shape[2], 1)
    faces = np.abs(ends[axis].astype(kind) - starts[axis].astype(kind))
    crossing = np.flatnonzero(faces)
    begin, length = starts[axis, crossing], ends[axis, crossing] - starts[axis, crossing]
    first, pace, forward = np.floor(begin), 1 / np.abs(length), length > 0
    ahead = np.abs(first + forward - begin) * pace
    columns = [faces[crossing], first * strides[axis], np.where(forward, strides[axis], -strides[axis])]
    for other in (other for other in range(3) if other != axis):
        start, way = starts[other, crossing], ends[other, crossing] - starts[other, crossing]
        slope = (way * pace).clip(-max(grid.shape), max(grid.shape))  # steeper: one face only, the slope is never used
        columns += [(start + ahead * way) * scale, np.rint(slope * scale), np.full(len(crossing), strides[other])]
    return [column.astype(kind) for column in columns]


def _bits(grid: VoxelGrid) -> int:
    return SMALL_BITS if max(grid.shape) <= SMALL_GRID else LARGE_BITS
