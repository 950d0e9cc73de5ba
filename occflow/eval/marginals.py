"""The share of samples that fill a voxel, as the probability that it is filled (docs/scores.md, "Ensembles")."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from occflow.eval.ensemble import Membership

CLIP = 1e-3  # a probability of the log-likelihood is kept this far from 0 and 1
NUM_BINS = 15


@dataclass
class MarginalCounts:
    """Voxels by how many of K samples fill them: all scores follow from two rows of 64-bit integers.

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
