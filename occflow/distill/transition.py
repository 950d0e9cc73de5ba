"""Transition Matching Distillation: the heavy network once, a light head in a few inner steps (arXiv 2601.09881)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from occflow.distill.losses import WithAuxiliary
from occflow.distill.mean_flow import MeanFlow
from occflow.distill.protocol import Batch, Networks
from occflow.distill.vsd import VariationalScoreDistillation
from occflow.flow.posterior import transition_velocity


@dataclass(frozen=True)
class TransitionMatching(WithAuxiliary):
    """One outer step from noise: the head learns the flow from noise to p(v | x_1), v = eps - x, by MeanFlow (the
    derivative passes through the head alone), then the samples are aligned by VSD through all inner steps.

    Args:
        head_blocks, inner_steps: of the head; more inner steps can be asked for when it is sampled.
        warmup: share of the updates before the alignment begins.
        alignment: weight of VSD after it; the head's objective stays.
        from_data: use n - v of the data as published; else the teacher's exact velocity of the inner flow.
        equal_share, time_mean, time_scale, power, derivative: of `MeanFlow`.
    """

    head_blocks: int = 1
    inner_steps: int = 2
    warmup: float = 0.4
    alignment: float = 0.5
    from_data: bool = False
    equal_share: float = 0.25
    time_mean: float = 0.0
    time_scale: float = 1.6
    power: float = 0.5
    derivative: str = "forward"
    few_steps: ClassVar[str] = "inner"
    needs_data: ClassVar[bool] = True

    @property
    def student_network(self) -> Mapping | None:
        return {"kind": "transition", "blocks": self.head_blocks, "inner_steps": self.inner_steps}

    def student_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """The head's objective, and VSD after the warm-up."""
        loss = self.head_loss(networks, batch, generator)
        if batch.progress < self.warmup or self.alignment == 0:
            return loss
        aligned = VariationalScoreDistillation(normalise=True).student_loss(networks, batch, generator)
        return loss + self.alignment * aligned

    def head_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """MeanFlow on w_s = (1 - s) v + s n with x_1 = eps given."""
        noise, sample = batch.noise(generator).to(batch.data), batch.sample
        t = batch.data.new_ones(batch.num_samples)
        inner = Networks(lambda w, s: transition_velocity(networks.teacher, w, s, noise, t, sample), None, None,
                         networks.transition(noise, t))
        objective = MeanFlow(self.from_data, self.equal_share, self.time_mean, self.time_scale, self.power,
                             self.derivative)
        return objective.student_loss(inner, replace(batch, data=noise - batch.data), generator)
