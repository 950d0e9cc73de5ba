"""A street of any voxel size, built in memory: a road, pavements, house fronts, parked and moving cars."""

from __future__ import annotations

import numpy as np

from occflow.geometry import planar_pose
from occflow.grid import CLASS_NAMES, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.windows import Window, WindowKey

EGO_SPEED_M_PER_S = 6.0
CAR_LWH_M = (4.4, 1.8, 1.6)
PARKED_EVERY_M, HOUSE_M, GAP_M = 12.0, 16.0, 5.0
GROUND_Z_M = 0.05  # off the face between two voxels
MOVERS_X_Y_SPEED = ((15.0, -1.8, 5.0), (-20.0, -1.8, 7.0), (30.0, 1.8, -8.0), (8.0, 1.8, -6.0))  # m, m, m/s
Patch = tuple[np.ndarray, int]  # points [N, 3] on a surface, metres, and its class


def street_window(grid: VoxelGrid, num_history: int, num_horizon: int, interval_s: float) -> Window:
    """A drive along the street; surfaces only, as a LiDAR would leave them."""
    count = num_history + num_horizon
    reach_m = float(np.abs(np.asarray(grid.origin_m)).max() + grid.voxel_size_m * max(grid.shape))
    static = _static_surfaces(reach_m, EGO_SPEED_M_PER_S * interval_s * count, grid.voxel_size_m / 2)
    frames = [_frame(grid, static, index, interval_s) for index in range(count)]
    return Window.of(WindowKey("street", 0), tuple(frames[:num_history]), tuple(frames[num_history:]))


def _frame(grid: VoxelGrid, static: list[Patch], index: int, interval_s: float) -> OccupancyFrame:
    seconds = index * interval_s
    ego_x_m = EGO_SPEED_M_PER_S * seconds
    pose = planar_pose(ego_x_m + grid.voxel_size_m / 3, -1.8, 0.01 * index)
    movers = [_box(x + speed * seconds, y, grid.voxel_size_m / 2) for x, y, speed in MOVERS_X_Y_SPEED]
    volume = np.full(grid.num_voxels, -1, dtype=np.int16)
    for points, label in [*static, *movers]:  # later surfaces cover earlier ones
        local = (points - pose[:3, 3]) @ pose[:3, :3]
        indices, inside = grid.indices(local)
        volume[grid.flatten(indices[inside])] = label
    flat = np.flatnonzero(volume >= 0)
    return OccupancyFrame(flat, volume[flat].astype(np.uint8), pose, seconds, f"street-{index}")


def _rectangle(origin: tuple, along: tuple, across: tuple, step_m: float) -> np.ndarray:
    """Points [N, 3] that cover the rectangle from `origin` along two edges, metres."""
    u, v = (np.arange(0.0, 1.0, step_m / np.linalg.norm(edge)) for edge in (along, across))
    grid_u, grid_v = (a.reshape(-1, 1) for a in np.meshgrid(u, v))
    return np.asarray(origin) + grid_u * np.asarray(along) + grid_v * np.asarray(across)


def _static_surfaces(reach_m: float, travel_m: float, step_m: float) -> list[Patch]:
    start, length = -reach_m, 2 * reach_m + travel_m
    ground = [_rectangle((start, y, GROUND_Z_M), (length, 0, 0), (0, width, 0), step_m)
              for y, width in ((-7.0, 14.0), (-13.0, 6.0), (7.0, 6.0))]
    patches = [(ground[0], CLASS_NAMES.index("driveable_surface"))]
    patches += [(points, CLASS_NAMES.index("sidewalk")) for points in ground[1:]]
    fronts = [_rectangle((x, side * 13.05, 0.0), (HOUSE_M, 0, 0), (0, 0, 8.0), step_m)
              for side in (-1, 1) for x in np.arange(start, start + length, HOUSE_M + GAP_M)]
    walls = [_rectangle((x, side * 13.05, 0.0), (0, side * 12.0, 0), (0, 0, 8.0), step_m)
             for side in (-1, 1) for x in np.arange(start, start + length, HOUSE_M + GAP_M)]
    patches.append((np.concatenate([*fronts, *walls]), CLASS_NAMES.index("manmade")))
    return patches + [_box(x, side * 6.0, step_m) for side in (-1, 1)
                      for x in np.arange(start, start + length, PARKED_EVERY_M)]


def _box(x_m: float, y_m: float, step_m: float) -> Patch:
    """The surface of a car."""
    length, width, height = CAR_LWH_M
    corner = (x_m - length / 2, y_m - width / 2, 0.3)
    sides = [(corner, (length, 0, 0), (0, 0, height)), (corner, (0, width, 0), (0, 0, height)),
             ((corner[0], corner[1] + width, 0.3), (length, 0, 0), (0, 0, height)),
             ((corner[0] + length, corner[1], 0.3), (0, width, 0), (0, 0, height)),
             ((corner[0], corner[1], 0.3 + height), (length, 0, 0), (0, width, 0))]
    return np.concatenate([_rectangle(*side, step_m) for side in sides]), CLASS_NAMES.index("car")
