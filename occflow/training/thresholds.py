"""From which probability on something is taken as there: the one that judges best on what was learnt from."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def threshold_of_best_iou(judged: Iterable[tuple[np.ndarray, np.ndarray]], thresholds: np.ndarray) -> float:
    """That of some thresholds [T], increasing, from which on taking things as there has the best IoU with the truth.

    Args:
        judged: probabilities [N] and whether it is truly there, [N] bool, one set of things after the other.
    """
    counts = np.zeros((2, len(thresholds) + 1), dtype=np.int64)  # of those absent and there between thresholds
    for probability, there in judged:
        for row in (0, 1):
            places = np.searchsorted(thresholds, probability[there == row])
            counts[row] += np.bincount(places, minlength=counts.shape[1])
    above = counts[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]  # [2, T] above each threshold
    iou = above[1] / np.maximum(1, counts[1].sum() + above[0])
    return float(thresholds[iou.argmax()])
