"""Which sites a forecast may need: the reach of the movers."""

from __future__ import annotations

import tracemalloc

import numpy as np

from occflow.geometry import planar_pose
from occflow.grid import VoxelGrid
from occflow.models.layout import cell_grid, reachable
from occflow.occupancy.frame import OccupancyFrame

GRID, STRIDE = VoxelGrid((-16, -16, 0), (32, 32, 4), 1.0), (4, 4, 4)
CAR = 4


def cells_about(reach_m: float, x: int = 16, pose: np.ndarray | None = None) -> int:
    """Number of cells within reach of a car at voxel (x, 16, 0)."""
    volume = np.full(GRID.shape, 17, dtype=np.uint8)
    volume[x, 16, 0] = CAR
    present = OccupancyFrame.from_dense(volume, np.eye(4))
    return int(reachable(cell_grid(GRID, STRIDE), GRID, STRIDE, present, np.eye(4) if pose is None else pose,
                         reach_m).sum())


def test_a_mover_reaches_the_cells_about_it_also_from_just_outside():
    assert cells_about(3.0) == 1 and cells_about(4.0) == 5
    beside = planar_pose(-4.0, 0, 0)  # whose grid ends a cell before the car
    assert cells_about(4.0, x=31, pose=beside) == 1 and cells_about(3.0, x=31, pose=beside) == 0


def test_a_gap_of_years_takes_no_memory():
    tracemalloc.start()
    assert cells_about(10.0 * 1e9) == 64
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6 and cells_about(10.0 * 1e300) == 64
