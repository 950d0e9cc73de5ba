"""How good built occupancy is: against exact occupancy, behind movers, and frame against frame."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from occflow.eval.iou import IoUCounts
from occflow.geometry import invert, points_in_box
from occflow.grid import FLAT_CLASSES, VoxelGrid
from occflow.logs.protocol import Box
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.warp import warp

MOVED_M = 1.0  # a track that shifted less between two keyframes has left nothing
BOX_MARGIN_VOXELS = 1.0  # voxels this near a box may hold its surface


@dataclass
class BuiltQuality:
    """Counters of built against exact frames; `iou` on observed voxels, `left_*` where a mover was and is not.

    Args:
        iou: intersections and unions on observed voxels, one "horizon" entry.
        left: observed voxels that movers have left.
        left_claimed, left_right: voxels that movers have left and that the build calls occupied by something that
            stands above the ground, and those of them that are occupied indeed.
        observed, voxels: observed voxels and all.
    """

    iou: IoUCounts = field(default_factory=lambda: IoUCounts(1))
    left: int = 0
    left_claimed: int = 0
    left_right: int = 0
    observed: int = 0
    voxels: int = 0

    def add(self, built: OccupancyFrame, exact: OccupancyFrame, others: list[tuple[Box, ...]], grid: VoxelGrid) -> None:
        """Count one frame; `others` are the boxes of the keyframes around it."""
        mask = built.observed_mask(grid).reshape(-1)
        self.observed, self.voxels = self.observed + int(mask.sum()), self.voxels + len(mask)
        self.iou.add(0, built.within(mask), exact.within(mask))
        left = mask & left_by_movers(built, others, grid)
        standing = ~np.isin(built.labels, FLAT_CLASSES)
        claimed = built.flat[standing & left[built.flat]]
        self.left += int(left.sum())
        self.left_claimed += len(claimed)
        self.left_right += int(np.isin(claimed, exact.flat, assume_unique=True).sum())

    @property
    def left_precision(self) -> float:
        """Share of the claims behind movers that are right; nan without claims."""
        return self.left_right / self.left_claimed if self.left_claimed else float("nan")

    @property
    def without_trail(self) -> float:
        """Share of the observed voxels that movers have left that nothing false stands in; nan where none has."""
        return 1 - (self.left_claimed - self.left_right) / self.left if self.left else float("nan")


def left_by_movers(frame: OccupancyFrame, others: list[tuple[Box, ...]], grid: VoxelGrid) -> np.ndarray:
    """[V] bool: voxels inside a box of another keyframe whose track has moved on, and in no box now."""
    now = {box.track: box for box in frame.boxes}
    moved = [box for boxes in others for box in boxes if box.track in now
             and np.linalg.norm(box.world_from_box[:3, 3] - now[box.track].world_from_box[:3, 3]) > MOVED_M]
    left = np.zeros(grid.num_voxels, dtype=bool)
    for box in moved:
        left |= voxels_in_box(box, frame, grid, 0.0)
    for box in now.values():
        left &= ~voxels_in_box(box, frame, grid, BOX_MARGIN_VOXELS * grid.voxel_size_m)
    return left


def voxels_in_box(box: Box, frame: OccupancyFrame, grid: VoxelGrid, margin_m: float) -> np.ndarray:
    """[V] bool: voxels of a frame's grid whose centre lies in a box, enlarged by a margin."""
    grid_from_box = invert(frame.world_from_grid) @ box.world_from_box
    reach = np.abs(grid_from_box[:3, :3]) @ (box.size_lwh_m / 2 + margin_m)
    low = np.floor((grid_from_box[:3, 3] - reach - grid.origin_m) / grid.voxel_size_m).astype(int).clip(0, grid.shape)
    high = np.ceil((grid_from_box[:3, 3] + reach - grid.origin_m) / grid.voxel_size_m).astype(int).clip(0, grid.shape)
    mask = np.zeros(grid.num_voxels, dtype=bool)
    index = np.stack(np.meshgrid(*map(np.arange, low, high), indexing="ij"), axis=-1).reshape(-1, 3)
    inside = points_in_box(grid.centres(index), grid_from_box, box.size_lwh_m, margin_m)
    mask[grid.flatten(index[inside])] = True
    return mask


def persistence_iou(frames: list[OccupancyFrame], grid: VoxelGrid, steps: list[int], moved: bool = True) -> list[float]:
    """IoU of every frame with that `steps` frames later, by ego motion (moved) or voxel by voxel (not).

    A static world read with the right poses agrees with itself; without the poses it does not.
    """
    values = []
    for step in steps:
        counts = IoUCounts(1)
        for now, then in zip(frames, frames[step:]):
            pose = then.world_from_grid
            shown = warp(now, grid, pose) if moved else replace(now, world_from_grid=pose)
            counts.add(0, shown, then)
        values.append(float(counts.iou()[0]))
    return values
