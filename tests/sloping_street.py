"""A street that slopes and does not move, met densely, and the frames of it: what voxels lose is known."""

from __future__ import annotations

import numpy as np

from occflow.geometry import invert, planar_pose, transform
from occflow.grid import VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.windows import Window, WindowKey

GRID = VoxelGrid((-8.0, -8.0, -2.0), (20, 20, 6), 0.8)
ROAD, WALL = 11, 15
REACH_M, STEP_M = 22.0, 0.1


def street(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points [N, 3], metres, world, and their labels: a road that rises by some percent and a wall beside it."""
    x, y = (part.ravel() for part in np.meshgrid(*[np.arange(-REACH_M, REACH_M, STEP_M)] * 2))
    slope, level_m, side_m = rng.uniform(-0.08, 0.08, 2), rng.uniform(-1.0, 0.0), rng.uniform(3.0, 5.0)
    road = np.stack([x, y, level_m + slope[0] * x + slope[1] * y], axis=1)
    along, up = (part.ravel() for part in np.meshgrid(np.arange(-REACH_M, REACH_M, STEP_M), np.arange(0, 1.5, STEP_M)))
    wall = np.stack([along, np.full(len(along), side_m), level_m + slope[0] * along + slope[1] * side_m + up], axis=1)
    return np.concatenate([road, wall]), np.repeat([ROAD, WALL], [len(road), len(wall)]).astype(np.uint8)


def frame_at(points: np.ndarray, labels: np.ndarray, pose: np.ndarray, stamp_s: float) -> OccupancyFrame:
    """What a grid at a pose [4, 4] holds of points."""
    index, inside = GRID.indices(transform(invert(pose), points))
    flat, first = np.unique(GRID.flatten(index[inside]), return_index=True)
    return OccupancyFrame(flat, labels[inside][first], pose, stamp_s, f"frame-{stamp_s}")


def sloping_window(seed: int, history: int = 3, horizon: int = 3) -> Window:
    """A drive over a street of its own, at some speed, with a nod."""
    rng = np.random.default_rng(seed)
    points, labels = street(rng)
    speed, turn, nod_m = rng.uniform(1.0, 4.0), rng.uniform(-0.1, 0.1), rng.uniform(-0.3, 0.3, history + horizon)
    frames = [frame_at(points, labels, planar_pose(0.5 * speed * index, 0.0, 0.5 * turn * index, nod_m[index]),
                       0.5 * index) for index in range(history + horizon)]
    return Window.of(WindowKey(f"street-{seed}", 0), tuple(frames[:history]), tuple(frames[history:]))
