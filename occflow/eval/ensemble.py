"""Scores of a forecast as a distribution, by the Jaccard distance of whole futures (docs/scores.md, "Ensembles")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from occflow.eval.iou import refuse_other_grid_pose
from occflow.grid import IS_MOVABLE, MAX_GRID_VOXELS
from occflow.occupancy.frame import OccupancyFrame

Future = Sequence[OccupancyFrame]  # F frames of one future
NEAR = 0.2  # Jaccard distance at which a sample is taken for a future


@dataclass(frozen=True)
class EnergyScore:
    """The two terms of the energy score; lower `score` is better.

    Args:
        distance: mean Jaccard distance of a sample to the truth, in [0, 1]; 1 - mean-of-K IoU.
        diversity: mean Jaccard distance between two different samples, in [0, 1]; 0 for a collapsed forecaster.
        nearest: distance of the best sample to the truth; 1 - best-of-K IoU.
    """

    distance: float
    diversity: float
    nearest: float

    @property
    def score(self) -> float:
        return self.distance - 0.5 * self.diversity


@dataclass(frozen=True)
class SetScores:
    """K samples against M equally true futures.

    Args:
        coverage: share of the futures that some sample is near.
        precision: share of the samples that are near some future.
        energy_distance: 2 E d(s, f) - E d(s, s') - E d(f, f'), over pairs of different ones; 0 for equal distributions
            in expectation, and so slightly negative by chance.
        nearest: mean distance of a sample to its nearest future.
    """

    coverage: float
    precision: float
    energy_distance: float
    nearest: float


@dataclass(frozen=True)
class ReferenceFutures:
    """Samples of a reference forecaster in one window, at least two of each.

    Args:
        paired: of the noises that every row's samples are made of: the reference as a row.
        others: of noises that no row has. With the same noise on both sides a distance would be too small, and that of
            the reference to itself below zero.
    """

    paired: Sequence[Future]
    others: Sequence[Future]


@dataclass(frozen=True)
class ReferenceDistance:
    """A row's samples against a reference's, under one condition.

    Args:
        distance: energy distance, 0 in expectation for equal distributions and so slightly negative by chance.
        floor: that of the reference itself, by the same estimate.
        diversity, reference_diversity: mean distance of two samples, of the row and of the reference.
    """

    distance: float
    floor: float
    diversity: float
    reference_diversity: float

    @property
    def beyond_floor(self) -> float:
        """The distance over the floor: the chance in the reference's samples, which both share, is gone."""
        return self.distance - self.floor


@dataclass(frozen=True)
class Membership:
    """Which futures fill which places: `codes` [U] of (frame, voxel), sorted, and `filled` [K, U] bool."""

    codes: np.ndarray
    filled: np.ndarray

    @classmethod
    def of(cls, futures: Sequence[Future], movable_only: bool) -> Membership:
        """Of all occupied voxels of K futures of as many frames, or of those of any movable class."""
        parts = [_frame_membership([_voxels(frame, movable_only) for frame in frames]) for frames in zip(*futures)]
        if not parts:
            return cls(np.zeros(0, dtype=np.int64), np.zeros((len(futures), 0), dtype=bool))
        codes = [flat + index * MAX_GRID_VOXELS for index, (flat, _) in enumerate(parts)]  # no grid has more voxels
        return cls(np.concatenate(codes), np.concatenate([filled for _, filled in parts], axis=1))

    def distances(self) -> np.ndarray:
        """Jaccard distances [K, K]: 1 - IoU; 0 where both are empty, since they agree."""
        filled = self.filled.astype(np.float32)  # sums of ones, exact up to 2^24
        common = (filled @ filled.T).astype(np.float64)
        sizes = np.diag(common)
        unions = sizes[:, None] + sizes - common
        return 1.0 - np.divide(common, unions, out=np.ones_like(common), where=unions > 0)


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
    return energy_of(checked_membership(samples, [truth], movable_only))


def energy_of(member: Membership) -> EnergyScore:
    """The energy score of all futures but the last one against the last one."""
    distances = member.distances()
    to_truth = distances[-1, :-1]
    return EnergyScore(float(to_truth.mean()), mean_of_pairs(distances[:-1, :-1]), float(to_truth.min()))


def set_scores(samples: Sequence[Future], futures: Sequence[Future], near: float = NEAR) -> SetScores:
    """Sampled futures against equally true ones, on movable voxels; `near` is the largest distance of a match.

    Raises:
        ValueError: fewer than two samples or futures, or others of frames or grid poses.
    """
    if len(futures) < 2:
        raise ValueError(f"a distribution of futures needs two or more, got {len(futures)}")
    distances, split = checked_membership(samples, futures, movable_only=True).distances(), len(samples)
    across = distances[:split, split:]
    return SetScores(float((across.min(axis=0) <= near).mean()), float((across.min(axis=1) <= near).mean()),
                     energy_distance(distances, split), float(across.min(axis=1).mean()))


def energy_distance(distances: np.ndarray, split: int) -> float:
    """2 E d(x, y) - E d(x, x') - E d(y, y') of the first `split` things against the others, over pairs of different
    ones (Szekely and Rizzo 2013, doi:10.1016/j.jspi.2013.03.018, as a U-statistic): without bias for independent
    samples.

    Args:
        distances: [K, K], symmetric; at least two on each side.
    """
    return float(2 * distances[:split, split:].mean() - mean_of_pairs(distances[:split, :split])
                 - mean_of_pairs(distances[split:, split:]))


def reference_distance(samples: Sequence[Future], reference: ReferenceFutures, movable_only: bool
                       ) -> ReferenceDistance:
    """K samples of a row against a reference's, by the Jaccard distance of whole futures.

    Args:
        samples: at least two, made of the noises of `reference.paired`; a row without noise is its one forecast given
            several times.

    Raises:
        ValueError: fewer than two samples anywhere, or others of frames or grid poses.
    """
    if min(len(reference.paired), len(reference.others)) < 2:
        raise ValueError("a distance to a reference needs two of its samples or more")
    distances = checked_membership([*samples, *reference.paired], reference.others, movable_only).distances()
    own, end = len(samples), len(samples) + len(reference.paired)
    rows = np.arange(len(distances))
    row, floor = rows[(rows < own) | (rows >= end)], rows[own:]
    return ReferenceDistance(energy_distance(distances[np.ix_(row, row)], own),
                             energy_distance(distances[np.ix_(floor, floor)], end - own),
                             mean_of_pairs(distances[:own, :own]), mean_of_pairs(distances[own:end, own:end]))


def checked_membership(samples: Sequence[Future], futures: Sequence[Future], movable_only: bool) -> Membership:
    """Samples and then true futures, which must be of the same frames and grid poses.

    Raises:
        ValueError: they are not, or there are fewer than two samples.
    """
    if len(samples) < 2:
        raise ValueError(f"an energy score needs two samples or more, got {len(samples)}")
    for one in (*samples, *futures[1:]):
        if len(one) != len(futures[0]):
            raise ValueError(f"a sample has {len(one)} frames, the truth has {len(futures[0])}")
        for frame, true in zip(one, futures[0]):
            refuse_other_grid_pose(frame, true)
    return Membership.of([*samples, *futures], movable_only)


def mean_of_pairs(distances: np.ndarray) -> float:
    """Mean of a symmetric [K, K] over the pairs of different ones."""
    return float(distances[np.triu_indices(len(distances), 1)].mean())


def _voxels(frame: OccupancyFrame, movable_only: bool) -> np.ndarray:
    return frame.flat[IS_MOVABLE[frame.labels]] if movable_only else frame.flat


def _frame_membership(voxels: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Voxels [U] that any of K sorted lists holds, and [K, U] bool which do."""
    last = max((int(flat[-1]) for flat in voxels if len(flat)), default=-1)
    anyone, place = np.zeros(last + 1, dtype=bool), np.empty(last + 1, dtype=np.int32)  # faster by far than sorting
    for flat in voxels:
        anyone[flat] = True
    found = np.flatnonzero(anyone)
    place[found] = np.arange(len(found))
    filled = np.zeros((len(voxels), len(found)), dtype=bool)
    for row, flat in zip(filled, voxels):
        row[place[flat]] = True
    return found, filled
