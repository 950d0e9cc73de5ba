"""Mean Flow Distillation (arXiv 2606.11155; docs/methods.md 7); r = t makes it VSD / Diff-Instruct."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from occflow.distill.energy import EnergyScore, future_of
from occflow.distill.losses import MAX_TIME, MIN_TIME, WithAuxiliary, surrogate
from occflow.distill.protocol import Batch, Networks
from occflow.flow.solvers import mean_velocity
from occflow.flow.times import intervals


@dataclass(frozen=True)
class IntervalMatching(WithAuxiliary):
    """Match the mean velocities of the student's samples to the teacher's over random intervals.

    Args:
        equal_share: probability of r = t; 1 gives VSD with t the larger of two uniforms.
        normalise: a difference of data predictions over the sample's mean distance to the teacher's, as DMD has it
            (losses.weighted); false is the paper's own code.
        draws: intervals and noises a student sample; the gradient is their mean.
        student_steps: to a sample; the last one is matched, those before are simulated (losses.WithAuxiliary).
        energy: weight of the energy score of two samples (distill.energy) beside it, against drifting.
        teacher_steps, score: of that score, as EnergyStudent has them.
    """

    equal_share: float = 0.0
    normalise: bool = True
    draws: int = 1
    student_steps: int = 1
    energy: float = 0.0
    teacher_steps: int = 0
    score: EnergyScore = EnergyScore()

    @property
    def few_steps(self) -> str:
        return "renoised" if self.student_steps > 1 else "none"

    @property
    def needs_data(self) -> bool:
        return self.energy > 0 and self.teacher_steps == 0

    def student_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """mean((u_Q - u_P).detach() * x_t): its gradient in the samples is (u_Q - u_P) (1 - t).

        The Jacobian of the integration is dropped, which is not only cheaper but necessary (docs/methods.md 7a).
        """
        samples = self.samples(networks, batch, generator)
        loss = surrogate(
            samples, batch, generator,
            lambda: batch.drawn(intervals, generator, MIN_TIME, MAX_TIME, self.equal_share),
            lambda x_t, r, t: self.mean_velocities(networks, batch, x_t, r, t), self.normalise, self.draws)
        if self.energy == 0:
            return loss
        pair = [samples, self.samples(networks, batch, generator)]
        return loss + self.energy * self.score(pair, future_of(networks, batch, generator, self.teacher_steps), batch)

    def mean_velocities(self, networks: Networks, batch: Batch, x_t: Tensor, r: Tensor, t: Tensor
                        ) -> tuple[Tensor, Tensor]:
        """u_Q(x_t, r, t) and u_P(x_t, r, t), [N, C] each."""
        raise NotImplementedError


@dataclass(frozen=True)
class MeanFlowDistillation(IntervalMatching):
    """Both mean velocities by integration of both velocities.

    Args:
        steps: solver steps a mean velocity; the paper's 0.02 (17 on average) buys nothing on toys.
        solver: of flow.solvers.METHODS.
    """

    steps: int = 3
    solver: str = "euler"

    def mean_velocities(self, networks: Networks, batch: Batch, x_t: Tensor, r: Tensor, t: Tensor
                        ) -> tuple[Tensor, Tensor]:
        """u_Q(x_t, r, t) and u_P(x_t, r, t), [N, C] each."""
        teacher, auxiliary = (mean_velocity(velocity, x_t, r, t, batch.sample, self.steps, self.solver)
                              for velocity in (networks.teacher, networks.auxiliary))
        return teacher, auxiliary
