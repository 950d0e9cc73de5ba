"""Lagrangian and semigroup distillation of a flow map, and Terminal Velocity Matching (docs/methods.md 2 and 9).

The Eulerian objective is `MeanFlow` with a teacher.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from occflow.distill.losses import regression_loss
from occflow.distill.protocol import Batch, Networks, WithoutAuxiliary
from occflow.flow.identities import lagrangian_target, semigroup_target, terminal_velocity
from occflow.flow.path import noised
from occflow.flow.sending import sent
from occflow.flow.solvers import MIN_INTERVAL
from occflow.flow.times import between, intervals, uniform


@dataclass(frozen=True)
class LagrangianMap(WithoutAuxiliary):
    """The end point moves with the teacher's velocity there (LMD, arXiv 2406.07507). At r = t: u = v_Q.

    Args:
        equal_share: probability of r = t.
        power: of the adaptive weight, see `regression_loss`.
        derivative: "forward" or "central".
    """

    equal_share: float = 0.25
    power: float = 0.0
    derivative: str = "forward"
    few_steps: ClassVar[str] = "jumps"
    needs_data: ClassVar[bool] = True

    def student_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """E || u(x_t, r, t) - sg(v_Q(x_r, r) + (t - r) d/dr u) ||^2."""
        x_t, r, t = drawn(batch, generator, self.equal_share)
        with torch.no_grad():
            target = lagrangian_target(networks.average, networks.teacher, x_t, r, t, batch.sample, self.derivative)
        return regression_loss(networks.average(x_t, r, t), target, batch, self.power)


@dataclass(frozen=True)
class SemigroupMap(WithoutAuxiliary):
    """Two jumps equal one (Shortcut models, arXiv 2410.12557), anchored to the teacher where r = t.

    Args:
        equal_share: share of samples with u(x_t, t, t) = v_Q(x_t, t), the only ones that see the teacher.
        power: of the adaptive weight, see `regression_loss`.
    """

    equal_share: float = 0.5
    power: float = 0.0
    few_steps: ClassVar[str] = "jumps"
    needs_data: ClassVar[bool] = True

    def student_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """E || u(x_t, r, t) - sg(two jumps through a uniform q) ||^2, or the teacher's velocity at r = t."""
        x_t, r, t = drawn(batch, generator, self.equal_share)
        equal, place = t - r < MIN_INTERVAL, batch.drawn(uniform, generator)
        open_r = torch.where(equal, t - MIN_INTERVAL, r)  # keeps the rows that are not used finite
        with torch.no_grad():
            jumps = semigroup_target(networks.slow_average or networks.average, x_t, open_r,
                                     between(open_r, t, place), t, batch.sample)
            target = torch.where(equal[batch.sample][:, None], networks.teacher(x_t, t), jumps)
        return regression_loss(networks.average(x_t, torch.where(equal, t, r), t), target, batch, self.power)


@dataclass(frozen=True)
class TerminalVelocityMatching(WithoutAuxiliary):
    """The velocity with which the end point moves equals the velocity there; the gradient flows through the
    derivative (arXiv 2511.19797).

    Args:
        from_data: the velocity at the end is the student's own (moving average), learned from data in a second
            term; otherwise the teacher's, which makes the second term needless.
        derivative: "forward" or "central".
    """

    from_data: bool = False
    derivative: str = "forward"
    few_steps: ClassVar[str] = "jumps"
    needs_data: ClassVar[bool] = True

    def student_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """E || u - (t - r) d/dr u - sg v(x_r, r) ||^2, plus E || u(x_s, s, s) - (eps - x) ||^2 from data."""
        x_t, r, t = drawn(batch, generator, 0.0)
        _, x_r, moving = terminal_velocity(networks.average, x_t, r, t, batch.sample, self.derivative)
        slow = networks.slow_average or networks.average
        with torch.no_grad():
            arriving = slow(x_r, r, r) if self.from_data else networks.teacher(x_r, r)
        loss = regression_loss(moving, arriving, batch)
        return loss + self.diagonal_loss(networks, batch, generator) if self.from_data else loss

    def diagonal_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """Flow matching of u(x, s, s)."""
        s = sent(batch.drawn(uniform, generator), batch.data)
        point = noised(batch.data, batch.noise(generator), s, batch.sample)
        return regression_loss(networks.average(point.x_t, s, s), point.velocity, batch)


def drawn(batch: Batch, generator: torch.Generator, equal_share: float) -> tuple[Tensor, Tensor, Tensor]:
    """A noised data point x_t [N, C] and r <= t [B], the sorted pair of two uniforms."""
    r, t = (sent(times, batch.data) for times in batch.drawn(intervals, generator, 0.0, 1.0, equal_share))
    return noised(batch.data, batch.noise(generator), t, batch.sample).x_t, r, t
