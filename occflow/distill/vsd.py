"""Variational score distillation / Diff-Instruct (docs/methods.md 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from occflow.distill.losses import MAX_TIME, MIN_TIME, WithAuxiliary, surrogate
from occflow.distill.protocol import Batch, Networks
from occflow.flow.sending import sent
from occflow.flow.times import uniform


@dataclass(frozen=True)
class VariationalScoreDistillation(WithAuxiliary):
    """Match velocities of the student's noised samples to the teacher's: the gradient of a weighted reverse KL.

    Args:
        draws: times and noises a student sample. MFD with n Euler steps costs as many evaluations as draws = n.
        normalise: DMD's normaliser (arXiv 2311.18828, eq. 8); false is Diff-Instruct.
        student_steps: to a sample; the last one is matched, those before are simulated (losses.WithAuxiliary).
    """

    draws: int = 1
    normalise: bool = False
    student_steps: int = 1
    needs_data: ClassVar[bool] = False

    @property
    def few_steps(self) -> str:
        return "renoised" if self.student_steps > 1 else "none"

    def student_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """mean((v_Q - v_P).detach() * x_t), t ~ U(0, 1)."""
        return self.loss_of(self.samples(networks, batch, generator), networks, batch, generator)

    def loss_of(self, samples: Tensor, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """The same of given samples of the student [N, C]."""
        def times() -> tuple[Tensor, Tensor]:
            t = batch.drawn(uniform, generator, MIN_TIME, MAX_TIME)
            return t, t

        def velocities(x_t: Tensor, _: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
            t = sent(t, x_t.device)
            return networks.teacher(x_t, t), networks.auxiliary(x_t, t)

        return surrogate(samples, batch, generator, times, velocities, self.normalise, self.draws)
