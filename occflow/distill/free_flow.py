"""FreeFlow: a flow map learned from the prior alone, predictor and corrector (arXiv 2511.19428)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from occflow.distill.losses import WithAuxiliary, regression_loss
from occflow.distill.protocol import Batch, Networks
from occflow.distill.vsd import VariationalScoreDistillation
from occflow.flow.identities import lagrangian_target
from occflow.flow.sending import sent
from occflow.flow.times import uniform


@dataclass(frozen=True)
class FreeFlow(WithAuxiliary):
    """The Lagrangian identity on paths that start at noise, plus VSD against accumulated error. One-step only:
    u is learned at t = 1. It needs conditions, no true future.

    Args:
        correction: weight of VSD; 0 leaves the predictor alone.
        power: of the predictor's adaptive weight; 1 was decisive with the correction (docs/methods.md 8).
        derivative: "forward" or "central"; the direction is a single scalar.
    """

    correction: float = 0.3
    power: float = 1.0
    derivative: str = "forward"
    few_steps: ClassVar[str] = "none"
    needs_data: ClassVar[bool] = False

    def student_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """E || u(z, r, 1) - sg(v_Q(x_r, r) + (1 - r) d/dr u) ||^2, z ~ N(0, I), plus the correction."""
        noise = batch.noise(generator)
        r = sent(batch.drawn(uniform, generator), noise)
        t = torch.ones_like(r)
        with torch.no_grad():
            target = lagrangian_target(networks.average, networks.teacher, noise, r, t, batch.sample, self.derivative)
        loss = regression_loss(networks.average(noise, r, t), target, batch, self.power)
        if self.correction == 0:
            return loss
        corrected = VariationalScoreDistillation(normalise=True).student_loss(networks, batch, generator)
        return loss + self.correction * corrected
