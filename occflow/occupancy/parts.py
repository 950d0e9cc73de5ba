"""Parts of voxels: what earlier frames and returns tell of where in a voxel its matter is, and where parts fall in
other grids.

Moved as a whole, a voxel that lies between those of another grid comes down in the nearest of them, which is wrong for
a third of what two grids of one street have in common. Earlier frames cut the same street otherwise: a part of a voxel
that lies in a free voxel of theirs is free, unless something moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from occflow.geometry import invert, transform
from occflow.grid import CLASS_NAMES, FLAT_CLASSES, MOVABLE_CLASSES, VoxelGrid
from occflow.occupancy.frame import Frames, OccupancyFrame
from occflow.occupancy.warp import Landing, all_known, moved_centres, voxels_at, voxels_of_places

DIVIDED = (2, 2, 4)  # parts along a voxel's edges: most of what streets are made of is level
PARTS = int(np.prod(DIVIDED))
OFFSETS = ((np.stack(np.unravel_index(np.arange(PARTS), DIVIDED)) + 0.5) / np.array(DIVIDED)[:, None] - 0.5)  # [3, P]
LOOKED_BACK = 2  # earlier frames that are asked
FREE_THERE, NOT_KNOWN, FILLED_THERE = -1, 0, 1
KINDS = 4  # of classes: flat, movable, other surroundings, none of these
FLAT, MOVABLE, STANDING, OTHER = range(KINDS)
KIND_OF = np.full(256, OTHER, np.uint8)  # by label
KIND_OF[list(FLAT_CLASSES)], KIND_OF[list(MOVABLE_CLASSES)] = FLAT, MOVABLE
KIND_OF[[CLASS_NAMES.index(name) for name in ("manmade", "vegetation")]] = STANDING


@dataclass(frozen=True)
class DividedFrame(OccupancyFrame):
    """A frame that knows in which parts of its voxels matter is.

    Args:
        parts: [N, PARTS] bool.
    """

    parts: np.ndarray = field(kw_only=True)


def parts_of_voxels(grid: VoxelGrid, poses: Sequence[np.ndarray], places_m: Sequence[np.ndarray], flat: np.ndarray
                    ) -> np.ndarray:
    """In which parts of voxels [N] some places lie, [N, PARTS] bool.

    Args:
        poses: grid_from_lattice [4, 4] of each set of places; places_m: [M, 3] each, metres.
    """
    shape = np.array(grid.shape)
    filled = np.zeros(tuple(shape * DIVIDED), dtype=bool)
    for pose, places in zip(poses, places_m, strict=True):
        scaled = (transform(pose, places) - grid.origin_m) / grid.voxel_size_m * DIVIDED
        index = np.floor(scaled).astype(np.int64).T
        inside = ((index >= 0) & (index < np.array(filled.shape)[:, None])).all(axis=0)
        filled[tuple(index[:, inside])] = True
    x, y, z = grid.unflatten(flat).T
    apart = filled.reshape(*(size for pair in zip(grid.shape, DIVIDED) for size in pair))
    return apart[x, :, y, :, z].reshape(len(flat), PARTS)


@dataclass(frozen=True)
class PartsSeen:
    """The voxels [N] of a present, and what is seen of their parts.

    Args:
        flat: [N] int64 in `grid`, where the frame knows more than its own (OccupancyFrame.wide) the one of that.
        kinds: [N] uint8, 0 .. KINDS - 1.
        earlier: [N, LOOKED_BACK, PARTS] int8, whether earlier frames, the last one first, are FREE_THERE, FILLED_THERE
            or NOT_KNOWN where a part is, in a static world.
        met: [N, PARTS] bool, the parts that returns were met in.
        places_m: [3, M] float32 where returns were met, metres in the grid's frame; owners: [M] which of the voxels
            each is in.
        by_returns: whether the frame knows where returns were met at all.
    """

    flat: np.ndarray
    kinds: np.ndarray
    earlier: np.ndarray
    met: np.ndarray
    places_m: np.ndarray
    owners: np.ndarray
    grid: VoxelGrid
    by_returns: bool


def parts_seen(history: Frames, grid: VoxelGrid) -> PartsSeen:
    """What a history, on a grid, shows of the parts of its present."""
    present, source = all_known(history[-1], grid)
    earlier = np.full((len(present.flat), LOOKED_BACK, PARTS), NOT_KNOWN, np.int8)
    for number, (frame, there) in enumerate(all_known(one, grid) for one in looked_back(history)):
        earlier[:, number] = states_there(present.flat, source, invert(frame.world_from_grid) @ present.world_from_grid,
                                          voxel_states(frame, there), there)
    met = np.zeros((len(present.flat), PARTS), bool)
    wide = history[-1].wide
    places_m, owners = (np.zeros((3, 0), np.float32), np.zeros(0, np.int64)) if wide is None else \
        (wide.places_m, wide.owners)
    met[owners, _part_of(places_m, source)] = True
    return PartsSeen(present.flat, KIND_OF[present.labels], earlier, met, places_m, owners, source, wide is not None)


def looked_back(history: Frames) -> Frames:
    """The earlier frames that are asked, the last one first."""
    return history[-2:-LOOKED_BACK - 2:-1]


def voxel_states(frame: OccupancyFrame, grid: VoxelGrid) -> np.ndarray:
    """Whether each voxel of a frame's grid is FILLED_THERE or FREE_THERE, [V] int8."""
    states = np.full(grid.num_voxels, FREE_THERE, np.int8)
    states[frame.flat] = FILLED_THERE
    return states


def states_there(flat: np.ndarray, grid: VoxelGrid, other_from_grid: np.ndarray, states: np.ndarray, other: VoxelGrid
                 ) -> np.ndarray:
    """What another grid's voxels [V] int8 are where the parts of voxels [N] lie, [N, PARTS]; outside NOT_KNOWN."""
    there, inside = voxels_at(part_places(flat, grid, other_from_grid, other), other)
    return np.where(inside, states[np.where(inside, there, 0)], np.int8(NOT_KNOWN))


def part_places(flat: np.ndarray, grid: VoxelGrid, other_from_grid: np.ndarray, other: VoxelGrid) -> np.ndarray:
    """Where the middles of the parts of voxels [N] lie in another grid, of as large voxels: [3, N, PARTS] float32, in
    voxels from its lower corner."""
    centres = moved_centres(flat, grid, other_from_grid, other).astype(np.float32)
    return centres[:, :, None] + (other_from_grid[:3, :3] @ OFFSETS).astype(np.float32)[:, None]


def _part_of(places_m: np.ndarray, grid: VoxelGrid) -> np.ndarray:
    """Which part of their voxels places [3, M], metres in the grid's frame, are in, [M]."""
    scaled = (places_m - np.array(grid.origin_m, np.float32)[:, None]) / np.float32(grid.voxel_size_m)
    return np.ravel_multi_index(np.floor((scaled % 1) * np.array(DIVIDED)[:, None]).astype(np.int64), DIVIDED,
                                mode="clip")


@dataclass(frozen=True)
class PartsFallen:
    """Where parts fall in a later grid.

    Args:
        voxels: [M] int64 voxels of it, increasing, that anything may fall into.
        rows: [K] int64 which of these each of the chosen parts falls into, M where none.
        returns: [M] how many places where returns were met lie in each; nearest: [M] bool, whether it is filled where
            voxels are moved as a whole.
        last_owner: [M] int64 whose return lies in it, one of the present's voxels; -1 where none does.
        above, below: [M] int64 which of the voxels is above and below each, M where none.
    """

    voxels: np.ndarray
    rows: np.ndarray
    returns: np.ndarray
    nearest: np.ndarray
    last_owner: np.ndarray
    above: np.ndarray
    below: np.ndarray


def parts_fallen(seen: PartsSeen, chosen: np.ndarray, grid: VoxelGrid, target_from_source: np.ndarray,
                 landed: Landing) -> PartsFallen:
    """Where some of the parts fall in a grid at another pose.

    Args:
        chosen: [K] int64 their numbers among all N * PARTS.
        landed: where the frame lands there as voxels and returns.
    """
    places = part_places(seen.flat, seen.grid, target_from_source, grid).reshape(3, -1)
    fallen = numbers_of(*voxels_at(places.take(chosen, axis=1), grid), grid)
    met = numbers_of(*voxels_of_places(seen.places_m, grid, target_from_source), grid)
    return fallen_into(landed.touched, landed.nearest, fallen, met, seen.owners, grid)


def numbers_of(flat: np.ndarray, inside: np.ndarray, grid: VoxelGrid) -> np.ndarray:
    """Flat voxels [N]; the number of the grid's voxels for what lies outside."""
    return np.where(inside, flat, grid.num_voxels)


def fallen_into(voxels: np.ndarray, nearest: np.ndarray, fallen: np.ndarray, met: np.ndarray, owners: np.ndarray,
                grid: VoxelGrid) -> PartsFallen:
    """What falls into some voxels of a later grid.

    Args:
        voxels, nearest: as in PartsFallen.
        fallen: [K] the voxel that each part falls into; met: [R] those that returns do, whose voxels in the present
            are `owners` [R]. The number of the grid's voxels is outside.
    """
    number = len(voxels)
    which = np.full(grid.num_voxels + 1, number, np.int32)  # the last is of what lies outside
    which[voxels] = np.arange(number, dtype=np.int32)
    rows, met = which[fallen], which[met]
    last_owner = np.full(number + 1, -1, np.int64)
    last_owner[met] = owners
    height = voxels % grid.shape[2]
    above = np.where(height < grid.shape[2] - 1, which[np.minimum(voxels + 1, grid.num_voxels)], number)
    below = np.where(height > 0, which[voxels - 1], number)
    return PartsFallen(voxels, rows, np.bincount(met, minlength=number + 1)[:number], nearest,
                       last_owner[:number], above, below)


def seen_of_bodies(seen: PartsSeen, history: Frames, grid: VoxelGrid, rows: Sequence[np.ndarray],
                   world_motions: np.ndarray) -> PartsSeen:
    """The same, where bodies move: earlier frames are asked about where the parts of each were then, and only the last
    sweep met matter where it is now.

    Args:
        rows: of each of B bodies, which of the voxels [N] are its own.
        world_motions: [B, LOOKED_BACK or fewer, 4, 4] what takes each from its place now to those in the earlier
            frames, the last one first, in the world.
    """
    present, wide = history[-1], history[-1].wide
    earlier, met = seen.earlier.copy(), seen.met.copy()
    for index, (frame, there) in enumerate(all_known(one, grid) for one in looked_back(history)):
        states = voxel_states(frame, there)
        for own, motions in zip(rows, world_motions, strict=True):
            earlier[own, index] = states_there(seen.flat[own], seen.grid, invert(frame.world_from_grid)
                                               @ motions[index] @ present.world_from_grid, states, there)
    moving = np.zeros(len(seen.flat), bool)
    moving[np.concatenate(rows)] = True
    met[moving] = False
    if wide is not None:
        lately = moving[wide.owners] & wide.lately
        met[wide.owners[lately], _part_of(wide.places_m[:, lately], seen.grid)] = True
    return replace(seen, earlier=earlier, met=met)
