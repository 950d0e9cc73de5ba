"""MeanFlow from data or from a teacher, plain and stabilised (docs/methods.md 4 and 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from occflow.distill.losses import WithAuxiliary, regression_loss
from occflow.distill.protocol import Batch, Networks, WithoutAuxiliary
from occflow.distill.vsd import VariationalScoreDistillation
from occflow.flow.identities import eulerian_target
from occflow.flow.path import noised
from occflow.flow.sending import sent
from occflow.flow.solvers import mean_velocity
from occflow.flow.times import logit_normal_pairs


@dataclass(frozen=True)
class MeanFlow(WithoutAuxiliary):
    """Regress u on the Eulerian identity (arXiv 2505.13447). With the teacher's velocity it is the Eulerian
    distillation of a flow map (AYF-EMD, arXiv 2506.14603), whose target carries no noise of the data.

    Args:
        from_data: use eps - x instead of the teacher's velocity; the teacher is not asked then.
        equal_share: probability of r = t.
        time_mean, time_scale: of the logit-normal times.
        power: of the adaptive weight, see `regression_loss`.
        derivative: "forward" or "central".
    """

    from_data: bool = False
    equal_share: float = 0.25
    time_mean: float = 0.0
    time_scale: float = 1.6
    power: float = 0.5
    derivative: str = "forward"
    few_steps: ClassVar[str] = "jumps"
    needs_data: ClassVar[bool] = True

    def student_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """E || u(x_t, r, t) - sg(v - (t - r) d/dt u) ||^2."""
        r, t = self.times(batch, generator)
        point = noised(batch.data, batch.noise(generator), t, batch.sample)
        with torch.no_grad():
            velocity = point.velocity if self.from_data else networks.teacher(point.x_t, t)
            target = eulerian_target(networks.average, velocity, point.x_t, r, t, batch.sample, self.derivative)
        return regression_loss(networks.average(point.x_t, r, t), target, batch, self.power)

    def times(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """r and t [B]."""
        r, t = batch.drawn(logit_normal_pairs, generator, self.time_mean, self.time_scale, self.equal_share)
        return sent(r, batch.data), sent(t, batch.data)


@dataclass(frozen=True)
class StabilisedMeanFlow(WithAuxiliary):
    """A discrete warm-up, then the differential objective, with alignment of distributions (arXiv 2605.17834,
    whose body we could not read: docs/methods.md 5 says what is our reading).

    Args:
        differential: the objective after the warm-up, from the teacher.
        warmup: share of the updates whose target is the teacher's own integral, free of the untrained student.
        steps, solver: of that integral; its bias falls with the step's order.
        alignment: weight of VSD on one-step samples after the warm-up.
    """

    differential: MeanFlow = MeanFlow()
    warmup: float = 0.4
    steps: int = 4
    solver: str = "heun"
    alignment: float = 0.5
    few_steps: ClassVar[str] = "jumps"
    needs_data: ClassVar[bool] = True

    def student_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """The objective of the phase that `batch.progress` is in."""
        if batch.progress < self.warmup:
            return self.discrete_loss(networks, batch, generator)
        aligned = VariationalScoreDistillation(normalise=True).student_loss(networks, batch, generator)
        return self.differential.student_loss(networks, batch, generator) + self.alignment * aligned

    def discrete_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """E || u(x_t, r, t) - (x_t - solver_n(x_t; t -> r)) / (t - r) ||^2."""
        r, t = self.differential.times(batch, generator)
        x_t = noised(batch.data, batch.noise(generator), t, batch.sample).x_t
        with torch.no_grad():
            target = mean_velocity(networks.teacher, x_t, r, t, batch.sample, self.steps, self.solver)
        return regression_loss(networks.average(x_t, r, t), target, batch, self.differential.power)
