"""Forecasters as distributions: K samples a window against what happened (docs/scores.md, "Ensembles")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from occflow.eval.counts import MeanCounts, SceneCounts, merge_rows, number
from occflow.eval.ensemble import Future, Membership, checked_membership, energy_of
from occflow.eval.evaluate import Progress, Reference, forecast_seed, with_bar
from occflow.eval.intervals import mean_intervals, vector_intervals
from occflow.forecasting.forecast import Forecaster
from occflow.occupancy.windows import Window, WindowKey, WindowSource

CLIP = 1e-3  # a probability of the log-likelihood is kept this far from 0 and 1
NUM_BINS = 15
PARTS = {"": False, "movable_": True}  # of the voxels: all, and those of movable classes


@dataclass
class MarginalCounts:
    """Voxels by how many of K samples fill them: all scores follow from two rows of 64-bit integers.

    The share of samples that fill a voxel is taken for the probability that it is filled.

    Args:
        samples: K.
        voxels, occupied: [K + 1] int64, voxels that k samples fill, and those of them that are truly filled.
    """

    samples: int
    voxels: np.ndarray = field(init=False)
    occupied: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.voxels, self.occupied = (np.zeros(self.samples + 1, dtype=np.int64) for _ in range(2))

    def add(self, member: Membership, num_voxels: int) -> None:
        """Count K samples and (last) the truth, of sequences with `num_voxels` voxels in all their frames."""
        hits, true = member.filled[:-1].sum(axis=0), member.filled[-1]
        self.voxels += np.bincount(hits, minlength=self.samples + 1)
        self.voxels[0] += num_voxels - len(hits)
        self.occupied += np.bincount(hits[true], minlength=self.samples + 1)

    def merge(self, other: MarginalCounts) -> None:
        """Add the counts of another shard.

        Raises:
            ValueError: of another number of samples.
        """
        if other.samples != self.samples:
            raise ValueError(f"counts of {other.samples} samples do not add to {self.samples}")
        self.voxels += other.voxels
        self.occupied += other.occupied

    def vector(self) -> np.ndarray:
        """[2 (K + 1)] int64: all that was counted."""
        return np.concatenate([self.voxels, self.occupied])

    def scores(self) -> dict[str, float]:
        return {"brier": self.brier(), "nll": self.nll(), "ece": self.calibration_error(),
                "ece_filled": self.calibration_error(filled_only=True)}

    @property
    def probabilities(self) -> np.ndarray:
        return np.arange(self.samples + 1) / self.samples

    def _mean(self, if_occupied: np.ndarray, if_free: np.ndarray) -> float:
        total = self.voxels.sum()
        return float((self.occupied @ if_occupied + (self.voxels - self.occupied) @ if_free) / total) \
            if total else float("nan")

    def brier(self) -> float:
        """Mean squared error of the probability, over all voxels."""
        return self._mean((1 - self.probabilities) ** 2, self.probabilities ** 2)

    def nll(self) -> float:
        """Mean negative log-likelihood, nats a voxel, probabilities clipped."""
        clipped = self.probabilities.clip(CLIP, 1 - CLIP)
        return self._mean(-np.log(clipped), -np.log(1 - clipped))

    def reliability(self) -> list[dict]:
        """The bins that hold voxels: mean probability, share truly filled, number of voxels."""
        bins = np.minimum((self.probabilities * NUM_BINS).astype(np.int64), NUM_BINS - 1)
        voxels, occupied, forecast = (np.bincount(bins, weights=values, minlength=NUM_BINS) for values in
                                      (self.voxels, self.occupied, self.voxels * self.probabilities))
        return [{"forecast": round(forecast[i] / voxels[i], 6), "occurred": round(occupied[i] / voxels[i], 6),
                 "voxels": int(voxels[i])} for i in np.flatnonzero(voxels)]

    def calibration_error(self, filled_only: bool = False) -> float:
        """Expected calibration error in 15 bins: mean |share truly filled - mean probability| over voxels.

        Args:
            filled_only: over the voxels that some sample fills; the many that none does are easily right.
        """
        bins = np.minimum((self.probabilities * NUM_BINS).astype(np.int64), NUM_BINS - 1)
        gaps = self.occupied - self.voxels * self.probabilities
        kept = slice(1 if filled_only else 0, None)
        total = self.voxels[kept].sum()
        return float(np.abs(np.bincount(bins[kept], weights=gaps[kept])).sum() / total) if total else float("nan")


def marginal_scores(vector: np.ndarray) -> dict[str, float]:
    """The scores of what `MarginalCounts.vector` gives."""
    counts = MarginalCounts(len(vector) // 2 - 1)
    counts.voxels, counts.occupied = np.split(vector, 2)
    return counts.scores()


@dataclass
class DistributionCounts:
    """What was counted of one forecaster's samples; mergeable."""

    samples: int
    means: MeanCounts = field(default_factory=MeanCounts)
    marginals: dict[str, MarginalCounts] = field(init=False)

    def __post_init__(self) -> None:
        self.marginals = {part: MarginalCounts(self.samples) for part in PARTS}

    def add(self, futures: list[Future], truth: Future, num_voxels: int) -> None:
        """Count the K sampled futures of one window, of grids with `num_voxels` voxels."""
        for part, movable_only in PARTS.items():
            member = checked_membership(futures, [truth], movable_only)
            self.marginals[part].add(member, num_voxels * len(truth))
            score = energy_of(member)
            for name, value in (("distance", score.distance), ("diversity", score.diversity), ("energy", score.score),
                                ("mean_iou", 1 - score.distance), ("best_iou", 1 - score.nearest)):
                self.means.add(part + name, value)

    def merge(self, other: DistributionCounts) -> None:
        """Add the counts of another shard."""
        self.means.merge(other.means)
        for part, counts in self.marginals.items():
            counts.merge(other.marginals[part])

    def row(self) -> dict:
        """Means over windows; Brier score, log-likelihood and calibration over voxels; the reliability diagram."""
        found = {name: number(self.means.mean(name)) for name in self.means.sums}
        for part, counts in self.marginals.items():
            found |= {f"{part}{name}": number(value) for name, value in counts.scores().items()}
            found[f"{part}reliability"] = counts.reliability()
        return found


def row_with_intervals(name: str, counts: SceneCounts[DistributionCounts], seed: int) -> dict:
    """The scores of all scenes and, under "intervals", what other scenes would have given."""
    scenes = list(counts.by_scene.values())
    spans = mean_intervals([one.means for one in scenes], seed)
    for part in PARTS:
        found = vector_intervals([one.marginals[part].vector() for one in scenes], marginal_scores, seed)
        spans |= {f"{part}{score}": value for score, value in found.items()}
    return {"name": name, **counts.total().row(), "intervals": spans}


@dataclass
class EnsembleCounts:
    """What was counted of the samples of several forecasters, `rows` by their names; mergeable. `seed` is that of the
    intervals."""

    samples: int
    seed: int
    windows: int = 0
    rows: dict[str, SceneCounts[DistributionCounts]] = field(default_factory=dict)

    def of(self, name: str) -> SceneCounts[DistributionCounts]:
        """The counters of a forecaster, to count into."""
        return self.rows.setdefault(name, SceneCounts(partial(DistributionCounts, self.samples)))

    def merge(self, other: EnsembleCounts) -> None:
        """Add the counts of other windows."""
        self.windows += other.windows
        merge_rows(self.rows, other.rows)

    def report(self) -> dict:
        """{"windows", "samples", "rows": [{"name", "distance", "diversity", "energy", "mean_iou", "best_iou", "brier",
        "nll", "ece", "ece_filled", "reliability", and the same with "movable_"; "intervals"}]}; distances are 1 - IoU
        of whole futures."""
        return {"windows": self.windows, "samples": self.samples,
                "rows": [row_with_intervals(name, one, self.seed) for name, one in self.rows.items()]}


def count_distributions(source: WindowSource, keys: Sequence[WindowKey], forecasters: Sequence[Forecaster],
                        samples: int, seed: int,
                        watch: Callable[[Window, dict[str, list[Future]]], None] | None = None,
                        progress: Progress = with_bar) -> EnsembleCounts:
    """What `samples` forecasts a window come to, over all voxels and over movable ones.

    Args:
        watch: called with every window and its futures by name, the first being what `evaluate` forecasts.
    """
    counts = EnsembleCounts(samples, seed, len(keys))
    for forecaster in forecasters:
        counts.of(forecaster.name)
    for key in progress(keys, "ensembles"):
        window, drawn = source.read(key), {}
        for forecaster in forecasters:
            futures = drawn[forecaster.name] = sampled_futures(forecaster, window, samples, seed)
            counts.of(forecaster.name).of(key.scene).add(futures, window.truth, source.store.grid.num_voxels)
        if watch is not None:
            watch(window, drawn)
    return counts


def evaluate_distributions(source: WindowSource, keys: Sequence[WindowKey], forecasters: Sequence[Forecaster],
                           samples: int, seed: int) -> dict:
    """The report of `count_distributions`."""
    return count_distributions(source, keys, forecasters, samples, seed).report()


def sampled_futures(row: Forecaster | Reference, window: Window, samples: int, seed: int) -> list[Future]:
    """K futures of a window; the same seeds for every forecaster. Those of a reference are all the same."""
    seeds = [forecast_seed(seed, window.key, k) for k in range(samples)]
    if isinstance(row, Reference):
        return [row.of_window(window).frames] * samples
    return [forecast.frames for forecast in row.samples(window.task, seeds)]
