"""Forecasters as distributions: K samples a window against what happened (docs/scores.md, "Ensembles")."""

from __future__ import annotations

from dataclasses import dataclass, field

from tqdm import tqdm

from occflow.eval.ensemble import Future, checked_membership, energy_of
from occflow.eval.evaluate import forecast_seed
from occflow.eval.intervals import mean_intervals, vector_intervals
from occflow.eval.marginals import MarginalCounts, marginal_scores
from occflow.eval.numbers import MeanCounts, number
from occflow.eval.scene_counts import SceneCounts
from occflow.forecasting.forecast import Forecaster
from occflow.occupancy.windows import Window, WindowKey, WindowSource

PARTS = {"": False, "movable_": True}  # of the voxels: all, and those of movable classes


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


def evaluate_distributions(source: WindowSource, keys: list[WindowKey], forecasters: list[Forecaster],
                           samples: int, seed: int) -> dict:
    """Scores of `samples` forecasts a window, over all voxels and over movable ones.

    Returns:
        {"windows", "samples", "rows": [{"name", "distance", "diversity", "energy", "mean_iou", "best_iou", "brier",
        "nll", "ece", "ece_filled", "reliability", and the same with "movable_"; "intervals"}]}; distances are 1 - IoU
        of whole futures.
    """
    counts = {one.name: SceneCounts(lambda: DistributionCounts(samples)) for one in forecasters}
    for key in tqdm(keys, desc="ensembles", unit="window", dynamic_ncols=True):
        window = source.read(key)
        for forecaster in forecasters:
            futures = sampled_futures(forecaster, window, samples, seed)
            counts[forecaster.name].of(key.scene).add(futures, window.truth, source.store.grid.num_voxels)
    return {"windows": len(keys), "samples": samples,
            "rows": [row_with_intervals(name, one, seed) for name, one in counts.items()]}


def sampled_futures(forecaster: Forecaster, window: Window, samples: int, seed: int) -> list[Future]:
    """K futures of a window; the same seeds for every forecaster."""
    seeds = [forecast_seed(seed, window.key, k) for k in range(samples)]
    return [forecast.frames for forecast in forecaster.samples(window.task, seeds)]
