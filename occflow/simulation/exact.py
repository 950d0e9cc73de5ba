"""Exact occupancy: what matter fills the voxels of a grid, from the world itself and not from a sensor.

The rule: a voxel is occupied where a solid reaches at least TOUCH_M into it (a quarter of its thickness for thinner
solids), or where the ground's surface passes through it at one of four places about its middle. So the inside of a
house is occupied, as are the surfaces that a dense LiDAR without noise would find; the earth below the ground's
surface is free, as in data made from a LiDAR. Where several things share a voxel, agents go before what stands on the
ground, and that before the ground; edges of boxes that are turned against the grid are tested by face planes, which is
exact for upright boxes in a level grid.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from occflow.geometry import invert
from occflow.grid import FREE, OCC3D_GRID, VoxelGrid
from occflow.logs.nuscenes_classes import box_class
from occflow.simulation.boxes import CATEGORIES, Boxes
from occflow.simulation.ground import Ground
from occflow.simulation.town import Town

GRID = OCC3D_GRID
TOUCH_M = 0.01
CLASS_OF = np.array([box_class(category) for category in CATEGORIES], dtype=np.uint8)


def static_occupancy(town: Town, world_from_grid: np.ndarray, grid: VoxelGrid = GRID) -> np.ndarray:
    """Classes [X, Y, Z] uint8 of the ground and of what stands on it; FREE elsewhere."""
    volume = np.full(grid.shape, FREE, dtype=np.uint8)
    fill_boxes(volume, town.boxes, world_from_grid, grid)
    _fill_ground(volume, town.ground, world_from_grid, grid)
    return volume


def fill_boxes(volume: np.ndarray, boxes: Boxes, world_from_grid: np.ndarray, grid: VoxelGrid = GRID) -> None:
    """Write the classes of boxes into a volume [X, Y, Z]; later boxes go before earlier ones."""
    grid_from_world = invert(world_from_grid)
    edge, origin, shape = grid.voxel_size_m, np.array(grid.origin_m), np.array(grid.shape)
    centres = boxes.centres @ grid_from_world[:3, :3].T + grid_from_world[:3, 3]
    rotations = grid_from_world[:3, :3] @ boxes.rotations  # [N, 3, 3], grid <- box
    touch = np.minimum(TOUCH_M, boxes.sizes / 4)
    reach = np.einsum("nij,nj->ni", np.abs(rotations), boxes.sizes / 2 - touch)
    low = np.maximum(0, np.floor((centres - reach - origin) / edge)).astype(np.int64)
    high = np.minimum(shape, np.floor((centres + reach - origin) / edge) + 1).astype(np.int64)
    limits = boxes.sizes / 2 - touch + np.abs(rotations).sum(axis=1) * edge / 2  # of a voxel's centre, box axes
    labels = CLASS_OF[boxes.categories]
    for k in np.flatnonzero((low < high).all(axis=1)):
        (x, y, z), rotation = ((np.arange(low[k, a], high[k, a]) + 0.5) * edge + origin[a] - centres[k, a]
                               for a in range(3)), rotations[k]
        inside = True
        for axis in range(3):
            local = (x * rotation[0, axis])[:, None, None] + (y * rotation[1, axis])[:, None] + z * rotation[2, axis]
            inside = inside & (np.abs(local) <= limits[k, axis])
        volume[low[k, 0]:high[k, 0], low[k, 1]:high[k, 1], low[k, 2]:high[k, 2]][inside] = labels[k]


def _fill_ground(volume: np.ndarray, ground: Ground, world_from_grid: np.ndarray, grid: VoxelGrid) -> None:
    """Write the ground's surface where nothing stands on it, and clear what lies below it."""
    edge, origin = grid.voxel_size_m, grid.origin_m
    x, y = ((np.arange(size) + 0.5) * edge + low for size, low in zip(grid.shape[:2], origin))
    x, y = np.meshgrid(x, y, indexing="ij")
    rotation, place = world_from_grid[:3, :3], world_from_grid[:3, 3]
    east = rotation[0, 0] * x + rotation[0, 1] * y + place[0]
    north = rotation[1, 0] * x + rotation[1, 1] * y + place[1]
    level = ground.relief(east, north) - (rotation[2, 0] * x + rotation[2, 1] * y + place[2])  # height in the grid
    slope_x, slope_y = np.gradient(level, edge)
    heights = []
    for dx, dy in np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)]) * (edge / 2 - TOUCH_M):
        there = (east + rotation[0, 0] * dx + rotation[0, 1] * dy, north + rotation[1, 0] * dx + rotation[1, 1] * dy)
        heights.append(level + slope_x * dx + slope_y * dy + ground.rises_m[ground.cells(*there)])
    lowest, highest = (np.floor((limit(heights, axis=0) - origin[2]) / edge).astype(np.int16)
                       for limit in (np.min, np.max))
    np.putmask(volume, np.arange(grid.shape[2], dtype=np.int16) < lowest[..., None], FREE)
    labels = CLASS_OF[ground.categories[ground.cells(east, north)]]
    inside = (east >= 0) & (north >= 0) & (east < ground.patches[0].east) & (north < ground.patches[0].north)
    for step in range(int((highest - lowest).max()) + 1):
        level = lowest + step
        columns = np.nonzero(inside & (level <= highest) & (level >= 0) & (level < grid.shape[2]))
        voxels = (*columns, level[columns])
        volume[voxels] = np.where(volume[voxels] == FREE, labels[columns], volume[voxels])


def write_occ3d(path: Path, volume: np.ndarray) -> None:
    """Write a volume in the layout of Occ3D's labels.npz; both masks are ones: everything is known."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seen = np.ones(volume.shape, dtype=np.uint8)
    archive = io.BytesIO()  # a full disk is then met by one write
    np.savez_compressed(archive, semantics=volume, mask_lidar=seen, mask_camera=seen)
    path.write_bytes(archive.getbuffer())
