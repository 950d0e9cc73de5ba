"""One instant of an occupancy sequence, sparse."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from occflow.grid import FREE, VoxelGrid
from occflow.logs.protocol import Box


@dataclass(frozen=True)
class OccupancyFrame:
    """The occupied voxels of one instant.

    Args:
        flat: [N] int64 flat voxel indices (VoxelGrid.flatten), strictly increasing.
        labels: [N] uint8 classes 0..16 (occflow.grid.CLASS_NAMES).
        world_from_grid: pose [4, 4] of the grid at this instant (the grid pose).
        stamp_s: time, seconds.
        token: name of the keyframe in its log.
        boxes: annotated objects of the instant, world frame; empty where the log has none.
    """

    flat: np.ndarray
    labels: np.ndarray
    world_from_grid: np.ndarray
    stamp_s: float
    token: str = ""
    boxes: tuple[Box, ...] = field(default=())

    def dense(self, grid: VoxelGrid) -> np.ndarray:
        """Class volume [X, Y, Z] uint8, FREE where not occupied (the Occ3D layout)."""
        volume = np.full(grid.num_voxels, FREE, dtype=np.uint8)
        volume[self.flat] = self.labels
        return volume.reshape(grid.shape)

    @classmethod
    def from_dense(cls, volume: np.ndarray, world_from_grid: np.ndarray, stamp_s: float = 0.0,
                   token: str = "", boxes: tuple[Box, ...] = ()) -> OccupancyFrame:
        """The inverse of `dense`, for a class volume [X, Y, Z] uint8."""
        flat = np.flatnonzero(volume.reshape(-1) != FREE)
        return cls(flat, volume.reshape(-1)[flat].astype(np.uint8), np.asarray(world_from_grid, dtype=np.float64),
                   stamp_s, token, boxes)
