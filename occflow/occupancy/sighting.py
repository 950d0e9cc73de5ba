"""What a car has seen by an instant: where its last sweeps met matter, finer than voxels, and how long ago."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from occflow.geometry import invert, transform
from occflow.grid import VoxelGrid
from occflow.logs.protocol import SAME_STAMP_S, UNLABELLED
from occflow.occupancy.frame import OccupancyFrame

CELL_BITS = 2
CELLS = 1 << CELL_BITS  # along a voxel's edge
SPOT_BITS = 2
SPOTS = 1 << SPOT_BITS  # along a cell's edge: of 0.2 m they are 5 cm
TICK_S = 0.02  # of the ages; 255 of them are five seconds
MOST = 255  # of what a byte counts
SPACING_S = 0.15  # of two sweeps nearer than this in time the older one is left out: its returns are the same again


@dataclass(frozen=True)
class Sighting(OccupancyFrame):
    """A frame of unlabelled voxels, of the returns of the last moments, and what is in them.

    `observed` are the voxels that the rays of the last sweep went through.

    Args:
        cells: [M] int64 flat indices in the `cell_grid` of the area, increasing: where returns fell.
        counts: [M] uint8 returns, at most MOST.
        youngest, oldest: [M] uint8 age of the last and of the first of them, in ticks of TICK_S.
        spots: [M] uint8 where in its cell the last of them fell: the numbers, 0 .. SPOTS - 1, along x, y and z of which
            SPOTS divide each edge, SPOT_BITS each; None: not known, in its middle.
        area: the larger grid of the same voxels at the same pose whose cells these are, where the sweeps were looked at
            beyond the frame's grid, too (`building.sightings.outlook`); None: it is the frame's grid.
        passed: as `observed`, of the area's voxels; None where there is no area, or it is not known.
    """

    cells: np.ndarray = field(kw_only=True)
    counts: np.ndarray = field(kw_only=True)
    youngest: np.ndarray = field(kw_only=True)
    oldest: np.ndarray = field(kw_only=True)
    spots: np.ndarray | None = field(default=None, kw_only=True)
    area: VoxelGrid | None = field(default=None, kw_only=True)
    passed: np.ndarray | None = field(default=None, kw_only=True)

    def passed_mask(self, grid: VoxelGrid) -> np.ndarray:
        """Voxels [X, Y, Z] bool of the area (of `grid`, the frame's own, where there is none) that rays went through;
        all of them where it is not known which."""
        if self.area is None:
            return self.observed_mask(grid)
        if self.passed is None:
            return np.ones(self.area.shape, dtype=bool)
        return np.unpackbits(self.passed, count=self.area.num_voxels).astype(bool).reshape(self.area.shape)

    def places(self, grid: VoxelGrid, chosen: np.ndarray | None = None) -> np.ndarray:
        """Where in the cells, or some of them [M] bool, the last returns fell: [3, M] float32, metres, grid frame.

        Args:
            grid: the frame's own.
        """
        area, cells, spots = self.area or grid, self.cells, self.spots
        if chosen is not None:
            cells, spots = cells[chosen], None if spots is None else spots[chosen]
        places_m = cell_centres(cells, area)
        if spots is not None:
            step_m = area.voxel_size_m / CELLS / SPOTS
            offsets_m = ((np.arange(SPOTS) - (SPOTS - 1) / 2) * step_m).astype(np.float32)
            for axis, row in enumerate(places_m):
                row += offsets_m[spots >> (2 - axis) * SPOT_BITS & SPOTS - 1]
        return places_m

    def moved(self, grid: VoxelGrid, world_from_grid: np.ndarray) -> Sighting:
        """The same sweeps in a grid at another pose [4, 4]: cells are binned anew by where in them returns fell, what
        rays went through is that of the nearest voxel. The result's `flat` are its voxels that cells lie in.

        Args:
            grid: the frame's own, and that of the result.
        """
        area, there = self.area or grid, cell_grid(grid)
        target_from_source = invert(world_from_grid) @ self.world_from_grid
        index, inside = there.indices(transform(target_from_source, self.places(grid).T))
        flat = there.flatten(index[inside])
        order = np.argsort(flat, kind="stable")
        first = np.flatnonzero(np.diff(flat[order], prepend=-1))
        counts, youngest, oldest = (one[inside][order] for one in (self.counts, self.youngest, self.oldest))
        counts = np.minimum(np.add.reduceat(counts.astype(np.int64), first), MOST) if len(first) else counts
        voxels = np.unique(voxels_of_cells(flat[order][first], grid)[0])
        every = transform(invert(target_from_source), grid.centres(grid.unflatten(np.arange(grid.num_voxels))))
        index, known = area.indices(every)
        passed = np.zeros(grid.num_voxels, dtype=bool)
        passed[known] = self.passed_mask(grid).reshape(-1)[area.flatten(index[known])]
        return Sighting(voxels, np.full(len(voxels), UNLABELLED, np.uint8), np.asarray(world_from_grid), self.stamp_s,
                        self.token, observed=np.packbits(passed), cells=flat[order][first],
                        counts=counts.astype(np.uint8),
                        youngest=np.minimum.reduceat(youngest, first) if len(first) else youngest,
                        oldest=np.maximum.reduceat(oldest, first) if len(first) else oldest)

    def part(self, grid: VoxelGrid, part: VoxelGrid) -> Sighting:
        """What it shows on a grid of the same voxels at its pose, which lies in its area.

        Args:
            grid: the frame's own; part: the wanted one. The result's `flat` are its voxels that cells lie in.
        """
        area, cells = self.area or grid, cell_grid(part)
        numbers, inside = cell_grid(area).renumbered(self.cells, cells)
        mask = self.passed_mask(grid)[part.slices_in(area)]
        voxels = np.unique(voxels_of_cells(numbers[inside], part)[0])
        labels = np.full(len(voxels), UNLABELLED, np.uint8)
        return Sighting(voxels, labels, self.world_from_grid, self.stamp_s, self.token, observed=np.packbits(mask),
                        cells=numbers[inside], counts=self.counts[inside], youngest=self.youngest[inside],
                        oldest=self.oldest[inside], spots=None if self.spots is None else self.spots[inside])


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
    (x, y, z), last = _taken_apart(cells, grid), CELLS - 1
    voxels = ((x >> CELL_BITS) * grid.shape[1] + (y >> CELL_BITS)) * grid.shape[2] + (z >> CELL_BITS)
    return voxels, ((x & last) << CELL_BITS | y & last) << CELL_BITS | z & last


def cell_centres(cells: np.ndarray, grid: VoxelGrid) -> np.ndarray:
    """Centres [3, M] float32, metres, grid frame, of flat cells [M]."""
    size_m = grid.voxel_size_m / CELLS
    centres_m = np.empty((3, len(cells)), np.float32)
    for row, index, low_m, length in zip(centres_m, _taken_apart(cells, grid), grid.origin_m, grid.shape):
        row[:] = (low_m + (np.arange(CELLS * length) + 0.5) * size_m).astype(np.float32)[index]
    return centres_m


def _taken_apart(cells: np.ndarray, grid: VoxelGrid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices x, y, z [M] of flat cells; `//` without `%` is several times as fast as np.divmod."""
    rows = cells // (CELLS * grid.shape[2])
    x = rows // (CELLS * grid.shape[1])
    return x, rows - x * (CELLS * grid.shape[1]), cells - rows * (CELLS * grid.shape[2])


def spaced(stamps_s: Sequence[float]) -> list[int]:
    """Which of the sweeps at increasing times are looked at: the last one, and backwards those SPACING_S apart."""
    kept, last_s = [], np.inf
    for index in reversed(range(len(stamps_s))):
        if last_s - stamps_s[index] >= SPACING_S - SAME_STAMP_S:
            kept.append(index)
            last_s = stamps_s[index]
    return kept[::-1]
