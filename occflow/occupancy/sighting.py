"""What a car has seen by an instant: where its last sweeps met matter, finer than voxels, and how long ago."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from occflow.grid import VoxelGrid
from occflow.logs.protocol import SAME_STAMP_S
from occflow.occupancy.frame import OccupancyFrame

CELLS = 4  # along a voxel's edge
TICK_S = 0.02  # of the ages; 255 of them are five seconds
MOST = 255  # of what a byte counts
SPACING_S = 0.15  # of two sweeps nearer than this in time the older one is left out: its returns are the same again


@dataclass(frozen=True)
class Sighting(OccupancyFrame):
    """A frame of unlabelled voxels, of the returns of the last moments, and what is in them.

    `observed` are the voxels that the rays of the last sweep went through.

    Args:
        cells: [M] int64 flat indices in `cell_grid`, increasing: where returns fell.
        counts: [M] uint8 returns, at most MOST.
        youngest, oldest: [M] uint8 age of the last and of the first of them, in ticks of TICK_S.
    """

    cells: np.ndarray = field(kw_only=True)
    counts: np.ndarray = field(kw_only=True)
    youngest: np.ndarray = field(kw_only=True)
    oldest: np.ndarray = field(kw_only=True)


@dataclass(frozen=True)
class CellGrid(VoxelGrid):
    """A grid of cells, of which there may be more than a grid may have voxels."""

    def __post_init__(self) -> None:
        """Nothing is refused: the grid that the cells divide was checked."""


def cell_grid(grid: VoxelGrid) -> CellGrid:
    """The grid of the cells: CELLS of them along each edge of a voxel."""
    return CellGrid(grid.origin_m, tuple(CELLS * count for count in grid.shape), grid.voxel_size_m / CELLS)


def voxels_of_cells(cells: np.ndarray, grid: VoxelGrid) -> tuple[np.ndarray, np.ndarray]:
    """Of flat cells [M] the flat voxel [M] int64 that each lies in, and its place there, 0 .. CELLS ** 3 - 1."""
    rows, z = np.divmod(cells, CELLS * grid.shape[2])
    x, y = np.divmod(rows, CELLS * grid.shape[1])
    voxels = ((x // CELLS) * grid.shape[1] + y // CELLS) * grid.shape[2] + z // CELLS
    return voxels, ((x % CELLS) * CELLS + y % CELLS) * CELLS + z % CELLS


def spaced(stamps_s: Sequence[float]) -> list[int]:
    """Which of the sweeps at increasing times are looked at: the last one, and backwards those SPACING_S apart."""
    kept, last_s = [], np.inf
    for index in reversed(range(len(stamps_s))):
        if last_s - stamps_s[index] >= SPACING_S - SAME_STAMP_S:
            kept.append(index)
            last_s = stamps_s[index]
    return kept[::-1]
