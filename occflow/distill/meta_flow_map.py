"""Meta Flow Maps: one-step samples of what a noised, partly decided future leaves open (arXiv 2601.14430)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from occflow.distill.flow_maps import LagrangianMap
from occflow.distill.protocol import Batch, Networks
from occflow.flow.path import noised
from occflow.flow.posterior import MIN_TIME, posterior_velocity
from occflow.flow.sending import sent
from occflow.flow.times import uniform


@dataclass(frozen=True)
class MetaFlowMap(LagrangianMap):
    """The Lagrangian objective on the flow from noise to p(x | x_t), whose exact velocity is one evaluation of the
    teacher (flow.posterior). A flow map of every x_t at once; at t = 1 it is the map of `LagrangianMap`.

    Args:
        warmup: share of the updates in which nothing is decided, t = 1.
        open_share: probability of t = 1 after it; else t is uniform.
    """

    warmup: float = 0.2
    open_share: float = 0.3
    few_steps: ClassVar[str] = "resampled"
    student_network: ClassVar[Mapping | None] = {"kind": "posterior"}

    def student_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """E || u(y_s, r, s | x_t) - sg(b(y_r, r | x_t) + (s - r) d/dr u) ||^2, y_s and x_t of one data point."""
        t, sample = self.times(batch, generator), batch.sample
        x_t = noised(batch.data, batch.noise(generator), t, sample).x_t
        inner = Networks(lambda y, s: posterior_velocity(networks.teacher, y, s, x_t, t, sample), None, None,
                         lambda y, r, s: networks.posterior(y, r, s, x_t, t))
        return super().student_loss(inner, batch, generator)

    def times(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """t [B] of the decided point."""
        t = batch.drawn(uniform, generator, MIN_TIME)
        nothing_decided = batch.drawn(uniform, generator) < self.open_share
        if batch.progress < self.warmup:
            nothing_decided = torch.ones_like(nothing_decided)
        return sent(t.masked_fill(nothing_decided, 1.0), batch.data)
