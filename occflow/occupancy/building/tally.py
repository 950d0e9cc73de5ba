"""Which cells sweeps met: by which of them first and last, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from occflow.grid import VoxelGrid
from occflow.occupancy.building.cells import in_order
from occflow.occupancy.sighting import SPOT_BITS, SPOTS

MOST_LOOKED_UP = 1 << 24  # cells of a grid that have places of their own in memory; of more, what was met is sorted
MOST_SHORT = 1 << 31  # cells that 32 bits can number


@dataclass(frozen=True)
class Tally:
    """Cells that sweeps met.

    Args:
        cells: [M] int64 flat, increasing.
        first, last: [M] which sweep met the cell first and last, by its place among them.
        counts, late_counts: [M] int64 returns; those of the late sweeps alone.
        spots: [M] uint8 where in the cell the last return fell (Sighting.spots).
    """

    cells: np.ndarray
    first: np.ndarray
    last: np.ndarray
    counts: np.ndarray
    late_counts: np.ndarray
    spots: np.ndarray


@dataclass(frozen=True)
class Met:
    """Where the returns of one sweep fell: flat cells [K] int64, and where in them, [K] uint8 (Sighting.spots)."""

    cells: np.ndarray
    spots: np.ndarray


NOTHING_MET = Met(np.zeros(0, np.int64), np.zeros(0, np.uint8))


def cells_met(cells: VoxelGrid, grid_from_world: np.ndarray, points_m: np.ndarray) -> Met:
    """Those of the points [3, N], metres, world frame (in columns), that lie in a grid of cells, as what was met of
    it."""
    matrix = grid_from_world[:3, :3] / (cells.voxel_size_m / SPOTS)
    shift = (grid_from_world[:3, 3] - cells.origin_m) / (cells.voxel_size_m / SPOTS)
    kind = np.int32 if cells.num_voxels < MOST_SHORT else np.int64
    flat, inside = np.zeros(points_m.shape[1], kind), np.ones(points_m.shape[1], bool)
    spots = np.zeros(points_m.shape[1], np.uint8)
    for row, offset, length in zip(matrix, shift, cells.shape, strict=True):
        scaled = row @ points_m
        scaled += offset
        inside &= scaled >= 0
        inside &= scaled < length * SPOTS
        fine = scaled.astype(kind)
        flat *= length
        flat += fine >> SPOT_BITS
        spots <<= SPOT_BITS
        spots |= fine.astype(np.uint8) & SPOTS - 1
    return Met(flat[inside].astype(np.int64), spots[inside])


def tally(met: Sequence[Met], num_cells: int, late: int) -> Tally:
    """What sweeps, one of them at least, tell of a grid of so many cells.

    Args:
        late: the place of the first late one.
    """
    return (_looked_up if num_cells <= MOST_LOOKED_UP else _sorted)(met, num_cells, late)


def _looked_up(met: Sequence[Met], num_cells: int, late: int) -> Tally:
    """By a place in memory for every cell of the grid."""
    first, last = np.zeros((2, num_cells), np.min_scalar_type(len(met)))
    spots = np.empty(num_cells, np.uint8)
    for number, one in enumerate(met, 1):
        last[one.cells] = number
        spots[one.cells] = one.spots  # of a cell that comes again the last one stays
    for number, one in reversed(list(enumerate(met, 1))):
        first[one.cells] = number
    held = np.flatnonzero(last > 0)
    slots = np.empty(num_cells, np.int32)
    slots[held] = np.arange(len(held), dtype=np.int32)
    early_counts, late_counts = (np.bincount(slots.take(np.concatenate([held[:0], *(one.cells for one in part)])),
                                             minlength=len(held)) for part in (met[:late], met[late:]))
    return Tally(held, first[held] - 1, last[held] - 1, early_counts + late_counts, late_counts, spots[held])


def _sorted(met: Sequence[Met], num_cells: int, late: int) -> Tally:
    """By an order of what was met, in memory for that alone."""
    number = np.repeat(np.arange(len(met)), [len(one.cells) for one in met])
    cells, spots = (np.concatenate([getattr(one, name) for one in met]) for name in ("cells", "spots"))
    order = in_order(cells)  # of the returns in a cell, the first sweep's first
    cells, number, spots = cells[order], number[order], spots[order]
    starts = np.flatnonzero(np.diff(cells, prepend=-1))
    ends = np.append(starts[1:], len(cells)) if len(starts) else starts
    late_until = np.append(0, np.cumsum(number >= late))
    return Tally(cells[starts], number[starts], number[ends - 1], ends - starts, late_until[ends] - late_until[starts],
                 spots[ends - 1])
