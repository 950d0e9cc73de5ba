"""The consensus of several samples as a row of its own."""

import numpy as np
import pytest

from occflow.errors import InputError
from occflow.forecasting.consensus import ConsensusForecaster, consensus, consensus_frame
from occflow.forecasting.forecast import Forecast
from occflow.occupancy.frame import OccupancyFrame


def frame(**labels: int) -> OccupancyFrame:
    """A frame by voxel: frame(v3=4) is a car in voxel 3."""
    voxels = sorted((int(name[1:]), label) for name, label in labels.items())
    flat, classes = (np.array([pair[i] for pair in voxels], dtype=np.int64) for i in (0, 1))
    return OccupancyFrame(flat, classes.astype(np.uint8), np.eye(4), 1.5, "there")


def contents(one: OccupancyFrame) -> dict[int, int]:
    return dict(zip(one.flat.tolist(), one.labels.tolist()))


def test_one_sample_is_its_own_consensus():
    assert contents(consensus_frame([frame(v3=4, v7=15)])) == {3: 4, 7: 15}


def test_what_most_fill_with_their_most_frequent_class():
    samples = [frame(v1=15, v2=4), frame(v1=15, v2=10), frame(v1=16, v2=10, v3=7)]  # 7 / 3 voxels in the mean
    found = consensus_frame(samples)
    assert contents(found) == {1: 15, 2: 10}
    assert found.stamp_s == 1.5 and found.token == "there"


def test_a_mover_whose_place_is_uncertain_is_not_lost():
    """A wall and a car in one of four places, twice as likely in one of them: a majority would forget the car."""
    samples = [frame(v0=15, v5=4), frame(v0=15, v5=4), frame(v0=15, v6=4), frame(v0=15, v7=4), frame(v0=15, v8=4)]
    assert contents(consensus_frame(samples)) == {0: 15, 5: 4}


def test_of_two_levels_as_near_in_size_the_surer_one():
    assert contents(consensus_frame([frame(v1=4), frame(v1=4, v2=4)])) == {1: 4}  # 1 or 2 voxels, 1.5 in the mean


@pytest.mark.parametrize("samples", [[frame(), frame()], [frame(), frame(), frame(v1=4)]])
def test_mostly_nothing_is_nothing(samples):
    assert contents(consensus_frame(samples)) == {}


def test_futures_are_joined_frame_by_frame():
    futures = [(frame(v1=4), frame(v2=4)), (frame(v1=4), frame(v2=4))]
    assert [contents(one) for one in consensus(futures)] == [{1: 4}, {2: 4}]


class Counting:
    """Its sample of a seed fills voxel 0, and the first sample drawn also voxel 1."""

    name, nfe = "student-1", 1

    def __init__(self) -> None:
        self.seeds = []

    def samples(self, task, seeds):
        self.seeds.append(seeds)
        return [Forecast((OccupancyFrame(np.arange(2 if i == 0 else 1), np.full(2 if i == 0 else 1, 4, np.uint8),
                                         np.eye(4), 0.0),), {"encode": 7.0, "flow": 2.0, "decode": 3.0})
                for i in range(len(seeds))]


def test_a_consensus_draws_its_samples_at_once_and_tells_their_cost():
    sampler = Counting()
    row = ConsensusForecaster(sampler, 4)
    forecast = row.forecast(None, 11)
    assert (row.name, row.nfe) == ("student-1-consensus4", 4)
    assert forecast.frames[0].flat.tolist() == [0]
    assert forecast.ms == {"encode": 7.0, "flow": 8.0, "decode": 12.0}
    assert len(set(sampler.seeds[0])) == 4 and sampler.seeds[0][0] == 11  # the single sample's noise is among them
    row.forecast(None, 11)
    assert sampler.seeds[0] == sampler.seeds[1]


def test_one_sample_has_no_consensus():
    with pytest.raises(InputError, match="eval.consensus"):
        ConsensusForecaster(Counting(), 1)
