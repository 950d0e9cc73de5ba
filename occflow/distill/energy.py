"""A student of the energy score: samples of one condition against the future that came true, or against one of the
teacher's (docs/methods.md 15)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor

from occflow.distill.losses import region_mean
from occflow.distill.protocol import Batch, Networks, WithoutAuxiliary
from occflow.flow.solvers import sample_flow


@dataclass(frozen=True)
class EnergyScore:
    """The energy score (Gneiting and Raftery 2007, eq. 21) of K samples, added up over three sizes of region.

    A distance of two states is the root mean squared difference of a region's rows, softened: sqrt(d^2 + c^2) - c has
    a gradient at d = 0, and is of negative type as d is (Schoenberg 1938), so that the score of every region stays
    strictly proper for what is jointly possible in it. A region counts by its rows.

    Args:
        row, region, sample: weights of the distances of single rows, of the regions that a batch has, of whole samples.
        softening: c, in the units of a row's differences, whose squares the batch's weight multiplies.
        fairness: of the term between samples; 1 is unbiased for any K, less draws them together ("almost fair", Lang
            et al., arXiv 2412.15832, eq. 4).
    """

    row: float = 1.0
    region: float = 1.0
    sample: float = 1.0
    softening: float = 0.1
    fairness: float = 1.0

    def __call__(self, samples: Sequence[Tensor], future: Tensor, batch: Batch) -> Tensor:
        """mean_k d(x_k, y) - s/2 mean_{k != l} d(x_k, x_l), s = 1 - (1 - fairness) / K; scalar.

        Args:
            samples: x_k, K >= 2 of the student [N, C]; future: y [N, C].
        """
        to_future = sum(self.distance(one, future, batch) for one in samples) / len(samples)
        pairs = list(combinations(samples, 2))
        between = sum(self.distance(*pair, batch) for pair in pairs) / len(pairs)
        return to_future - (1 - (1 - self.fairness) / len(samples)) / 2 * between

    def distance(self, one: Tensor, other: Tensor, batch: Batch) -> Tensor:
        """Weighted sum of the distances [N, C] of all sizes, each a mean over rows."""
        squared = (one - other) ** 2
        rows = (squared if batch.weight is None else squared * batch.weight).mean(1)
        whole = _pooled(rows, batch.sample, batch.num_samples)
        total = self.row * self._mean(rows, batch) + self.sample * self._mean(whole, batch)
        for region in batch.regions:
            total = total + self.region / len(batch.regions) * self._mean(_pooled(rows, region, len(rows)), batch)
        return total

    def _mean(self, squared: Tensor, batch: Batch) -> Tensor:
        """Of the softened roots of squared distances, [N]."""
        return batch.rows.mean((squared + self.softening**2).sqrt() - self.softening)


def _pooled(values: Tensor, region: Tensor, count: int) -> Tensor:
    """Each region's mean in every row of it; values [N], region [N] below `count`, which no device is asked for."""
    return region_mean(values, region, count)[region]


def future_of(networks: Networks, batch: Batch, generator: torch.Generator, teacher_steps: int) -> Tensor:
    """What samples are scored against [N, C]: the true future, or one of the teacher's by so many Heun steps."""
    if teacher_steps == 0:
        return batch.data
    with torch.no_grad():
        return sample_flow(networks.teacher, batch.noise(generator), batch.sample, batch.num_samples, teacher_steps,
                           "heun")


@dataclass(frozen=True)
class EnergyStudent(WithoutAuxiliary):
    """A one-step student with the least energy score, of which no auxiliary is needed. It starts at the teacher.

    Args:
        energy_samples: K, of each condition; as many evaluations.
        teacher_steps: 0: true futures are what it is scored against, and the teacher is asked nothing. Else samples of
            the teacher by so many Heun steps, and what it minimises is its energy distance to the teacher; no future is
            read.
        score: what they are scored by.
    """

    energy_samples: int = 2
    teacher_steps: int = 0
    score: EnergyScore = EnergyScore()
    few_steps: ClassVar[str] = "none"

    @property
    def needs_data(self) -> bool:
        return self.teacher_steps == 0

    def student_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """The energy score of fresh samples."""
        samples = [networks.student(batch.noise(generator)) for _ in range(self.energy_samples)]
        return self.score(samples, future_of(networks, batch, generator, self.teacher_steps), batch)
