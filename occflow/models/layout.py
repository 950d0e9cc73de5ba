"""The layout of a window: on which sites the forecast runs, and how they hang together in space and time.

Everything here depends on the history and the grid poses alone. It is built once a window and shared by all
networks, samples and flow steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from occflow.geometry import invert, transform
from occflow.grid import FREE, MOVABLE_CLASSES, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.sparse.sites import Pooling, Shape, Sites, pool, sites_from_keys
from occflow.sparse.tables import CellGrid, index_volume, motion_compensated_table


@dataclass(frozen=True)
class Level:
    """One resolution of the support.

    Args:
        sites: [N] sites, block = sample * F + frame.
        table: [N, F] int64, the same place in every frame of the horizon (N: absent).
        pooling: how these sites fall into the next coarser level; None at the coarsest.
    """

    sites: Sites
    table: Tensor
    pooling: Pooling | None


@dataclass(frozen=True)
class Layout:
    """The sites of a batch of B windows with P history and F horizon frames.

    Args:
        levels: the support and its coarser levels.
        history: sites of the observed frames, block = sample * P + frame.
        history_table: [N, P] int64, each support site's place in the observed frames (absent: number of sites).
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


@dataclass(frozen=True)
class SupportSettings:
    """How the support is proposed, and how its frames hang together.

    Args:
        reach_m_per_s: a mover's reach.
        level_strides: strides of the coarser levels.
        whole_grid: every cell is proposed (an ablation).
        motion_compensation: tables join the same place of the world; otherwise the same cell of the grid (an ablation).
    """

    reach_m_per_s: float
    level_strides: tuple[Shape, ...]
    whole_grid: bool = False
    motion_compensation: bool = True


def cell_grid(grid: VoxelGrid, stride: Shape) -> CellGrid:
    """The coarse cells of a voxel grid."""
    voxels = CellGrid(np.asarray(grid.origin_m), np.full(3, grid.voxel_size_m), grid.shape)
    return voxels.pooled(stride)


@lru_cache(maxsize=4)
def cell_of_voxel(grid: VoxelGrid, stride: Shape) -> np.ndarray:
    """[V] int32: flat key of the coarse cell that holds each voxel."""
    voxels = grid.unflatten(np.arange(grid.num_voxels))
    return cell_grid(grid, stride).keys(voxels // np.asarray(stride)).astype(np.int32)


def coarse_keys(flat: np.ndarray, grid: VoxelGrid, stride: Shape, cells: CellGrid) -> np.ndarray:
    """Unique coarse cells [M] (flat keys) that hold the voxels `flat` [N]."""
    held = np.zeros(int(np.prod(cells.shape)), dtype=bool)
    held[cell_of_voxel(grid, stride)[flat]] = True
    return np.flatnonzero(held)


def cells_that_differ(one: OccupancyFrame, other: OccupancyFrame, grid: VoxelGrid, stride: Shape) -> np.ndarray:
    """[X * Y * Z] bool: coarse cells in which two frames in one grid are not the same."""
    volume = one.dense(grid).reshape(-1)
    differ = volume[other.flat] != other.labels
    volume[other.flat] = FREE
    voxels = np.concatenate([np.flatnonzero(volume != FREE), other.flat[differ]])
    found = np.zeros(int(np.prod(cell_grid(grid, stride).shape)), dtype=bool)
    found[cell_of_voxel(grid, stride)[voxels]] = True
    return found


def all_cells(cells: CellGrid) -> np.ndarray:
    """Every cell [X * Y * Z, 3] in the order of its flat key."""
    return np.stack(np.meshgrid(*[np.arange(n) for n in cells.shape], indexing="ij"), axis=-1).reshape(-1, 3)


def outside_history(cells: CellGrid, world_from_targets: np.ndarray, history: tuple[OccupancyFrame, ...]) -> np.ndarray:
    """[F, X * Y * Z] bool: cells of target grids [F, 4, 4] whose centre no observed grid covers in the plane."""
    centres = np.ascontiguousarray(cells.centres(all_cells(cells)).T)  # [3, X * Y * Z]: columns are fast
    extent = (cells.cell_m * np.asarray(cells.shape))[:2, None]
    unseen = np.ones((len(world_from_targets), centres.shape[1]), dtype=bool)
    for target, pose in enumerate(world_from_targets):
        for frame in history:
            local_from_target = invert(frame.world_from_grid) @ pose
            local = local_from_target[:2, :3] @ centres + (local_from_target[:2, 3] - cells.origin_m[:2])[:, None]
            unseen[target] &= ~((local >= 0) & (local < extent)).all(axis=0)
    return unseen


def reachable(cells: CellGrid, grid: VoxelGrid, stride: Shape, present: OccupancyFrame,
              world_from_target: np.ndarray, reach_m: float) -> np.ndarray:
    """[X * Y * Z] bool: cells within `reach_m` in the plane of a movable voxel, at the level the mover is on.

    Movers more than the grid's length outside of it are left out: across a gap of hours they could be anywhere.
    """
    movable = present.flat[np.isin(present.labels, MOVABLE_CLASSES)]
    near = np.zeros(cells.shape, dtype=bool)
    if not len(movable):
        return near.reshape(-1)
    centres = transform(invert(world_from_target) @ present.world_from_grid, grid.centres(grid.unflatten(movable)))
    occupied = np.floor((centres - cells.origin_m) / cells.cell_m).astype(np.int64)
    reach = min(reach_m / cells.cell_m[:2].min(), max(cells.shape[:2]))
    margin = int(np.ceil(reach)) + 1  # movers just outside the target grid reach into it
    for level in range(cells.shape[2]):
        plane = np.ones((cells.shape[0] + 2 * margin, cells.shape[1] + 2 * margin), dtype=bool)
        here = occupied[occupied[:, 2] == level, :2] + margin
        here = here[((here >= 0) & (here < plane.shape)).all(axis=1)]
        if len(here):
            plane[here[:, 0], here[:, 1]] = False
            distance_m = distance_transform_edt(plane, sampling=cells.cell_m[:2])
            near[:, :, level] = distance_m[margin:-margin, margin:-margin] <= reach_m
    return near.reshape(-1)


def propose_support(history: tuple[OccupancyFrame, ...], horizon_poses: np.ndarray, horizon_s: np.ndarray,
                    touched: list[np.ndarray], grid: VoxelGrid, stride: Shape,
                    settings: SupportSettings) -> tuple[np.ndarray, np.ndarray]:
    """The sites of the horizon (docs/design.md 4): moved history, what no observed grid covers, the movers' reach.

    Args:
        horizon_poses: [F, 4, 4] grid poses; horizon_s: [F] seconds after the present.
        touched: for each horizon frame the voxels that the moved present touches (warp.touched_voxels), in any order.

    Returns:
        keys [N] int64 (frame * X * Y * Z + cell), sorted, and unseen [N] bool.
    """
    cells = cell_grid(grid, stride)
    keys, unseen = [], []
    everywhere = outside_history(cells, horizon_poses, history)
    for frame, (pose, seconds, voxels, outside) in enumerate(zip(horizon_poses, horizon_s, touched, everywhere)):
        reach_m = settings.reach_m_per_s * seconds
        proposed = outside | settings.whole_grid | reachable(cells, grid, stride, history[-1], pose, reach_m)
        proposed[coarse_keys(voxels, grid, stride, cells)] = True
        chosen = np.flatnonzero(proposed)
        keys.append(frame * len(proposed) + chosen)
        unseen.append(outside[chosen])
    return np.concatenate(keys), np.concatenate(unseen)


def build_layout(history: tuple[OccupancyFrame, ...], horizon_poses: np.ndarray, horizon_s: np.ndarray,
                 touched: list[np.ndarray], grid: VoxelGrid, stride: Shape, settings: SupportSettings,
                whole: VoxelGrid | None = None) -> Layout:
    """The layout of one window (B = 1), on the CPU; `whole` is the forecaster's grid where `grid` is a part of it."""
    cells = cell_grid(grid, stride)
    keys, unseen = propose_support(history, horizon_poses, horizon_s, touched, grid, stride, settings)
    support = sites_from_keys(torch.from_numpy(keys), cells.shape, len(horizon_poses))
    observed = [coarse_keys(frame.flat, grid, stride, cells) + i * int(np.prod(cells.shape))
                for i, frame in enumerate(history)]
    history_sites = sites_from_keys(torch.from_numpy(np.concatenate(observed)), cells.shape, len(history))
    history_poses = np.stack([frame.world_from_grid for frame in history])
    if not settings.motion_compensation:
        history_poses, horizon_poses = (np.broadcast_to(np.eye(4), poses.shape)
                                        for poses in (history_poses, horizon_poses))
    table, remainder = motion_compensated_table(
        support.coords.numpy(), cells, horizon_poses, history_poses,
        index_volume(history_sites.coords.numpy(), cells, len(history)), len(history_sites))
    return Layout(_levels(support, cells, horizon_poses, settings.level_strides), history_sites,
                  torch.from_numpy(table), torch.from_numpy(remainder),
                  torch.from_numpy(unseen), _positions(support, cells, whole or grid), 1, len(history),
                  len(horizon_poses))


def _positions(support: Sites, cells: CellGrid, whole: VoxelGrid) -> Tensor:
    """Centres [N, 3] of sites in a grid, -1 to 1 from end to end."""
    extent_m = np.asarray(whole.shape) * whole.voxel_size_m
    centres_m = cells.centres(support.coords[:, 1:].numpy()) - np.asarray(whole.origin_m)
    return torch.from_numpy((2 * centres_m / extent_m - 1).astype(np.float32))


def _levels(sites: Sites, cells: CellGrid, poses: np.ndarray, strides: tuple[Shape, ...]) -> tuple[Level, ...]:
    levels = []
    for stride in (*strides, None):
        coords = sites.coords.numpy()
        volume = index_volume(coords, cells, len(poses))
        table, _ = motion_compensated_table(coords, cells, poses, poses, volume, len(coords), with_remainder=False)
        pooling = None if stride is None else pool(sites, stride)
        levels.append(Level(sites, torch.from_numpy(table), pooling))
        if pooling is not None:
            sites, cells = pooling.coarse, cells.pooled(stride)
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
