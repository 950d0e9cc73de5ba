"""Whether frames show one static world: what clouds, and voxels, of two instants have in common."""

from __future__ import annotations

import numpy as np

from occflow.geometry import transform
from occflow.grid import MOVABLE_CLASSES, VoxelGrid
from occflow.logs.protocol import UNLABELLED, DrivingLog, Sweep
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.warp import regridded

NEAR_M, FAR_M = 3.0, 40.0  # horizontal distance of the points that are compared
CELL_M = 0.4
CELL_BITS = 20  # 200 km each way


def scan_agreement(log: DrivingLog, scene: str, with_poses: bool = True) -> float:
    """Mean share of the smaller set of world cells that consecutive keyframe scans have in common; nan for one scan.

    Points of movable or no class are left out where the scans have labels.
    """
    shares, before = [], None
    for sweep in log.sweeps(scene):
        if sweep.keyframe is None:
            continue
        cells = _cells(sweep, with_poses)
        if before is not None:
            shared = np.intersect1d(before, cells, assume_unique=True)
            shares.append(len(shared) / max(1, min(len(before), len(cells))))
        before = cells
    return float(np.mean(shares)) if shares else float("nan")


def _cells(sweep: Sweep, with_poses: bool) -> np.ndarray:
    """Numbers [N] of the cells that the compared points of a sweep fill, increasing."""
    distance = np.linalg.norm(sweep.points_sensor[:, :2], axis=1)
    kept = (distance > NEAR_M) & (distance < FAR_M)
    if sweep.labels is not None:
        kept &= ~np.isin(sweep.labels, (*MOVABLE_CLASSES, UNLABELLED))
    points = sweep.points_sensor[kept]
    places = transform(sweep.world_from_sensor, points) if with_poses else points
    x, y, z = np.floor(places / CELL_M).astype(np.int64).T
    return np.unique((x << 2 * CELL_BITS) + (y << CELL_BITS) + z)


def static_iou(frames: list[OccupancyFrame], grid: VoxelGrid, step: int) -> float:
    """IoU of the voxels that hold nothing movable, of frames `step` apart, where both were observed; nan without any.

    The earlier frame is moved by the poses.
    """
    common, either = 0, 0
    for now, then in zip(frames, frames[step:]):
        now = regridded(now, grid, then.world_from_grid)
        mask = (now.observed_mask(grid) & then.observed_mask(grid)).reshape(-1)
        for frame in (now, then):
            mask[frame.flat[np.isin(frame.labels, MOVABLE_CLASSES)]] = False
        first, second = now.within(mask).flat, then.within(mask).flat
        shared = len(np.intersect1d(first, second, assume_unique=True))
        common, either = common + shared, either + len(first) + len(second) - shared
    return common / either if either else float("nan")
