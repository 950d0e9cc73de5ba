"""Rays that a log measured, and the voxels of a grid that they go through (docs/scores.md, "Rays")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occflow.geometry import invert, points_in_box, transform
from occflow.grid import FREE, VoxelGrid
from occflow.logs.protocol import UNLABELLED, DrivingLog, Sweep
from occflow.occupancy.frame import OccupancyFrame

SHORTEST_M = 1e-6  # a shorter way through a voxel is the rounding at an edge
LAST = 1 - 1e-9  # the end of a ray on its unit of the common axis, see `ray_walk`
NEAREST_M = 3.0  # nearer returns are of the own vehicle
FARTHEST_M = 500.0  # no LiDAR reaches farther: such a return is an error
BOX_MARGIN_M = 0.1


@dataclass(frozen=True)
class Rays:
    """Measured rays, grid frame, metres.

    Args:
        origin_m: [3] where all of them start; it may lie outside of the grid.
        directions: [N, 3] of length 1.
        depths_m: [N] measured.
        labels: [N] uint8 class of what was hit, FREE where unknown.
        foreground: [N] bool, the return lies in an annotated box; None where nothing is annotated.
    """

    origin_m: np.ndarray
    directions: np.ndarray
    depths_m: np.ndarray
    labels: np.ndarray
    foreground: np.ndarray | None


@dataclass(frozen=True)
class RayWalk:
    """The voxels that rays go through, ray after ray, in the order of depth.

    Args:
        rays: the measured rays that go through the grid at all.
        flat: [C] int64 flat voxel indices, those of ray i from `starts`[i] to `starts`[i + 1].
        depths_m: [C] half way between where the ray enters the voxel and leaves it.
        leave_m: [N] where the ray leaves the grid.
    """

    rays: Rays
    flat: np.ndarray
    starts: np.ndarray
    depths_m: np.ndarray
    leave_m: np.ndarray

    @property
    def measured_inside(self) -> np.ndarray:
        """[N] bool: the measured return lies in the grid."""
        return self.rays.depths_m < self.leave_m

    def first_hits(self, flat: np.ndarray, num_voxels: int) -> np.ndarray:
        """Places [N] in the walk of the first voxels among `flat` [M]; -1 where a ray meets none."""
        occupied = np.zeros(num_voxels, dtype=bool)
        occupied[flat] = True
        hits = np.append(np.flatnonzero(occupied[self.flat]), len(self.flat))
        first = hits[np.searchsorted(hits, self.starts[:-1])]
        return np.where(first < self.starts[1:], first, -1)

    def depths_of(self, hits: np.ndarray) -> np.ndarray:
        """[N] metres; a ray that hits nothing ends where it leaves the grid, as in the released code."""
        return np.where(hits >= 0, self.depths_m[hits], self.leave_m)


def ray_walk(rays: Rays, grid: VoxelGrid) -> RayWalk:
    """Follow rays through the whole grid, all at once and exactly (Amanatides and Woo 1987, without their loop).

    Ray i gets the unit from i to i + 1 of one common axis: all its crossings of faces, sorted in one go, are the ends
    of its ways through voxels.
    """
    start = rays.origin_m - np.asarray(grid.origin_m)
    enter, leave = _within(start, rays.directions, np.array(grid.shape) * grid.voxel_size_m)
    through = np.flatnonzero(enter + SHORTEST_M < leave)
    rays, enter, leave = _chosen(rays, through), enter[through], leave[through]
    length, number = leave - enter, np.arange(len(through))
    keys = [number.astype(np.float64), number + LAST]
    for axis in range(3):
        ray, crossed_m = _crossings(start[axis], rays.directions[:, axis], enter, leave, grid.voxel_size_m)
        keys.append(ray + np.clip((crossed_m - enter[ray]) / length[ray], 0, 1) * LAST)
    ends = np.sort(np.concatenate(keys))
    middle, ray = (ends[1:] + ends[:-1]) / 2, np.floor(ends[:-1]).astype(np.int64)
    kept = ((ends[1:] - ends[:-1]) * length[ray] > SHORTEST_M) & (ray == np.floor(ends[1:])) if len(ray) else ray > 0
    ray, middle = ray[kept], middle[kept]
    depths_m = enter[ray] + (middle - ray) / LAST * length[ray]
    voxels = np.floor((start + rays.directions[ray] * depths_m[:, None]) / grid.voxel_size_m).astype(np.int64)
    flat = grid.flatten(voxels.clip(0, np.array(grid.shape) - 1))
    return RayWalk(rays, flat, np.searchsorted(ray, np.arange(len(through) + 1)), depths_m, leave)


def _within(start: np.ndarray, directions: np.ndarray, size_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depths [N] where rays enter and leave a box from 0 to `size_m`; they miss it where enter is not below leave."""
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = -start / directions, (size_m - start) / directions  # a ray along a face gives nan: no limit
    enter = np.fmax.reduce(np.fmin(low, high), axis=1, initial=0.0)
    return enter, np.fmin.reduce(np.fmax(low, high), axis=1, initial=np.inf)


def _crossings(start: float, direction: np.ndarray, enter: np.ndarray, leave: np.ndarray,
               edge_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Rays [C] and depths [C] where they cross the faces across one axis, between where they enter and leave."""
    ends = np.sort((start + direction * np.stack([enter, leave])) / edge_m, axis=0)
    first = np.ceil(ends[0]).astype(np.int64)
    counts = np.where(direction == 0, 0, np.maximum(0, np.floor(ends[1]).astype(np.int64) - first + 1))
    ray = np.repeat(np.arange(len(counts)), counts)
    face = first[ray] + np.arange(len(ray)) - (np.cumsum(counts) - counts)[ray]
    return ray, (face * edge_m - start) / direction[ray]


def _chosen(rays: Rays, chosen: np.ndarray) -> Rays:
    return Rays(rays.origin_m, rays.directions[chosen], rays.depths_m[chosen], rays.labels[chosen],
                None if rays.foreground is None else rays.foreground[chosen])


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
