"""How well a car sees an instant: the perceived present against the occupancy that hindsight makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from occflow.eval.iou import IoUCounts
from occflow.eval.sections import table
from occflow.grid import FREE
from occflow.occupancy.storage.store import OccupancyStore
from occflow.perception.network import PerceptionNetwork
from occflow.perception.perceive import Perceiver

BINS = 10  # of the reliability of the confidence
UNDOUBTED = 0.01  # voxels that are less probable than this are free to anybody, and would make any forecaster reliable
FIGURES = ("iou", "miou", "movable_iou")


def quality(network: PerceptionNetwork, store: OccupancyStore, keys: Sequence[tuple[str, int]]) -> dict:
    """How well instants are perceived: IoU, mIoU and movable IoU beside the raw voxels', and the confidence's
    reliability: in bins of it the mean, the share that is occupied and the voxels; `ece` is the expected calibration
    error (Naeini et al., AAAI 2015) over the voxels that are not surely free.

    Args:
        keys: scene and number of the judged frames, one or more.
    """
    counts, perceiver, bins = {"raw": IoUCounts(1), "perceived": IoUCounts(1)}, Perceiver(network), np.zeros((3, BINS))
    for key in keys:
        sighting, truth = store.sighting(*key), store.frame(*key)
        seen = perceiver.perceive(sighting)
        counts["raw"].add(0, sighting.with_classes(), truth)
        counts["perceived"].add(0, seen.frame, truth)
        probability, occupied = seen.probability.reshape(-1), truth.dense(store.grid).reshape(-1) != FREE
        doubted = probability >= UNDOUBTED
        number = np.minimum((probability[doubted] * BINS).astype(int), BINS - 1)
        for row, weights in enumerate((probability[doubted], occupied[doubted], None)):
            bins[row] += np.bincount(number, weights, BINS)
    used = bins[:, bins[2] > 0]
    return {**{name: {"iou": float(one.iou()[0]), "miou": float(one.miou(released_rule=False)[0]),
                      "movable_iou": float(one.movable_iou()[0])} for name, one in counts.items()},
            "ece": float(np.abs(used[0] - used[1]).sum() / bins[2].sum()), "threshold": float(network.threshold),
            "reliability": [[float(a / n), float(b / n), int(n)] for a, b, n in used.T], "frames": len(keys)}


def quality_markdown(found: Mapping) -> str:
    """A table of `quality`."""
    rows = [[name, *(f"{100 * found[name][figure]:.1f}" for figure in FIGURES)] for name in ("raw", "perceived")]
    text = "\n".join(table(("the present", "IoU", "mIoU", "movable IoU"), rows)).rstrip()
    return f"{text}\nexpected calibration error {found['ece']:.4f}, {found['frames']} frames"
