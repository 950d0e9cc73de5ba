"""The rays that a log measured at a keyframe, in the grid of an occupancy frame."""

from __future__ import annotations

import numpy as np

from occflow.eval.rays import Rays
from occflow.geometry import invert, points_in_box, transform
from occflow.grid import FREE, VoxelGrid
from occflow.logs.protocol import UNLABELLED, DrivingLog, Sweep
from occflow.occupancy.frame import OccupancyFrame

NEAREST_M = 3.0  # nearer returns are of the own vehicle
FARTHEST_M = 500.0  # no LiDAR reaches farther: such a return is an error
BOX_MARGIN_M = 0.1


class LogRays:
    """Reads the keyframe sweeps of one scene at a time and keeps them until another is asked for."""

    def __init__(self, log: DrivingLog, grid: VoxelGrid, every: int = 1) -> None:
        self.log, self.grid, self.every = log, grid, every
        self._scene: str | None = None
        self._sweeps: dict[str, Sweep] = {}

    def rays(self, scene: str, frame: OccupancyFrame) -> Rays | None:
        """The rays (every `every`-th) of the sweep that is the frame's keyframe; None where the log has no such."""
        if scene != self._scene:
            known = scene in self.log.scenes()
            self._sweeps = {sweep.keyframe: sweep for sweep in (self.log.sweeps(scene) if known else ())
                            if sweep.keyframe is not None}
            self._scene = scene
        sweep = self._sweeps.get(frame.token)
        return None if sweep is None else measured_rays(sweep, frame, self.grid, self.every)


def measured_rays(sweep: Sweep, frame: OccupancyFrame, grid: VoxelGrid, every: int = 1) -> Rays:
    """Rays of a sweep in a frame's grid; a return without a label has the class of its voxel in the frame.

    All rays start at the sensor's place at the time of the sweep; how it moved during the revolution is not known.
    """
    grid_from_sensor = invert(frame.world_from_grid) @ sweep.world_from_sensor
    origin, ends = grid_from_sensor[:3, 3], transform(grid_from_sensor, sweep.points_sensor[::every])
    ways = ends - origin
    depths = np.linalg.norm(ways, axis=1)
    usable = (depths > NEAREST_M) & (depths < FARTHEST_M)  # a nan is neither
    ends, ways, depths = ends[usable], ways[usable], depths[usable]
    labels = np.full(len(ends), UNLABELLED, np.uint8) if sweep.labels is None else sweep.labels[::every][usable]
    return Rays(origin, ways / depths[:, None], depths, _with_voxel_labels(labels, ends, frame, grid),
                _in_boxes(ends, frame))


def _with_voxel_labels(labels: np.ndarray, ends: np.ndarray, frame: OccupancyFrame, grid: VoxelGrid) -> np.ndarray:
    volume = frame.dense(grid).reshape(-1)
    indices, inside = grid.indices(ends)
    met = np.where(inside, volume[grid.flatten(indices)], FREE).astype(np.uint8)
    return np.where(labels < FREE, labels, met)


def _in_boxes(ends: np.ndarray, frame: OccupancyFrame) -> np.ndarray | None:
    if not frame.boxes:
        return None
    inside = np.zeros(len(ends), dtype=bool)
    for box in frame.boxes:
        inside |= points_in_box(ends, invert(frame.world_from_grid) @ box.world_from_box, box.size_lwh_m, BOX_MARGIN_M)
    return inside
