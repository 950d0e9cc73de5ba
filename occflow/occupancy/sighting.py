"""What a car has seen by an instant: where its last sweeps met matter, finer than voxels, and how long ago."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from occflow.geometry import invert
from occflow.grid import VoxelGrid
from occflow.logs.protocol import UNLABELLED
from occflow.occupancy.building.labels import flat_voxels
from occflow.occupancy.building.returns import Returns
from occflow.occupancy.building.visibility import mark_rays
from occflow.occupancy.frame import OccupancyFrame

CELLS = 4  # along a voxel's edge
TICK_S = 0.02  # of the ages; 255 of them are five seconds
MOST = 255  # of what a byte counts
SPACING_S = 0.15  # of two sweeps nearer than this in time the older one is left out: its returns are the same again
SAME_STAMP_S = 1e-6  # stamps are whole microseconds


@dataclass(frozen=True)
class Sighting(OccupancyFrame):
    """A frame of unlabelled voxels, of the returns of the last moments, and what is in them.

    `observed` are the voxels that the rays of the last sweep went through.

    Args:
        cells: [M] int32 flat indices in `cell_grid`, increasing: where returns fell.
        counts: [M] uint8 returns, at most MOST.
        youngest, oldest: [M] uint8 age of the last and of the first of them, in ticks of TICK_S.
    """

    cells: np.ndarray = field(kw_only=True)
    counts: np.ndarray = field(kw_only=True)
    youngest: np.ndarray = field(kw_only=True)
    oldest: np.ndarray = field(kw_only=True)


def cell_grid(grid: VoxelGrid) -> VoxelGrid:
    """The grid of the cells: CELLS of them along each edge of a voxel."""
    return VoxelGrid(grid.origin_m, tuple(CELLS * count for count in grid.shape), grid.voxel_size_m / CELLS)


def voxels_of_cells(cells: np.ndarray, grid: VoxelGrid) -> tuple[np.ndarray, np.ndarray]:
    """Of flat cells [M] the flat voxel [M] int64 that each lies in, and its place there, 0 .. CELLS ** 3 - 1."""
    rows, z = np.divmod(cells.astype(np.int64), CELLS * grid.shape[2])
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


def sighting(grid: VoxelGrid, world_from_grid: np.ndarray, stamp_s: float, seen: Sequence[Returns], token: str = "",
             min_points: int = 1) -> Sighting:
    """What sweeps have shown by an instant, in the grid at that instant.

    Args:
        seen: sweeps until then in the order of time; of those that lie closer than SPACING_S, some.
        min_points: returns that make a voxel occupied.
    """
    cells, grid_from_world = cell_grid(grid), invert(world_from_grid)
    counts = np.zeros(cells.num_voxels, np.uint16)
    ages = [np.zeros(cells.num_voxels, np.uint8) for _ in range(2)]  # youngest and oldest
    met = []
    for returns in [seen[index] for index in spaced([one.stamp_s for one in seen])]:
        flat = flat_voxels(cells, grid_from_world, returns.points())
        met.append((flat[flat >= 0], min(MOST, round((stamp_s - returns.stamp_s) / TICK_S))))
    for (flat, age), (last, last_age) in zip(met, reversed(met)):
        ages[0][flat], ages[1][last] = age, last_age  # what comes later stays
        counts += _counted(flat, len(counts))
    filled = np.flatnonzero(counts)
    voxels, _ = voxels_of_cells(filled, grid)
    flat = np.flatnonzero(np.bincount(voxels, counts[filled], grid.num_voxels) >= min_points)
    return Sighting(flat, np.full(len(flat), UNLABELLED, np.uint8), world_from_grid, stamp_s, token,
                    observed=_observed(grid, grid_from_world, seen, flat), cells=filled.astype(np.int32),
                    counts=np.minimum(counts[filled], MOST).astype(np.uint8), youngest=ages[0][filled],
                    oldest=ages[1][filled])


def _counted(flat: np.ndarray, size: int) -> np.ndarray:
    return np.bincount(flat, minlength=size).astype(np.uint16)


def _observed(grid: VoxelGrid, grid_from_world: np.ndarray, seen: Sequence[Returns], flat: np.ndarray) -> np.ndarray:
    """The packed mask of the voxels that hold a return or that a ray of the last sweep went through."""
    mask = np.zeros(grid.num_voxels, dtype=bool)
    if seen:
        rotation, shift = grid_from_world[:3, :3], grid_from_world[:3, 3]
        mark_rays(mask, grid, rotation @ seen[-1].sensor_m + shift, rotation @ seen[-1].ends + shift[:, None])
    mask[flat] = True
    return np.packbits(mask)
