"""Scores of a forecast as a distribution: the energy score with the Jaccard distance (PROTOCOLS section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from occflow.eval.iou import refuse_other_grid_pose
from occflow.grid import MAX_GRID_VOXELS, MOVABLE_CLASSES
from occflow.occupancy.frame import OccupancyFrame

Future = Sequence[OccupancyFrame]  # F frames of one future


@dataclass(frozen=True)
class EnergyScore:
    """The two terms of the energy score; lower `score` is better.

    Args:
        distance: mean Jaccard distance of a sample to the truth, in [0, 1].
        diversity: mean Jaccard distance between two different samples, in [0, 1]; 0 for a collapsed forecaster.
    """

    distance: float
    diversity: float

    @property
    def score(self) -> float:
        return self.distance - 0.5 * self.diversity


def jaccard_distance(one: np.ndarray, other: np.ndarray) -> float:
    """1 - IoU of two sets of voxels (sorted, each voxel once); 0 where both are empty, since they agree."""
    common = len(np.intersect1d(one, other, assume_unique=True))
    union = len(one) + len(other) - common
    return 1.0 - common / union if union else 0.0


def energy_score(samples: Sequence[Future], truth: Future, movable_only: bool) -> EnergyScore:
    """Energy score of K sampled futures of F frames against the true one.

    ES = mean_s d(s, truth) - 1/2 mean_{s != s'} d(s, s') (Gneiting and Raftery 2007, eq. 22, over pairs of different
    samples, which is unbiased). A future is the set of its occupied (frame, voxel), so that one distance covers all
    frames; a score of one frame is that of sequences of one frame.

    Args:
        samples: at least two; a forecaster without noise is its one forecast given twice (diversity 0).
        movable_only: sets of voxels of any movable class, in place of all occupied ones.

    Raises:
        ValueError: fewer than two samples, or a sample of other frames or grid poses than the truth.
    """
    if len(samples) < 2:
        raise ValueError(f"an energy score needs two samples or more, got {len(samples)}")
    for sample in samples:
        _refuse_other_frames(sample, truth)
    true, sets = _space_time(truth, movable_only), [_space_time(sample, movable_only) for sample in samples]
    return EnergyScore(float(np.mean([jaccard_distance(one, true) for one in sets])),
                       float(np.mean([jaccard_distance(*pair) for pair in combinations(sets, 2)])))


def _refuse_other_frames(sample: Future, truth: Future) -> None:
    if len(sample) != len(truth):
        raise ValueError(f"a sample has {len(sample)} frames, the truth has {len(truth)}")
    for one, true in zip(sample, truth):
        refuse_other_grid_pose(one, true)


def _space_time(frames: Future, movable_only: bool) -> np.ndarray:
    """A future as sorted codes [M] int64 of its (frame, voxel)."""
    parts = []
    for index, frame in enumerate(frames):
        flat = frame.flat[np.isin(frame.labels, MOVABLE_CLASSES)] if movable_only else frame.flat
        parts.append(flat.astype(np.int64) + index * MAX_GRID_VOXELS)  # no grid has more voxels: codes never meet
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
