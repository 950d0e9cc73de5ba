"""Moving an occupancy frame into the grid of another instant (a static world, the persistence forecast), and whole
frames, with observation mask, boxes and names, into another grid of the same instant.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from occflow.geometry import invert
from occflow.grid import FREE, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame

FEW = 20  # times as many voxels in the grid as indices: sorting these is cheaper


def corner_offsets(voxel_size_m: float, shrink: float = 0.98) -> np.ndarray:
    """Offsets [8, 3], metres, from the centre of a voxel to its (slightly shrunk) corners."""
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)
    return signs * (voxel_size_m * shrink / 2)


def moved_centres(flat: np.ndarray, grid: VoxelGrid, other_from_grid: np.ndarray,
                  other: VoxelGrid | None = None) -> np.ndarray:
    """Where the centres of voxels [N] lie in another such grid, or in `other` of as large voxels: [3, N] float64 voxels
    from its lower corner."""
    rotation = other_from_grid[:3, :3]
    first_m = rotation @ grid.centres(np.zeros((1, 3)))[0] + other_from_grid[:3, 3] - (other or grid).origin_m
    columns, rest = np.empty((3, len(flat))), np.asarray(flat)
    for axis, length in ((2, grid.shape[2]), (1, grid.shape[1])):  # columns are fast, and so is // without %
        above = rest // length
        columns[axis], rest = rest - above * length, above
    columns[0] = rest
    return rotation @ columns + (first_m / grid.voxel_size_m)[:, None]


def voxels_at(places: np.ndarray, grid: VoxelGrid) -> tuple[np.ndarray, np.ndarray]:
    """Flat voxels [...] int32 that hold places [3, ...], in voxels, and which are inside; meaningless outside."""
    x, y, z = cells = np.floor(places).astype(np.int32)
    x_in, y_in, z_in = (index.view(np.uint32) < length for index, length in zip(cells, grid.shape))  # below 0: huge
    return (x * grid.shape[1] + y) * grid.shape[2] + z, x_in & y_in & z_in


def touching_offsets(rotation: np.ndarray) -> np.ndarray:
    """Offsets [..., 3, 9] float32, in voxels, from the centre of a voxel turned by `rotation` [..., 3, 3] to its
    (slightly shrunk) corners and to itself."""
    return (rotation @ np.concatenate([corner_offsets(1.0), np.zeros((1, 3))]).T).astype(np.float32)


def touching_places(centres: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """The (slightly shrunk) corners and the centres [3, 9, N] of voxels with centres [3, N], in voxels; float32, whose
    rounding of 1e-5 voxels only moves the edge of a superset."""
    return centres.astype(np.float32)[:, None] + touching_offsets(rotation)[:, :, None]


@dataclass(frozen=True)
class Landing:
    """Where what a frame knows lands in another grid: found once, whatever of the frame is then taken away.

    "Known" are the arrays of the frame, or those of what it knows beyond its grid (OccupancyFrame.wide).

    Args:
        touched: [M] int64 voxels of the other grid, increasing: a superset of `voxels` (`touched_voxels`).
        voxels: [K] int64 voxels that take their labels from the known places `slots` [K]; of those that come again the
            last one counts.
        labels: [L] uint8 of what is known.
        own: [N] known place of each of the frame's voxels; L where it has none.
        nearest: [M] bool, whether the voxel that holds the centre of a touched one is known, where voxels are moved as
            a whole.
        names: [K] uint8 labels that the voxels have in place of those of their slots, L where they have none of these;
            None: those of the slots.
    """

    touched: np.ndarray
    voxels: np.ndarray
    slots: np.ndarray
    labels: np.ndarray
    own: np.ndarray
    nearest: np.ndarray
    names: np.ndarray | None = None

    def volume(self, grid: VoxelGrid, gone: Sequence[np.ndarray] = ()) -> np.ndarray:
        """Class volume [X, Y, Z] uint8 of the other grid, without what is at some places of the frame's arrays."""
        volume = np.full(grid.num_voxels, FREE, dtype=np.uint8)
        names = self.labels[self.slots] if self.names is None else self.names
        if len(gone):
            stays = np.ones(len(self.labels) + 1, dtype=bool)
            stays[self.own[np.concatenate(gone)]] = False
            kept = stays[self.slots]
            volume[self.voxels[kept]] = names[kept]
        else:
            volume[self.voxels] = names
        return volume.reshape(grid.shape)


def landing(frame: OccupancyFrame, grid: VoxelGrid, world_from_target: np.ndarray,
            candidates: np.ndarray | None = None) -> Landing:
    """Where a frame lands in a grid at another pose; what is perceived in that very grid (WideFrame.views) is touched.

    Args:
        candidates: the voxels that may take a label; None: those touched.
    """
    return landings(frame, grid, (world_from_target,), candidates)[0]


def landings(frame: OccupancyFrame, grid: VoxelGrid, poses: Iterable[np.ndarray],
             candidates: np.ndarray | None = None) -> tuple[Landing, ...]:
    """`landing` in grids at several poses [4, 4], which share what does not depend on the pose."""
    known, source = all_known(frame, grid)
    places = _Places(known.flat, source.num_voxels)
    moved_whole = np.ones(len(known.flat) + 1, dtype=bool)  # in place of what was met in the voxel
    moved_whole[-1] = False
    own = np.arange(len(frame.flat))
    if frame.wide is not None:
        moved_whole[frame.wide.owners] = False
        numbers, held = grid.renumbered(frame.flat, source)
        own = places.of(np.where(held, numbers, -1))

    def at(world_from_target: np.ndarray) -> Landing:
        source_from_target = invert(frame.world_from_grid) @ world_from_target
        target_from_source, touched = invert(source_from_target), candidates
        met, owners = np.zeros(0, np.int32), np.zeros(0, np.int64)
        if frame.wide is not None:
            met, inside = voxels_of_places(frame.wide.places_m, grid, target_from_source)
            met, owners = met[inside], frame.wide.owners[inside]
        if touched is None:
            centres = moved_centres(known.flat, source, target_from_source, grid)
            flat, inside = voxels_at(touching_places(centres, target_from_source[:3, :3]), grid)
            view = frame.wide and frame.wide.view_at(world_from_target)
            touched = _distinct([flat[inside], met, *([] if view is None else [view.flat])], grid.num_voxels)
        sources, inside = voxels_at(moved_centres(touched, grid, source_from_target, source), source)
        slots = places.of(sources[inside])
        found, nearest = moved_whole[slots], np.zeros(len(touched), dtype=bool)
        nearest[inside] = slots < len(known.flat)
        return Landing(touched, np.concatenate([touched[inside][found], met]), np.concatenate([slots[found], owners]),
                       known.labels, own, nearest)

    return tuple(at(pose) for pose in poses)


def touched_voxels(frame: OccupancyFrame, grid: VoxelGrid, world_from_target: np.ndarray) -> np.ndarray:
    """Flat indices [M] of all target voxels that a corner or the centre of a moved voxel falls into: a superset of the
    warp. Corners alone are not: of a turned surface, a voxel in ten has none of them in it."""
    return landing(frame, grid, world_from_target).touched


class _Places:
    """Finds voxels among the flat indices [N], increasing, of a grid of so many."""

    def __init__(self, flat: np.ndarray, num_voxels: int) -> None:
        self._flat, self._every = flat, None
        if len(flat) * FEW >= num_voxels:
            self._every = np.full(num_voxels + 1, len(flat), dtype=np.int32)  # the last is of -1
            self._every[flat] = np.arange(len(flat), dtype=np.int32)

    def of(self, wanted: np.ndarray) -> np.ndarray:
        """Where voxels [M] are among them; N where they are not."""
        if self._every is not None:
            return self._every[wanted]
        places = np.searchsorted(self._flat, wanted)
        return np.where(np.append(self._flat, -1)[places] == wanted, places, len(self._flat))


def _distinct(parts: Sequence[np.ndarray], num_voxels: int) -> np.ndarray:
    """The distinct values [M] int64, increasing, of some flat indices."""
    if sum(map(len, parts)) * FEW < num_voxels:  # a mover: sorting is cheaper than a look at the whole grid
        return np.unique(np.concatenate(parts)).astype(np.int64)
    occupied = np.zeros(num_voxels, dtype=bool)
    for flat in parts:
        occupied[flat] = True
    return np.flatnonzero(occupied)


def warp(frame: OccupancyFrame, grid: VoxelGrid, world_from_target: np.ndarray,
         stamp_s: float | None = None, candidates: np.ndarray | None = None) -> OccupancyFrame:
    """The frame as a static world would show it in a grid at `world_from_target`.

    Backward nearest-voxel resampling: a target voxel takes the label of the source voxel that holds its
    centre, so that a rotated surface gets no holes. Voxels that lie outside the source grid, and outside of what the
    frame knows beyond it, stay free. `candidates` are the `touched_voxels`, where the caller has them already.

    What is perceived in that very grid is taken from there (WideFrame.views).
    Where a frame knows of a voxel where in it matter was met (WideFrame), that is moved in place of the voxel: nearest
    voxels are half a voxel off, which costs a third of what two grids have in common.
    """
    stamp_s = frame.stamp_s if stamp_s is None else stamp_s
    view = frame.wide and frame.wide.view_at(world_from_target)
    if view is not None:
        return replace(view, stamp_s=stamp_s, observed=None)
    landed = landing(frame, grid, world_from_target, candidates)
    if frame.wide is not None and len(frame.wide.owners):
        return OccupancyFrame.from_dense(landed.volume(grid), world_from_target, stamp_s)
    return OccupancyFrame(landed.voxels, landed.labels[landed.slots], np.asarray(world_from_target), stamp_s)


def voxels_of_places(places_m: np.ndarray, grid: VoxelGrid, target_from_source: np.ndarray
                     ) -> tuple[np.ndarray, np.ndarray]:
    """Target voxels [M] that places [3, M] float32, metres, fall into, and which of them lie in the grid [M] bool."""
    shift_m = target_from_source[:3, 3] - grid.origin_m
    places_m = target_from_source[:3, :3].astype(np.float32) @ places_m + shift_m[:, None].astype(np.float32)
    return voxels_at(places_m / np.float32(grid.voxel_size_m), grid)


def all_known(frame: OccupancyFrame, grid: VoxelGrid) -> tuple[OccupancyFrame, VoxelGrid]:
    """A frame and its grid, or the wide one and its own."""
    return (frame, grid) if frame.wide is None else (frame.wide, frame.wide.grid)


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
