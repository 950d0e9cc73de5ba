"""Consistency distillation, discrete and continuous (docs/methods.md 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from occflow.distill.losses import regression_loss, sample_mean
from occflow.distill.protocol import Batch, Networks, WithoutAuxiliary
from occflow.flow.identities import eulerian_target
from occflow.flow.path import noised, per_row
from occflow.flow.sending import sent
from occflow.flow.solvers import integrate
from occflow.flow.times import uniform


@dataclass(frozen=True)
class DiscreteConsistency(WithoutAuxiliary):
    """The student's end point of x_t equals that of the teacher's solver step from x_t (arXiv 2303.01469, alg. 2).

    Args:
        intervals: N, equal intervals of [0, 1]; the bias falls with 1 / N, the variance grows.
        solver: "heun" or "euler", one step of the teacher.
        huber: c of the pseudo-Huber distance sqrt(e + c^2) - c on a sample's mean squared error e.
    """

    intervals: int = 32
    solver: str = "heun"
    huber: float = 0.03
    few_steps: ClassVar[str] = "renoised"
    needs_data: ClassVar[bool] = True

    def student_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """E d(f(x_t, t), sg f(x_r, r)) / (t - r), f(x, t) = x - t u(x, 0, t), t = i / N, r = (i - 1) / N."""
        drawn = torch.randint(1, self.intervals + 1, (batch.samples.total,), generator=generator)
        index = batch.samples.of(drawn)
        t = sent(index / self.intervals, batch.data)
        r = sent((index - 1) / self.intervals, batch.data)
        x_t = noised(batch.data, batch.noise(generator), t, batch.sample).x_t
        with torch.no_grad():
            target = self.target(networks, batch, x_t, r, t)
        squared = (end_point(networks.average, x_t, t, batch.sample) - target) ** 2
        error = sample_mean(squared if batch.weight is None else squared * batch.weight, batch)
        return batch.samples.mean(((error + self.huber**2).sqrt() - self.huber) / (t - r))

    def target(self, networks: Networks, batch: Batch, x_t: Tensor, r: Tensor, t: Tensor) -> Tensor:
        """End point of the teacher's step [N, C]; at r = 0 the step's own result."""
        x_r = integrate(networks.teacher, x_t, r, t, batch.sample, 1, self.solver)
        return end_point(networks.slow_average or networks.average, x_r, r, batch.sample)


@dataclass(frozen=True)
class ContinuousConsistency(WithoutAuxiliary):
    """The limit of many intervals: the Eulerian identity at r = 0 (sCM, arXiv 2410.11081, in the straight path).

    Args:
        derivative: "forward" or "central".
        power: of the adaptive weight, see `regression_loss`.
    """

    derivative: str = "forward"
    power: float = 0.5
    few_steps: ClassVar[str] = "renoised"
    needs_data: ClassVar[bool] = True

    def student_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """E || u(x_t, 0, t) - sg(v_Q - t d/dt u(x_t, 0, t)) ||^2."""
        t = sent(batch.drawn(uniform, generator), batch.data)
        r = torch.zeros_like(t)
        x_t = noised(batch.data, batch.noise(generator), t, batch.sample).x_t
        with torch.no_grad():
            target = eulerian_target(networks.average, networks.teacher(x_t, t), x_t, r, t, batch.sample,
                                     self.derivative)
        return regression_loss(networks.average(x_t, r, t), target, batch, self.power)


def end_point(average, x: Tensor, t: Tensor, sample: Tensor) -> Tensor:
    """f(x, t) = x - t u(x, 0, t) [N, C]; x itself at t = 0."""
    return x - per_row(t, sample) * average(x, torch.zeros_like(t), t)
