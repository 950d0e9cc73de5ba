"""Motion-compensated tables: for each site, the same place of the world in other frames. The same on any device.

Where a frame's cells lie in another frame is an affine map. What each of their coordinates adds is multiplied once for
all planes and places of the grid, then looked up and summed for the sites, so that no device can round otherwise than
another, as their matrix products do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from occflow.sparse.sites import Shape, Sites, index_volume_with_margin, planes_and_places

FACE = 1e-9  # cells: a centre that lands on a face stays on one side
ROWS = 1 << 13  # of a table that are made at a time on a CPU, so that what lies in between stays in its cache


@dataclass(frozen=True)
class CellGrid:
    """The geometry that tables need: lower corner [3], cell size [3], metres, and shape of a grid of cells."""

    origin_m: np.ndarray
    cell_m: np.ndarray
    shape: Shape

    @property
    def num_cells(self) -> int:
        return int(np.prod(self.shape))

    def pooled(self, stride: Shape) -> CellGrid:
        return CellGrid(self.origin_m, self.cell_m * np.asarray(stride),
                        tuple(-(-cells // step) for cells, step in zip(self.shape, stride)))


def cell_maps(grid: CellGrid, world_from_own: np.ndarray, world_from_other: np.ndarray) -> np.ndarray:
    """Affine maps [F, K, 3, 4] from a cell (x, y, z, 1) of frames at poses [F, 4, 4] to where its centre lies in others
    at [K, 4, 4], in cells from their lower corner (plus FACE)."""
    other_from_own = np.linalg.solve(world_from_other[None], world_from_own[:, None])
    rotation = other_from_own[..., :3, :3] * grid.cell_m / grid.cell_m[:, None]
    corner = other_from_own[..., :3, :3] @ (grid.origin_m + 0.5 * grid.cell_m) + other_from_own[..., :3, 3]
    return np.concatenate([rotation, ((corner - grid.origin_m) / grid.cell_m + FACE)[..., None]], axis=-1)


def taken_apart(maps: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
    """Affine maps [..., 4] float64 of cells (x, y, z, 1) -> what the planes of a grid [..., X] and the places in a
    plane [..., Y * Z] (`sites.planes_and_places`) add to their value."""
    x, y, z = (torch.arange(length, dtype=torch.float64, device=maps.device) for length in shape)
    of_x, of_y, of_z, constant = maps[..., None].unbind(-2)
    return of_x * x + constant, ((of_y * y)[..., None] + (of_z * z)[..., None, :]).flatten(-2)


def row_of(values: Sequence[float], device: torch.device) -> Tensor:
    """A few numbers of the host on a device, [N] float64; unlike a copy it waits for nothing."""
    return torch.cat([torch.full((1,), value, dtype=torch.float64, device=device) for value in values])


def motion_compensated_table(sites: Sites, maps: Tensor, others: Sites, with_remainder: bool = True
                             ) -> tuple[Tensor, Tensor | None]:
    """Where each site's place lies in other frames.

    Args:
        sites: [N], block = frame, of F frames; others: of K frames with cells of the same shape.
        maps: [F, K, 3, 4] float64 (`cell_maps`).

    Returns:
        table [N, K] int32 of sites among `others` (their number: absent), and the remainder [N, K, 3] float32 in cells:
        place minus centre of the cell it falls into, in [-0.5, 0.5]; zero outside; None without `with_remainder`.
    """
    shape, frames, count, absent = sites.shape, maps.shape[1], len(sites), len(others)
    volume = index_volume_with_margin(others, absent + 1)
    by_plane, by_place = (part.movedim(3, 1).reshape(-1, 3 * frames) for part in taken_apart(maps, shape))
    planes, places = planes_and_places(sites.keys, shape)
    places = places + planes // shape[0] * (shape[1] * shape[2])
    device = maps.device
    last = row_of(shape, device).repeat(frames)
    x, y, z = volume.shape[1:]
    steps = row_of((y * z, z, 1), device)
    first = torch.arange(frames, dtype=torch.float64, device=device) * (x * y * z) + (y * z + z + 1)
    table = torch.empty(count, frames, dtype=torch.int32, device=device)
    remainder = torch.empty(count, frames, 3, dtype=torch.float32, device=device) if with_remainder else None
    step = ROWS if device.type == "cpu" else max(count, 1)
    for start in range(0, count, step):
        rows = slice(start, start + step)
        scaled = by_plane.index_select(0, planes[rows])
        scaled += by_place.index_select(0, places[rows])  # [n, K * 3]
        cells = scaled.floor()
        if with_remainder:
            remainder[rows].view(len(cells), -1).copy_(scaled.sub_(cells).sub_(0.5 + FACE))
        cells = torch.minimum(cells.clamp_(min=-1), last)
        keys = (cells.view(-1, 3) @ steps).view(-1, frames) + first  # whole numbers, far below 2 ** 53
        found = volume.view(-1).index_select(0, keys.long().view(-1)).view(-1, frames)
        if with_remainder:
            remainder[rows] *= (absent + 1 - found).clamp_(0, 1).float()[:, :, None]
        table[rows] = found.clamp_(max=absent)
    return table, remainder
