"""What several samples of a future agree on: one forecast that is no sample, but near all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from occflow.grid import NUM_CLASSES
from occflow.occupancy.frame import OccupancyFrame

Frames = tuple[OccupancyFrame, ...]


def consensus(samples: Sequence[Frames]) -> Frames:
    """The consensus of K >= 1 sampled futures, frame by frame."""
    return tuple(consensus_frame(frames) for frames in zip(*samples, strict=True))


def consensus_frame(samples: Sequence[OccupancyFrame]) -> OccupancyFrame:
    """The voxels that most of K frames fill, as many as they fill in the mean; each with its most frequent class.

    The set of voxels that at least k samples fill, with the k whose set is nearest in size to the samples' mean: the
    Vorob'ev expectation of a random set (Molchanov, Theory of Random Sets, 2.2). A plain majority (k = K / 2) would
    lose whatever is uncertain about its place, since nothing makes up for what fewer than half of the samples fill.
    """
    filled, votes = np.unique(np.concatenate([frame.flat for frame in samples]), return_counts=True)
    sizes = np.bincount(votes, minlength=len(samples) + 2)[::-1].cumsum()[::-1]  # voxels of at least k votes, by k
    mean_size = np.mean([len(frame.flat) for frame in samples])
    levels = np.arange(1, len(samples) + 1)
    level = levels[::-1][np.argmin(np.abs(sizes[levels[::-1]] - mean_size))]  # the higher of two as near
    flat = filled[votes >= level]
    return replace(samples[0], flat=flat, labels=_most_frequent(samples, flat))


def _most_frequent(samples: Sequence[OccupancyFrame], flat: np.ndarray) -> np.ndarray:
    """Labels [N] uint8 of the voxels `flat` [N]; the lower class of two as frequent."""
    ballots = np.zeros((len(flat), NUM_CLASSES), dtype=np.int64)
    for frame in samples:
        place = np.searchsorted(flat, frame.flat)
        kept = (place < len(flat)) & (flat[np.minimum(place, len(flat) - 1)] == frame.flat) if len(flat) else place < 0
        ballots[place[kept], frame.labels[kept]] += 1
    return ballots.argmax(axis=1).astype(np.uint8)
