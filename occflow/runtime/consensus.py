"""The consensus of several samples as a forecaster of its own."""

from __future__ import annotations

import numpy as np

from occflow.errors import InputError
from occflow.occupancy.consensus import consensus
from occflow.occupancy.forecast import Forecast, Forecaster
from occflow.occupancy.windows import Window


class ConsensusForecaster:
    """Draws `count` samples of another forecaster and gives what they agree on (occupancy.consensus).

    Its milliseconds are those of the samples one after another; the encoding is shared.
    """

    def __init__(self, sampler: Forecaster, count: int) -> None:
        if count < 2:
            raise InputError(f"eval.consensus: {count} samples have no consensus; use 2 or more, or 0 for none")
        self.sampler, self.count = sampler, count

    @property
    def name(self) -> str:
        return f"{self.sampler.name}-consensus{self.count}"

    @property
    def nfe(self) -> int:
        return self.sampler.nfe * self.count

    def forecast(self, window: Window, seed: int) -> Forecast:
        """The consensus of the sample of `seed` and others that follow from it."""
        others = np.random.SeedSequence(seed).generate_state(self.count - 1).tolist()
        drawn = self.sampler.samples(window, [seed, *others])
        ms = {stage: spent if stage == "encode" else sum(one.ms[stage] for one in drawn)
              for stage, spent in drawn[0].ms.items()}
        return Forecast(consensus([one.frames for one in drawn]), ms)

    def samples(self, window: Window, seeds: list[int]) -> list[Forecast]:
        """One consensus a seed."""
        return [self.forecast(window, seed) for seed in seeds]
