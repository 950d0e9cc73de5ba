"""Motion-compensated tables: for each site, the same place of the world in other frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FACE = 1e-9  # cells: a centre that lands on a face stays on one side


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
                             world_from_other: np.ndarray, others: np.ndarray, num_other_sites: int,
                             with_remainder: bool = True) -> tuple[np.ndarray, np.ndarray | None]:
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
        [N, K, 3] float32 in cells: place minus centre of the cell it falls into, in [-0.5, 0.5]; zero outside; None
        without `with_remainder`.
    """
    table = np.empty((len(coords), len(others)), dtype=np.int64)
    remainder = np.empty((len(coords), len(others), 3), dtype=np.float32) if with_remainder else None
    bounds = np.searchsorted(coords[:, 0], np.arange(len(world_from_own) + 1))
    maps = _cell_maps(grid, world_from_own, world_from_other)
    places = np.append(others.reshape(-1), others.dtype.type(num_other_sites))  # the last is the place of all outside
    first = np.arange(len(others), dtype=np.int32)[:, None] * others.shape[1]
    for one, start, stop in zip(maps, bounds[:-1], bounds[1:]):
        own = np.ones((4, stop - start))  # [4, n]: columns are fast, and all other frames go at once
        own[:3] = coords[start:stop, 1:].T
        scaled = (one.reshape(-1, 4) @ own).reshape(len(one), 3, stop - start)  # [K, 3, n]
        cells = np.floor(scaled).astype(np.int32)
        x, y, z = cells[:, 0], cells[:, 1], cells[:, 2]
        outside = (cells.view(np.uint32) >= np.reshape(grid.shape, (3, 1)).astype(np.uint32)).any(axis=1)  # [K, n]
        keys = (x * grid.shape[1] + y) * grid.shape[2] + z + first
        keys[outside] = -1
        table[start:stop] = places[keys].T
        if with_remainder:
            scaled -= cells
            scaled -= 0.5 + FACE
            scaled.transpose(0, 2, 1)[outside] = 0.0
            remainder[start:stop] = scaled.transpose(2, 0, 1)
    return table, remainder


def _cell_maps(grid: CellGrid, world_from_own: np.ndarray, world_from_other: np.ndarray) -> np.ndarray:
    """Affine maps [F, K, 3, 4] from a cell (x, y, z, 1) of a frame to where its centre lies in other frames, in cells
    from their lower corner (plus FACE)."""
    other_from_own = np.linalg.solve(world_from_other[None], world_from_own[:, None])
    rotation = other_from_own[..., :3, :3] * grid.cell_m / grid.cell_m[:, None]
    corner = other_from_own[..., :3, :3] @ (grid.origin_m + 0.5 * grid.cell_m) + other_from_own[..., :3, 3]
    return np.concatenate([rotation, ((corner - grid.origin_m) / grid.cell_m + FACE)[..., None]], axis=-1)
