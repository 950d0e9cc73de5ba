"""What sweeps met, tallied: one by one, looked up and sorted alike."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from occflow.geometry import invert, planar_pose
from occflow.grid import VoxelGrid
from occflow.occupancy.building import tally as module
from occflow.occupancy.building.labels import flat_voxels
from occflow.occupancy.building.tally import cells_met, tally

WAYS = pytest.mark.parametrize("most", [1 << 24, 0], ids=["looked up", "sorted"])


@WAYS
@given(seed=st.integers(0, 2**32 - 1), sizes=st.lists(st.integers(0, 60), min_size=1, max_size=6),
       late=st.integers(0, 6))
def test_cells_are_tallied_as_they_are_one_by_one(most, seed, sizes, late):
    rng = np.random.default_rng(seed)
    met = [rng.integers(0, 40, size) for size in sizes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_LOOKED_UP", most)
        found = tally(met, 40, late)
    assert found.cells.tolist() == sorted({cell for part in met for cell in part.tolist()})
    for number, cell in enumerate(found.cells):
        by = [sweep for sweep, part in enumerate(met) for _ in range(int((part == cell).sum()))]
        assert (found.first[number], found.last[number], found.counts[number]) == (by[0], by[-1], len(by))
        assert found.late_counts[number] == sum(sweep >= late for sweep in by)


@WAYS
def test_more_sweeps_than_a_byte_numbers_keep_their_places(most, monkeypatch):
    monkeypatch.setattr(module, "MOST_LOOKED_UP", most)
    met = [np.zeros(0, np.int64)] * 300 + [np.array([3])] + [np.zeros(0, np.int64)] * 10 + [np.array([3])]
    found = tally(met, 5, 305)
    assert [one.tolist() for one in (found.cells, found.first, found.last, found.counts, found.late_counts)] == \
        [[3], [300], [311], [2], [1]]


def test_points_lie_in_the_cells_that_the_builder_finds():
    grid, rng = VoxelGrid((-3.0, -2.0, -1.0), (70, 50, 30), 0.1), np.random.default_rng(0)
    points, pose = rng.normal(0, 3, (3, 5000)), invert(planar_pose(0.3, -0.2, 0.4, 0.1))
    expected = flat_voxels(grid, pose, np.ascontiguousarray(points.T))
    assert np.array_equal(cells_met(grid, pose, points), expected[expected >= 0])
