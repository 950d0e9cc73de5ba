"""The layout of a window: on which sites the forecast runs, and how they hang together in space and time.

Everything here depends on the history and the grid poses alone. It is built once a window and shared by all
networks, samples and flow steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from occflow.grid import VoxelGrid
from occflow.models.coarse_cells import cell_grid
from occflow.models.support import Outline, Proposal, SupportSettings, propose
from occflow.sparse.sites import Pooling, Shape, Sites, pool, sites_from_keys
from occflow.sparse.tables import CellGrid, motion_compensated_table


@dataclass(frozen=True)
class Level:
    """One resolution of the support.

    Args:
        sites: [N] sites, block = sample * F + frame.
        table: [N, F] int32, the same place in every frame of the horizon (N: absent).
        pooling: how these sites fall into the next coarser level; None at the coarsest.
    """

    sites: Sites
    table: Tensor
    pooling: Pooling | None

    def lasting(self, frame: int) -> Tensor:
        """[N] int64, the same for sites that are one place of the world: its site in a frame of the horizon; a number
        of its own for a place that is not in that frame."""
        place, count = self.table[:, frame].long(), len(self.sites)
        return torch.where(place < count, place, count + torch.arange(count, device=place.device))


@dataclass(frozen=True)
class Layout:
    """The sites of a batch of B windows with P history and F horizon frames.

    Args:
        levels: the support and its coarser levels.
        history: sites of the observed frames, block = sample * P + frame.
        history_table: [N, P] int32, each support site's place in the observed frames (absent: number of sites).
        history_remainder: [N, P, 3] sub-cell remainder, cells.
        unseen: [N] bool, sites that no observed grid covers.
        position: [N, 3] float32 centre of each support site in the forecaster's grid, -1 to 1 from end to end.
        num_samples, num_history, num_horizon: B, P, F.
    """

    levels: tuple[Level, ...]
    history: Sites
    history_table: Tensor
    history_remainder: Tensor
    unseen: Tensor
    position: Tensor
    num_samples: int
    num_history: int
    num_horizon: int

    @property
    def support(self) -> Sites:
        return self.levels[0].sites

    @property
    def sample(self) -> Tensor:
        """[N] int64: which window a support site belongs to."""
        return self.support.coords[:, 0].long() // self.num_horizon

    @property
    def regions(self) -> tuple[Tensor, ...]:
        """Which cell of each coarser level a support site falls into, [N] int64 a level; last, which cell of the first
        of them it falls into at the horizon's middle frame: a piece of the world through all frames that show it."""
        cells, found = torch.arange(len(self.support), device=self.unseen.device), []
        for level in self.levels[:-1]:
            cells = level.pooling.parent[cells]
            found.append(cells)
        return (*found, self.levels[1].lasting(self.num_horizon // 2)[found[0]]) if found else ()


def build_layout(outline: Outline, history: Sites, grid: VoxelGrid, stride: Shape, settings: SupportSettings,
                 whole: VoxelGrid | None = None, thinned: Callable[[Proposal], Tensor] | None = None) -> Layout:
    """The layout of one window (B = 1), on the device of its outline.

    Args:
        history: the coarse sites of the observed frames.
        whole: the forecaster's grid, where `grid` is a part of it.
        thinned: what of a proposal is kept, [F * X * Y * Z] bool; all where none is given.
    """
    cells = cell_grid(grid, stride)
    proposal = propose(outline, grid, cells, settings)
    keys = (proposal.proposed if thinned is None else thinned(proposal)).nonzero()[:, 0]
    support = sites_from_keys(keys, cells.shape, outline.num_horizon)
    table, remainder = motion_compensated_table(support, outline.to_history, history)
    return Layout(_levels(support, outline, settings.level_strides), history, table, remainder,
                  proposal.inside_m.index_select(0, keys) < 0, _positions(support, cells, whole or grid), 1,
                  history.num_blocks, outline.num_horizon)


def _positions(support: Sites, cells: CellGrid, whole: VoxelGrid) -> Tensor:
    """Centres [N, 3] of sites in a grid, -1 to 1 from end to end."""
    columns = []
    for axis, column in enumerate(support.coords[:, 1:].unbind(1)):
        place = torch.arange(cells.shape[axis], dtype=torch.float64, device=column.device)
        centres_m = (place + 0.5) * float(cells.cell_m[axis]) + float(cells.origin_m[axis]) - whole.origin_m[axis]
        along = 2 * centres_m / (whole.shape[axis] * whole.voxel_size_m) - 1
        columns.append(along.float().index_select(0, column))
    return torch.stack(columns, dim=1)


def _levels(sites: Sites, outline: Outline, strides: tuple[Shape, ...]) -> tuple[Level, ...]:
    levels = []
    for maps, stride in zip(outline.to_horizon, (*strides, None), strict=True):
        table, _ = motion_compensated_table(sites, maps, sites, with_remainder=False)
        levels.append(Level(sites, table, None if stride is None else pool(sites, stride)))
        sites = levels[-1].pooling and levels[-1].pooling.coarse
    return tuple(levels)


def joined_sites(parts: list[Sites]) -> Sites:
    """The blocks of several one after the other."""
    coords, blocks = [], 0
    for part in parts:
        shifted = part.coords.clone()
        shifted[:, 0] += blocks
        coords.append(shifted)
        blocks += part.num_blocks
    return Sites(torch.cat(coords), parts[0].shape, blocks)


def _joined_index(parts: list[Tensor], sizes: list[int]) -> Tensor:
    """Concatenate index tensors into site lists of `sizes`; index == size (absent) stays absent."""
    total, offset, joined = sum(sizes), 0, []
    for part, size in zip(parts, sizes):
        joined.append(torch.where(part == size, total, part + offset))
        offset += size
    return torch.cat(joined)


def join_layouts(layouts: list[Layout]) -> Layout:
    """Batch the layouts of windows; levels, poolings and tables are shifted to the joined sites.

    A single layout is returned as it is, with the rulebooks that it has gathered.
    """
    if len(layouts) == 1:
        return layouts[0]
    levels: list[Level] = []
    for depth in reversed(range(len(layouts[0].levels))):
        parts = [layout.levels[depth] for layout in layouts]
        sizes = [len(part.sites) for part in parts]
        pooling = None
        if levels:
            coarse_sizes = [len(part.pooling.coarse) for part in parts]
            pooling = Pooling(levels[0].sites, _joined_index([part.pooling.parent for part in parts], coarse_sizes),
                              torch.cat([part.pooling.slot for part in parts]), parts[0].pooling.stride)
        table = _joined_index([part.table for part in parts], sizes)
        levels.insert(0, Level(joined_sites([part.sites for part in parts]), table, pooling))
    history_sizes = [len(layout.history) for layout in layouts]
    return Layout(tuple(levels), joined_sites([layout.history for layout in layouts]),
                  _joined_index([layout.history_table for layout in layouts], history_sizes),
                  torch.cat([layout.history_remainder for layout in layouts]),
                  torch.cat([layout.unseen for layout in layouts]),
                  torch.cat([layout.position for layout in layouts]),
                  sum(layout.num_samples for layout in layouts), layouts[0].num_history, layouts[0].num_horizon)


def move_layout(layout: Layout, device: torch.device) -> Layout:
    """A layout on another device."""
    if layout.unseen.device == device:
        return layout
    levels = []
    for level in reversed(layout.levels):
        pooling = level.pooling and replace(level.pooling, coarse=levels[0].sites, slot=level.pooling.slot.to(device),
                                            parent=level.pooling.parent.to(device))
        levels.insert(0, replace(level, sites=level.sites.to(device), table=level.table.to(device), pooling=pooling))
    return replace(layout, levels=tuple(levels), history=layout.history.to(device),
                   history_table=layout.history_table.to(device), unseen=layout.unseen.to(device),
                   position=layout.position.to(device),
                   history_remainder=layout.history_remainder.to(device))
