"""On which sites a forecast may run: the moved history, what no observed grid covers, the reach of movers.

The host says how the grids of a window lie to each other, in a few small matrices; all else is gathers and sums on the
device of the networks, to the same numbers on any.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from occflow.flow.sending import sent
from occflow.geometry import invert
from occflow.grid import IS_MOVABLE, VoxelGrid
from occflow.models.coarse_cells import cell_grid
from occflow.occupancy.frame import Frames, OccupancyFrame
from occflow.sparse.sites import Shape, planes_and_places
from occflow.sparse.tables import CellGrid, cell_maps, row_of, taken_apart

MOVERS_AT_ONCE = 1 << 12  # cells whose reach is in memory at a time
TARGETS_AT_ONCE = 1  # on a CPU, whose cache holds the cells of one


@dataclass(frozen=True)
class SupportSettings:
    """How the support is proposed, and how its frames hang together.

    Args:
        reach_m_per_s: a mover's reach.
        level_strides: strides of the coarser levels.
        whole_grid: every cell is proposed (an ablation).
        motion_compensation: tables join the same place of the world; otherwise the same cell of the grid (an ablation).
        head_channels: of the learned head that thins out what is proposed (`models.support_head`); 0: there is none.
    """

    reach_m_per_s: float
    level_strides: tuple[Shape, ...]
    whole_grid: bool = False
    motion_compensation: bool = True
    head_channels: int = 0


@dataclass(frozen=True)
class Outline:
    """What the sites of a window with P observed and F horizon frames depend on, besides voxels.

    Args:
        observed: [F, P, 2, 4] float64, from a target's cell (x, y, z, 1) to its centre in the plane of an observed one:
            metres from its lower corner.
        to_history: [F, P, 3, 4] float64, likewise to cells of the observed grids (`cell_maps`).
        to_horizon: [L, F, F, 3, 4] float64, likewise between the targets, of every level.
        to_movers: [F, 3, 4] float64, from a voxel of the present to where its centre lies in a target, in cells.
        movers: [M] int64, movable voxels of the present.
        widths: [F, 2 R + 1] int32, how many cells to either side along y are in reach of a mover -R .. R cells away
            along x; so far below zero where none is that it is empty.
        margins: cells about each target from which movers are taken; those farther away are left out, since across a
            gap of hours they could be anywhere.
        touched: [F * X * Y * Z] bool, cells that the moved present touches, or bodies that are moved.
    """

    observed: Tensor
    to_history: Tensor
    to_horizon: Tensor
    to_movers: Tensor
    movers: Tensor
    widths: Tensor
    margins: tuple[int, ...]
    touched: Tensor

    @property
    def num_history(self) -> int:
        return self.observed.shape[1]

    @property
    def num_horizon(self) -> int:
        return len(self.observed)

    def to(self, device: torch.device) -> Outline:
        return Outline(*(sent(value, device) if isinstance(value, Tensor) else value
                         for value in (getattr(self, field.name) for field in fields(self))))


def outline_of(history: Frames, poses: np.ndarray, seconds: np.ndarray, touched: Tensor, grid: VoxelGrid, stride: Shape,
               settings: SupportSettings) -> Outline:
    """That of one window, on the host.

    Args:
        poses: [F, 4, 4] of the targets; seconds: [F] after the present.
        touched: see Outline.
    """
    cells, present = cell_grid(grid, stride), history[-1]
    observed = np.stack([frame.world_from_grid for frame in history])
    joined = (poses, observed) if settings.motion_compensation else \
        [np.broadcast_to(np.eye(4), some.shape) for some in (poses, observed)]
    levels = [cells]
    for step in settings.level_strides:
        levels.append(levels[-1].pooled(step))
    reach_m = settings.reach_m_per_s * np.asarray(seconds)
    margins = _margins(cells, reach_m)
    arrays = (_observed_maps(cells, poses, observed), cell_maps(cells, *joined),
              np.stack([cell_maps(level, joined[0], joined[0]) for level in levels]),
              _mover_maps(cells, grid, present, poses), present.flat[IS_MOVABLE[present.labels]],
              _widths(cells, reach_m, margins))
    observed, *others = (torch.from_numpy(np.ascontiguousarray(one)) for one in arrays)
    return Outline(observed, *others, margins, touched)


def _observed_maps(cells: CellGrid, world_from_targets: np.ndarray, world_from_observed: np.ndarray) -> np.ndarray:
    """Outline.observed."""
    maps = np.empty((len(world_from_targets), len(world_from_observed), 2, 4))
    for place, pose in enumerate(world_from_observed):
        local_from_target = (invert(pose) @ world_from_targets)[:, :2]  # [F, 2, 4]
        first = local_from_target[..., :3] @ (cells.origin_m + 0.5 * cells.cell_m) + local_from_target[..., 3]
        maps[:, place, :, :3] = local_from_target[..., :3] * cells.cell_m
        maps[:, place, :, 3] = first - cells.origin_m[:2]
    return maps


def _mover_maps(cells: CellGrid, grid: VoxelGrid, present: OccupancyFrame, world_from_targets: np.ndarray
                ) -> np.ndarray:
    """Outline.to_movers."""
    maps = np.stack([invert(pose) @ present.world_from_grid for pose in world_from_targets])[:, :3]
    first = maps[..., :3] @ grid.centres(np.zeros((1, 3)))[0] + maps[..., 3] - cells.origin_m
    return np.concatenate([maps[..., :3] * grid.voxel_size_m, first[..., None]], axis=-1) / cells.cell_m[:, None]


def _margins(cells: CellGrid, reach_m: np.ndarray) -> tuple[int, ...]:
    """Outline.margins: at most the grid's length."""
    reach = np.minimum(reach_m / cells.cell_m[:2].min(), max(cells.shape[:2]))
    return tuple((np.ceil(reach).astype(int) + 1).tolist())


def _widths(cells: CellGrid, reach_m: np.ndarray, margins: tuple[int, ...]) -> np.ndarray:
    """Outline.widths. R is the largest distance that matters: from within a margin to the other end of the grid."""
    farthest = np.array(cells.shape[:2]) + max(margins)
    across, along = (np.arange(length) * size_m for length, size_m in zip(farthest, cells.cell_m[:2]))
    away_m = np.sqrt(across[:, None] ** 2 + along**2)
    widths = (away_m <= reach_m[:, None, None]).sum(axis=2) - 1  # [F, X + margin]
    widths = widths[:, :max(1, int((widths >= 0).any(axis=0).sum()))]
    widths = np.where(widths < 0, -farthest[1], widths).astype(np.int32)
    return np.concatenate([widths[:, :0:-1], widths], axis=1)


@dataclass(frozen=True)
class Proposal:
    """Cells of the targets, [F * X * Y * Z] each: on which of them a forecast may run, and why.

    Args:
        inside_m: float64, metres within the observed grids (`inside_history_m`).
        reach, touched: bool, whether a mover may get there; whether the moved present touches it.
        proposed: bool, by the rule.
        shape: F, X, Y, Z.
    """

    inside_m: Tensor
    reach: Tensor
    touched: Tensor
    proposed: Tensor
    shape: tuple[int, int, int, int]


def propose(outline: Outline, grid: VoxelGrid, cells: CellGrid, settings: SupportSettings) -> Proposal:
    """What the rule proposes for a window."""
    inside_m, reach = inside_history_m(outline, cells), reachable(outline, grid, cells)
    proposed = (inside_m < 0) | reach | outline.touched | settings.whole_grid
    return Proposal(inside_m, reach, outline.touched, proposed, (outline.num_horizon, *cells.shape))


def outside_history(outline: Outline, cells: CellGrid) -> Tensor:
    """[F * X * Y * Z] bool: cells of the targets whose centre no observed grid covers in the plane."""
    return inside_history_m(outline, cells) < 0


def inside_history_m(outline: Outline, cells: CellGrid) -> Tensor:
    """[F * X * Y * Z] float64: metres that the centre of a cell lies within the observed grid in which it lies deepest,
    in the plane; below zero outside of all."""
    last_m = [float(np.nextafter(size * length, 0)) for size, length in zip(cells.cell_m[:2], cells.shape[:2])]
    step = TARGETS_AT_ONCE if outline.observed.device.type == "cpu" else outline.num_horizon
    return torch.cat([_deepest_inside(maps, cells.shape, last_m) for maps in outline.observed.split(step)])


def _deepest_inside(maps: Tensor, shape: Shape, last_m: Sequence[float]) -> Tensor:
    """[F * X * Y * Z]: how far above zero and below `last_m` cells lie along both axes of a grid, of that in which it
    is farthest; maps [F, P, 2, 4]."""
    by_plane, by_place = taken_apart(maps, shape)  # [F, P, 2, X], [F, P, 2, Y * Z]
    best = None  # how far inside the grid a cell is in which it is farthest inside
    for observed in range(maps.shape[1]):
        inside = None
        for axis, last in enumerate(last_m):
            place = by_plane[:, observed, axis, :, None] + by_place[:, observed, axis, None]  # [F, X, Y * Z]
            place = torch.minimum(place, last - place)
            inside = place if inside is None else torch.minimum(inside, place)
        best = inside if best is None else torch.maximum(best, inside)
    return best.flatten()


def reachable(outline: Outline, grid: VoxelGrid, cells: CellGrid) -> Tensor:
    """[F * X * Y * Z] bool: cells of the targets within reach, in the plane, of a movable voxel of the present, at the
    level that the mover is on.

    A disc is a bundle of intervals along y. Each of a mover's adds one where it begins and takes one away where it
    ends; where the running sum is above zero, a mover reaches.
    """
    x, y, z = cells.shape
    row, end = (y + 1) * z, y * z  # of a plane of events; its last row stands for all that lies beyond the grid
    events = torch.zeros(outline.num_horizon * (x + 2) * row, dtype=torch.int32, device=outline.movers.device)
    radius = outline.widths.shape[1] // 2
    across = torch.arange(-radius, radius + 1, dtype=torch.int32, device=events.device)
    widths = outline.widths * z
    for movers in mover_cells(outline, grid, cells).int().split(MOVERS_AT_ONCE):
        frame, middle, along, level = movers[:, :, None].unbind(1)
        width = widths.index_select(0, frame[:, 0])  # [m, 2 R + 1]
        first = (middle + across).clamp_(-1, x).mul_(row).add_((frame * (x + 2) + 1) * row + level)
        begin = (along * z - width).clamp_(0, end)
        stop = torch.maximum((along * z + z + width).clamp_(0, end), begin)
        ones = torch.ones_like(begin).view(-1)
        events.index_add_(0, begin.add_(first).view(-1), ones)
        events.index_add_(0, stop.add_(first).view(-1), ones, alpha=-1)
    sums = events.view(-1, x + 2, y + 1, z).cumsum(2, dtype=torch.int32)
    return (sums[:, 1:-1, :-1] > 0).flatten()


def mover_cells(outline: Outline, grid: VoxelGrid, cells: CellGrid) -> Tensor:
    """[M, 4] int64 (frame, x, y, z): cells in and about the targets that hold a movable voxel of the present."""
    planes, places = planes_and_places(outline.movers, grid.shape)
    by_plane, by_place = taken_apart(outline.to_movers, grid.shape)
    where = (by_plane.index_select(2, planes) + by_place.index_select(2, places)).floor_()  # [F, 3, M]
    most = max(outline.margins)
    margins = row_of(outline.margins, where.device)[:, None]
    inside = (where[:, 2] >= 0) & (where[:, 2] < cells.shape[2])
    for axis in range(2):
        inside &= (where[:, axis] >= -margins) & (where[:, axis] < cells.shape[axis] + margins)
    shape = (len(where), cells.shape[0] + 2 * most, cells.shape[1] + 2 * most, cells.shape[2])
    frame = torch.arange(len(where), device=where.device)[:, None]
    x, y, z = torch.where(inside[:, None], where, 0.0).long().unbind(1)
    key = torch.where(inside, ((frame * shape[1] + x + most) * shape[2] + y + most) * shape[3] + z, math.prod(shape))
    held = torch.zeros(math.prod(shape) + 1, dtype=torch.bool, device=where.device)  # the last is for all outside
    columns, rest = [], held.index_fill_(0, key.view(-1), True)[:-1].nonzero()[:, 0]
    for length, margin in ((shape[3], 0), (shape[2], most), (shape[1], most)):
        columns.insert(0, rest % length - margin)
        rest = rest // length
    return torch.stack([rest, *columns], dim=1)
