"""Forecasters as distributions: K samples a window against what happened (docs/scores.md, "Ensembles")."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from occflow.eval.counts import MeanCounts, SceneCounts, merge_rows, number
from occflow.eval.ensemble import (
    Future,
    Membership,
    ReferenceFutures,
    checked_membership,
    energy_of,
    reference_distance,
)
from occflow.eval.evaluate import Progress, Reference, forecast_seed, with_bar
from occflow.eval.intervals import mean_intervals, vector_intervals
from occflow.forecasting.forecast import Forecaster
from occflow.occupancy.windows import Window, WindowKey, WindowSource

CLIP = 1e-3  # a probability of the log-likelihood is kept this far from 0 and 1
NUM_BINS = 15
PARTS = {"": False, "movable_": True}  # of the voxels: all, and those of movable classes
OTHER_NOISE = 1 << 16  # number of the first sample whose noise no row has: those of a reference begin here


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


SPREAD = ("spread_of_row", "spread_of_reference")  # sums that a score is the ratio of


def spread_score(sums: np.ndarray) -> dict[str, float]:
    """How varied the samples are, relative to the reference's, of what `DistributionCounts.spread` gives."""
    return {"diversity_ratio": sums[0] / sums[1] if sums[1] else float("nan")}


@dataclass
class DistributionCounts:
    """What was counted of one forecaster's samples; mergeable."""

    samples: int
    means: MeanCounts = field(default_factory=MeanCounts)
    marginals: dict[str, MarginalCounts] = field(init=False)

    def __post_init__(self) -> None:
        self.marginals = {part: MarginalCounts(self.samples) for part in PARTS}

    def add(self, futures: list[Future], truth: Future, num_voxels: int, reference: ReferenceFutures | None = None
            ) -> None:
        """Count the K sampled futures of one window, of grids with `num_voxels` voxels; with a reference also how far
        they are from its samples."""
        for part, movable_only in PARTS.items():
            member = checked_membership(futures, [truth], movable_only)
            self.marginals[part].add(member, num_voxels * len(truth))
            score = energy_of(member)
            for name, value in (("distance", score.distance), ("diversity", score.diversity), ("energy", score.score),
                                ("mean_iou", 1 - score.distance), ("best_iou", 1 - score.nearest)):
                self.means.add(part + name, value)
            if reference is not None:
                found = reference_distance(futures, reference, movable_only)
                for name, value in (("to_teacher", found.distance), ("beyond_floor", found.beyond_floor),
                                    (SPREAD[0], found.diversity), (SPREAD[1], found.reference_diversity)):
                    self.means.add(part + name, value)

    def spread(self, part: str) -> np.ndarray:
        """[2] int64 sums: how far apart the row's samples are, and the reference's in the same windows."""
        return np.array([self.means.sums.get(part + name, 0) for name in SPREAD], dtype=np.int64)

    def merge(self, other: DistributionCounts) -> None:
        """Add the counts of another shard."""
        self.means.merge(other.means)
        for part, counts in self.marginals.items():
            counts.merge(other.marginals[part])

    def row(self) -> dict:
        """Means over windows; Brier score, log-likelihood and calibration over voxels; the reliability diagram."""
        found = {name: number(self.means.mean(name)) for name in self.means.sums if not name.endswith(SPREAD)}
        for part, counts in self.marginals.items():
            found |= {f"{part}{name}": number(value) for name, value in counts.scores().items()}
            if f"{part}to_teacher" in found:
                found |= {f"{part}{name}": number(value) for name, value in spread_score(self.spread(part)).items()}
            found[f"{part}reliability"] = counts.reliability()
        return found


def row_with_intervals(name: str, counts: SceneCounts[DistributionCounts], seed: int) -> dict:
    """The scores of all scenes and, under "intervals", what other scenes would have given."""
    scenes = list(counts.by_scene.values())
    spans = {score: value for score, value in mean_intervals([one.means for one in scenes], seed).items()
             if not score.endswith(SPREAD)}
    row = counts.total().row()
    for part in PARTS:
        found = vector_intervals([one.marginals[part].vector() for one in scenes], marginal_scores, seed)
        if f"{part}to_teacher" in row:
            found |= vector_intervals([one.spread(part) for one in scenes], spread_score, seed)
        spans |= {f"{part}{score}": value for score, value in found.items()}
    return {"name": name, **row, "intervals": spans, **distances_by_scene(counts)}


def distances_by_scene(counts: SceneCounts[DistributionCounts]) -> dict:
    """{"scenes": {scene: {"windows", "to_teacher", "movable_to_teacher"}}}: with which rows, also those of two reports,
    are compared scene by scene; nothing without a reference."""
    names = [f"{part}to_teacher" for part in PARTS]
    found = {scene: {"windows": one.means.counts[names[0]], **{name: number(one.means.mean(name)) for name in names}}
             for scene, one in counts.by_scene.items() if one.means.counts.get(names[0])}
    return {"scenes": found} if found else {}


@dataclass
class EnsembleCounts:
    """What was counted of the samples of several forecasters, `rows` by their names; mergeable. `seed` is that of the
    intervals; `reference` counts the forecaster that all are compared with, by its name, on `reference_windows`."""

    samples: int
    seed: int
    windows: int = 0
    rows: dict[str, SceneCounts[DistributionCounts]] = field(default_factory=dict)
    reference_windows: int = 0
    reference: dict[str, SceneCounts[DistributionCounts]] = field(default_factory=dict)

    def of(self, name: str) -> SceneCounts[DistributionCounts]:
        """The counters of a forecaster, to count into."""
        return self.rows.setdefault(name, SceneCounts(partial(DistributionCounts, self.samples)))

    def add_reference(self, name: str, window: Window, futures: ReferenceFutures, num_voxels: int) -> None:
        """Count the reference's samples as a row."""
        self.reference_windows += 1
        counts = self.reference.setdefault(name, SceneCounts(partial(DistributionCounts, self.samples)))
        counts.of(window.key.scene).add(list(futures.paired), window.truth, num_voxels, futures)

    def merge(self, other: EnsembleCounts) -> None:
        """Add the counts of other windows."""
        self.windows += other.windows
        self.reference_windows += other.reference_windows
        merge_rows(self.rows, other.rows)
        merge_rows(self.reference, other.reference)

    def report(self) -> dict:
        """{"windows", "samples", "rows": [{"name", "distance", "diversity", "energy", "mean_iou", "best_iou", "brier",
        "nll", "ece", "ece_filled", "reliability", and the same with "movable_"; "intervals"}]}; distances are 1 - IoU
        of whole futures.

        With a reference each row has "to_teacher", "beyond_floor" and "diversity_ratio" too, over the windows where it
        was drawn, and "scenes" (`distances_by_scene`); the report has "reference": its own row on these "windows",
        whose "to_teacher" is the floor.
        """
        found = {"windows": self.windows, "samples": self.samples,
                 "rows": [row_with_intervals(name, one, self.seed) for name, one in self.rows.items()]}
        for name, one in self.reference.items():
            found["reference"] = {"windows": self.reference_windows, **row_with_intervals(name, one, self.seed)}
        return found


class Referee:
    """Draws a reference's samples, in the windows where rows are compared with it.

    Args:
        keys: these windows; None: all.
        remember: keep what was drawn, for further forecasters on the same windows (some 15 MB a window).
    """

    def __init__(self, forecaster: Forecaster, keys: Collection[WindowKey] | None = None, remember: bool = False
                 ) -> None:
        self.forecaster, self.keys, self.remember = forecaster, None if keys is None else frozenset(keys), remember
        self.drawn: dict[tuple[WindowKey, int, int], ReferenceFutures] = {}

    def futures(self, window: Window, samples: int, seed: int) -> ReferenceFutures | None:
        """`samples` of the noises that the rows have and as many of others; None in a window that it does not see."""
        if self.keys is not None and window.key not in self.keys:
            return None
        place = window.key, samples, seed
        if place in self.drawn:
            return self.drawn[place]
        drawn = sampled_futures(self.forecaster, window, samples, seed, (0, OTHER_NOISE))
        found = ReferenceFutures(drawn[:samples], drawn[samples:])
        if self.remember:
            self.drawn[place] = found
        return found


def count_distributions(source: WindowSource, keys: Sequence[WindowKey], forecasters: Sequence[Forecaster],
                        samples: int, seed: int,
                        watch: Callable[[Window, dict[str, list[Future]]], None] | None = None,
                        progress: Progress = with_bar, referee: Referee | None = None) -> EnsembleCounts:
    """What `samples` forecasts a window come to, over all voxels and over movable ones.

    Args:
        watch: called with every window and its futures by name, the first being what `evaluate` forecasts.
        referee: of the reference that all are compared with; None: there is none.
    """
    counts = EnsembleCounts(samples, seed, len(keys))
    for forecaster in forecasters:
        counts.of(forecaster.name)
    for key in progress(keys, "ensembles"):
        window, drawn, num_voxels = source.read(key), {}, source.store.grid.num_voxels
        reference = referee and referee.futures(window, samples, seed)
        if reference is not None:
            counts.add_reference(referee.forecaster.name, window, reference, num_voxels)
        for forecaster in forecasters:
            futures = drawn[forecaster.name] = sampled_futures(forecaster, window, samples, seed)
            counts.of(forecaster.name).of(key.scene).add(futures, window.truth, num_voxels, reference)
        if watch is not None:
            watch(window, drawn)
    return counts


def evaluate_distributions(source: WindowSource, keys: Sequence[WindowKey], forecasters: Sequence[Forecaster],
                           samples: int, seed: int, referee: Referee | None = None) -> dict:
    """The report of `count_distributions`."""
    return count_distributions(source, keys, forecasters, samples, seed, referee=referee).report()


def sampled_futures(row: Forecaster | Reference, window: Window, samples: int, seed: int, first: Sequence[int] = (0,)
                    ) -> list[Future]:
    """K futures of a window from each of the `first` numbers on; the same seeds for every forecaster. Those of a row
    that is made of the truth are all the same."""
    seeds = [forecast_seed(seed, window.key, number + k) for number in first for k in range(samples)]
    if isinstance(row, Reference):
        return [row.of_window(window).frames] * len(seeds)
    return [forecast.frames for forecast in row.samples(window.task, seeds)]
