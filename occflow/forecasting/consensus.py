"""What several samples of a future agree on: one forecast that is no sample, but near all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from occflow.errors import InputError
from occflow.forecasting.forecast import Forecast, Forecaster
from occflow.occupancy.building.labels import voxelise
from occflow.occupancy.frame import Frames, OccupancyFrame
from occflow.occupancy.tasks import Task


def consensus(samples: Sequence[Frames]) -> Frames:
    """The consensus of K >= 1 sampled futures, frame by frame."""
    return tuple(consensus_frame(frames) for frames in zip(*samples, strict=True))


def consensus_frame(samples: Sequence[OccupancyFrame]) -> OccupancyFrame:
    """The voxels that most of K frames fill, as many as they fill in the mean; each with its most frequent class.

    The set of voxels that at least k samples fill, with the k whose set is nearest in size to the samples' mean: the
    Vorob'ev expectation of a random set (Molchanov, Theory of Random Sets, 2.2). A plain majority (k = K / 2) would
    lose whatever is uncertain about its place, since nothing makes up for what fewer than half of the samples fill.
    """
    flat, labels = (np.concatenate([getattr(frame, name) for frame in samples]) for name in ("flat", "labels"))
    votes, one = np.bincount(flat), np.ones(len(flat))
    sizes = np.bincount(votes, minlength=len(samples) + 1)[::-1].cumsum()[::-1]  # voxels of at least k votes, by k
    levels = np.arange(len(samples), 0, -1)  # the higher one first: it is taken of two as near
    level = levels[np.abs(sizes[levels] - len(flat) / len(samples)).argmin()]
    occupied, classes = voxelise(len(votes), flat, labels, one, one, level)
    return replace(samples[0], flat=occupied, labels=classes)


class ConsensusForecaster:
    """Draws `count` samples of another forecaster and gives what they agree on.

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

    def forecast(self, task: Task, seed: int) -> Forecast:
        """The consensus of the sample of `seed` and others that follow from it."""
        others = np.random.SeedSequence(seed).generate_state(self.count - 1).tolist()
        drawn = self.sampler.samples(task, [seed, *others])
        ms = {stage: spent if stage == "encode" else sum(one.ms[stage] for one in drawn)
              for stage, spent in drawn[0].ms.items()}
        return Forecast(consensus([one.frames for one in drawn]), ms)

    def samples(self, task: Task, seeds: list[int]) -> list[Forecast]:
        """One consensus a seed."""
        return [self.forecast(task, seed) for seed in seeds]
