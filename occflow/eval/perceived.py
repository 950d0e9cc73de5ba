"""How well a car sees an instant: the perceived present against the occupancy that hindsight makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from occflow.eval.counts import number
from occflow.eval.iou import IoUCounts
from occflow.eval.sections import figure, percent, table
from occflow.grid import FREE
from occflow.occupancy.storage.store import OccupancyStore
from occflow.perception.network import PerceptionNetwork
from occflow.perception.perceive import Perceiver

BINS = 10  # of the reliability of the confidence
UNDOUBTED = 0.01  # voxels that are less probable than this are free to anybody, and would make any forecaster reliable
FIGURES = ("iou", "miou", "movable_iou")


@dataclass
class PerceivedCounts:
    """What was counted of perceived instants; mergeable.

    Args:
        threshold: of the network's confidence, above which a voxel is taken as occupied.
        frames: how many were judged.
        counts: of the raw voxels and of what is perceived.
        bins: [3, BINS] sums of the confidence, occupied voxels and voxels, in bins of the confidence.
    """

    threshold: float
    frames: int = 0
    counts: dict[str, IoUCounts] = field(default_factory=lambda: {"raw": IoUCounts(1), "perceived": IoUCounts(1)})
    bins: np.ndarray = field(default_factory=lambda: np.zeros((3, BINS)))

    def merge(self, other: PerceivedCounts) -> None:
        """Add those of other instants."""
        self.frames, self.bins = self.frames + other.frames, self.bins + other.bins
        for name, counts in other.counts.items():
            self.counts[name].merge(counts)

    def report(self) -> dict:
        """As `quality`."""
        used = self.bins[:, self.bins[2] > 0]
        error = np.abs(used[0] - used[1]).sum() / used[2].sum() if used.size else np.nan
        return {**{name: {"iou": number(one.iou()[0]), "miou": number(one.miou(released_rule=False)[0]),
                          "movable_iou": number(one.movable_iou()[0])} for name, one in self.counts.items()},
                "ece": number(error), "threshold": self.threshold,
                "reliability": [[float(a / n), float(b / n), int(n)] for a, b, n in used.T], "frames": self.frames}


def quality(network: PerceptionNetwork, store: OccupancyStore, keys: Sequence[tuple[str, int]]) -> dict:
    """How well instants are perceived: IoU, mIoU and movable IoU beside the raw voxels', and the confidence's
    reliability: in bins of it the mean, the share that is occupied and the voxels; `ece` is the expected calibration
    error (Naeini et al., AAAI 2015) over the voxels that are not surely free. What cannot be measured is None.

    Args:
        keys: scene and number of the judged frames, one or more.
    """
    return count_perceived(network, store, keys).report()


def count_perceived(network: PerceptionNetwork, store: OccupancyStore,
                    keys: Sequence[tuple[str, int]]) -> PerceivedCounts:
    """What `quality` counts."""
    found, perceiver = PerceivedCounts(float(network.threshold), len(keys)), Perceiver(network)
    for key in keys:
        sighting, truth = store.sighting(*key), store.frame(*key)
        seen = perceiver.perceive(sighting)
        found.counts["raw"].add(0, sighting.with_classes(), truth)
        found.counts["perceived"].add(0, seen.frame, truth)
        probability, occupied = seen.probability.reshape(-1), truth.dense(store.grid).reshape(-1) != FREE
        doubted = probability >= UNDOUBTED
        places = np.minimum((probability[doubted] * BINS).astype(int), BINS - 1)
        for row, weights in enumerate((probability[doubted], occupied[doubted], None)):
            found.bins[row] += np.bincount(places, weights, BINS)
    return found


def quality_markdown(found: Mapping) -> str:
    """A table of `quality`."""
    rows = [[name, *(percent([found[name][one]]) for one in FIGURES)] for name in ("raw", "perceived")]
    text = "\n".join(table(("the present", "IoU", "mIoU", "movable IoU"), rows)).rstrip()
    return f"{text}\nexpected calibration error {figure(found['ece'], 4)}, {found['frames']} frames"
