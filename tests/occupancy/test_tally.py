"""What sweeps met, tallied: one by one, looked up and sorted alike."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from occflow.geometry import invert, planar_pose
from occflow.grid import VoxelGrid
from occflow.occupancy.building import tally as module
from occflow.occupancy.building.labels import flat_voxels
from occflow.occupancy.building.tally import NOTHING_MET, Met, cells_met, tally
from occflow.occupancy.sighting import SPOTS

WAYS = pytest.mark.parametrize("most", [1 << 24, 0], ids=["looked up", "sorted"])


@WAYS
@given(seed=st.integers(0, 2**32 - 1), sizes=st.lists(st.integers(0, 60), min_size=1, max_size=6),
       late=st.integers(0, 6))
def test_cells_are_tallied_as_they_are_one_by_one(most, seed, sizes, late):
    rng = np.random.default_rng(seed)
    met = [Met(rng.integers(0, 40, size), rng.integers(0, 64, size).astype(np.uint8)) for size in sizes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_LOOKED_UP", most)
        found = tally(met, 40, late)
    assert found.cells.tolist() == sorted({cell for one in met for cell in one.cells.tolist()})
    for number, cell in enumerate(found.cells):
        by = [sweep for sweep, one in enumerate(met) for _ in range(int((one.cells == cell).sum()))]
        assert found.spots[number] == np.concatenate([one.spots[one.cells == cell] for one in met])[-1]
        assert (found.first[number], found.last[number], found.counts[number]) == (by[0], by[-1], len(by))
        assert found.late_counts[number] == sum(sweep >= late for sweep in by)


@WAYS
def test_more_sweeps_than_a_byte_numbers_keep_their_places(most, monkeypatch):
    monkeypatch.setattr(module, "MOST_LOOKED_UP", most)
    once = Met(np.array([3]), np.zeros(1, np.uint8))
    met = [NOTHING_MET] * 300 + [once] + [NOTHING_MET] * 10 + [once]
    found = tally(met, 5, 305)
    assert [one.tolist() for one in (found.cells, found.first, found.last, found.counts, found.late_counts)] == \
        [[3], [300], [311], [2], [1]]


def test_points_lie_in_the_cells_that_the_builder_finds():
    grid, rng = VoxelGrid((-3.0, -2.0, -1.0), (70, 50, 30), 0.1), np.random.default_rng(0)
    points, pose = rng.normal(0, 3, (3, 5000)), invert(planar_pose(0.3, -0.2, 0.4, 0.1))
    expected = flat_voxels(grid, pose, np.ascontiguousarray(points.T))
    met = cells_met(grid, pose, points)
    assert np.array_equal(met.cells, expected[expected >= 0])
    fine = VoxelGrid(grid.origin_m, tuple(SPOTS * length for length in grid.shape), grid.voxel_size_m / SPOTS)
    x, y, z = (fine.unflatten(flat_voxels(fine, pose, np.ascontiguousarray(points.T))[expected >= 0]) % SPOTS).T
    assert (met.spots == (x * SPOTS + y) * SPOTS + z).mean() > 0.999  # but for the last bit of a place on an edge
