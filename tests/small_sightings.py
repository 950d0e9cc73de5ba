"""Sightings made by hand: of frames, and of nothing but a seed."""

import numpy as np

from occflow.geometry import planar_pose
from occflow.grid import VoxelGrid
from occflow.logs.protocol import UNLABELLED
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.sighting import CELLS, Sighting, cell_grid, voxels_of_cells


def sighting_of(frame: OccupancyFrame, grid: VoxelGrid) -> Sighting:
    """What a car would have seen of a frame: of every voxel three returns in its middle, without their class."""
    middles = cell_grid(grid).flatten(CELLS * grid.unflatten(frame.flat) + CELLS // 2)
    cells, count = np.sort(middles), len(frame.flat)
    return Sighting(frame.flat, np.full(count, UNLABELLED, np.uint8), frame.world_from_grid, frame.stamp_s, frame.token,
                    observed=frame.observed, cells=cells, counts=np.full(count, 3, np.uint8),
                    youngest=np.zeros(count, np.uint8), oldest=np.full(count, 25, np.uint8))


def random_sighting(rng: np.random.Generator, grid: VoxelGrid, stamp_s: float = 0.0, token: str = "",
                    masked: bool = True, share: float = 0.02) -> Sighting:
    """Cells anywhere, with the voxels that they lie in."""
    cells = np.flatnonzero(rng.random(cell_grid(grid).num_voxels) < share)
    counts, ages = rng.integers(1, 256, len(cells)), np.sort(rng.integers(0, 256, (2, len(cells))), axis=0)
    flat = np.unique(voxels_of_cells(cells, grid)[0])
    observed = np.packbits(rng.random(grid.num_voxels) < 0.3) if masked else None
    return Sighting(flat, np.full(len(flat), UNLABELLED, np.uint8), planar_pose(*rng.normal(size=4)), stamp_s, token,
                    observed=observed, cells=cells, counts=counts.astype(np.uint8), youngest=ages[0].astype(np.uint8),
                    oldest=ages[1].astype(np.uint8))
