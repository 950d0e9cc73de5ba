"""Returns and sightings made by hand: of frames, and of nothing but a seed."""

from dataclasses import replace

import numpy as np

from occflow.geometry import planar_pose
from occflow.grid import VoxelGrid
from occflow.logs.protocol import UNLABELLED
from occflow.occupancy.building.returns import Returns
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.sighting import CELLS, SPOTS, Sighting, cell_grid, voxels_of_cells


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
    spots = rng.integers(0, SPOTS**3, len(cells)).astype(np.uint8)
    return Sighting(flat, np.full(len(flat), UNLABELLED, np.uint8), planar_pose(*rng.normal(size=4)), stamp_s, token,
                    observed=observed, cells=cells, counts=counts.astype(np.uint8), youngest=ages[0].astype(np.uint8),
                    oldest=ages[1].astype(np.uint8), spots=spots)


def looking_ahead(rng: np.random.Generator, grid: VoxelGrid, wider: tuple[int, int, int, int], stamp_s: float = 0.0,
                  token: str = "", masked: bool = True, share: float = 0.02) -> Sighting:
    """As `random_sighting`, of an area that is so many voxels wider below and above along x and y."""
    origin_m = np.array(grid.origin_m) - grid.voxel_size_m * np.array([wider[0], wider[2], 0])
    area = VoxelGrid(tuple(origin_m), (grid.shape[0] + wider[0] + wider[1], grid.shape[1] + wider[2] + wider[3],
                                       grid.shape[2]), grid.voxel_size_m)
    there = random_sighting(rng, area, stamp_s, token, masked, share)
    own = there.part(area, grid)
    return replace(there, flat=own.flat, labels=own.labels, observed=own.observed if masked else None, area=area,
                   passed=there.observed)


def random_returns(rng: np.random.Generator, stamp_s: float, count: int = 150, spread_m: float = 2.0) -> Returns:
    """A sweep that met something anywhere; a tenth of it is too far to be believed."""
    ends = rng.normal(0, spread_m, (3, count))
    near = np.flatnonzero(rng.random(count) < 0.9)
    return Returns(stamp_s, np.eye(4), rng.normal(0, 1, 3), ends, near, np.full(len(near), 4, np.uint8))
