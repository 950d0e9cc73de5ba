"""The consensus of several samples as a row of its own."""

import numpy as np
import pytest

from occflow.errors import InputError
from occflow.forecasting.consensus import ConsensusForecaster
from occflow.forecasting.forecast import Forecast
from occflow.occupancy.frame import OccupancyFrame


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
