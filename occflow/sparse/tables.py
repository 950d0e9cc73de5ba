"""Motion-compensated tables: for each site, the same place of the world in other frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CellGrid:
    """The geometry that tables need: lower corner [3], cell size [3], metres, and shape of a grid of cells."""

    origin_m: np.ndarray
    cell_m: np.ndarray
    shape: tuple[int, int, int]

    def pooled(self, stride: tuple[int, int, int]) -> CellGrid:
        return CellGrid(self.origin_m, self.cell_m * np.asarray(stride),
                        tuple(-(-cells // step) for cells, step in zip(self.shape, stride)))

    def centres(self, cells: np.ndarray) -> np.ndarray:
        """Centres [N, 3], metres, of cells [N, 3]."""
        return self.origin_m + (np.asarray(cells) + 0.5) * self.cell_m

    def keys(self, cells: np.ndarray) -> np.ndarray:
        """Flat keys [N] int64 of cells [N, 3], z fastest."""
        cells = np.asarray(cells, dtype=np.int64)
        return (cells[:, 0] * self.shape[1] + cells[:, 1]) * self.shape[2] + cells[:, 2]


def index_volume(coords: np.ndarray, grid: CellGrid, num_blocks: int) -> np.ndarray:
    """Dense lookup [num_blocks, X * Y * Z] int32 from cell to site index; N (the number of sites): absent."""
    volume = np.full((num_blocks, int(np.prod(grid.shape))), len(coords), dtype=np.int32)
    volume[coords[:, 0], grid.keys(coords[:, 1:])] = np.arange(len(coords), dtype=np.int32)
    return volume


def motion_compensated_table(coords: np.ndarray, grid: CellGrid, world_from_own: np.ndarray,
                             world_from_other: np.ndarray, others: np.ndarray,
                             num_other_sites: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each site's place lies in other frames.

    Args:
        coords: [N, 4] (frame, x, y, z) of the sites, sorted by frame.
        grid: the cells, alike in all frames.
        world_from_own: [F, 4, 4] grid poses of the sites' frames.
        world_from_other: [K, 4, 4] grid poses of the other frames.
        others: [K, X * Y * Z] lookup of the other frames (`index_volume`).
        num_other_sites: the index that means absent.

    Returns:
        table [N, K] int64 of site indices in the other frames, and the remainder
        [N, K, 3] float32 in cells: place minus centre of the cell it falls into, in [-0.5, 0.5]; zero outside.
    """
    table = np.full((len(coords), len(others)), num_other_sites, dtype=np.int64)
    remainder = np.zeros((len(coords), len(others), 3), dtype=np.float32)
    bounds = np.searchsorted(coords[:, 0], np.arange(len(world_from_own) + 1))
    for frame, (start, stop) in enumerate(zip(bounds[:-1], bounds[1:])):
        centres = grid.centres(coords[start:stop, 1:])
        for other, other_pose in enumerate(world_from_other):
            other_from_own = np.linalg.solve(other_pose, world_from_own[frame])
            scaled = (centres @ other_from_own[:3, :3].T + other_from_own[:3, 3] - grid.origin_m) / grid.cell_m
            cells = np.floor(scaled + 1e-9).astype(np.int64)  # a centre that lands on a face stays on one side
            inside = ((cells >= 0) & (cells < grid.shape)).all(axis=1)
            rows = start + np.flatnonzero(inside)
            table[rows, other] = others[other, grid.keys(cells[inside])]
            remainder[rows, other] = scaled[inside] - cells[inside] - 0.5
    return table, remainder
