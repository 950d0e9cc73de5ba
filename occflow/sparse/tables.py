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
    shape, offsets = np.reshape(grid.shape, (3, 1)), np.arange(len(others))[:, None] * others.shape[1]
    for frame, (start, stop) in enumerate(zip(bounds[:-1], bounds[1:])):
        centres = grid.centres(coords[start:stop, 1:]).T  # [3, n]: columns are fast, and all frames go at once
        other_from_own = np.linalg.solve(world_from_other, world_from_own[frame][None])
        local = other_from_own[:, :3, :3] @ centres + other_from_own[:, :3, 3:]
        scaled = (local - grid.origin_m[:, None]) / grid.cell_m[:, None]  # [K, 3, n]
        cells = np.floor(scaled + 1e-9)  # a centre that lands on a face stays on one side
        inside = ((cells >= 0) & (cells < shape)).all(axis=1)  # [K, n]
        x, y, z = np.moveaxis(cells, 1, 0)
        keys = np.where(inside, (x * grid.shape[1] + y) * grid.shape[2] + z, 0).astype(np.int64) + offsets
        table[start:stop] = np.where(inside, others.reshape(-1)[keys], num_other_sites).T
        remainder[start:stop] = np.where(inside[:, None], scaled - cells - 0.5, 0.0).transpose(2, 0, 1)
    return table, remainder
