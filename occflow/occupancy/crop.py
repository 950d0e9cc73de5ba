"""Windows that show a part of their grid: cheaper training steps, and more of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from occflow.grid import VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.windows import Window, map_frames


def part_of(grid: VoxelGrid, first: tuple[int, int], size: tuple[int, int]) -> VoxelGrid:
    """The columns from voxel `first` (x, y) on, `size` of them along x and y, over the whole height.

    Raises:
        ValueError: a part that reaches out of the grid.
    """
    if min(first) < 0 or any(a + b > n for a, b, n in zip(first, size, grid.shape)):
        raise ValueError(f"columns {first} to {first} + {size} reach out of a grid of {grid.shape}")
    origin_m = (grid.origin_m[0] + first[0] * grid.voxel_size_m, grid.origin_m[1] + first[1] * grid.voxel_size_m,
                grid.origin_m[2])
    return VoxelGrid(origin_m, (*size, grid.shape[2]), grid.voxel_size_m)


def cropped(window: Window, grid: VoxelGrid, first: tuple[int, int], part: VoxelGrid) -> Window:
    """The window's frames, each in the same part of its own grid; boxes and observation masks are left out."""

    def crop(frame: OccupancyFrame) -> OccupancyFrame:
        index = grid.unflatten(frame.flat) - (*first, 0)
        inside = ((index[:, :2] >= 0) & (index[:, :2] < part.shape[:2])).all(axis=1)
        return replace(frame, flat=part.flatten(index[inside]), labels=frame.labels[inside], boxes=(), observed=None)

    return map_frames(window, crop)


def random_corner(grid: VoxelGrid, size: tuple[int, int], step: tuple[int, int],
                  rng: np.random.Generator) -> tuple[int, int]:
    """First column of a random part, a multiple of `step` voxels, so that coarse sites keep their places."""
    return tuple(int(rng.integers((n - a) // b + 1)) * b for n, a, b in zip(grid.shape, size, step))
