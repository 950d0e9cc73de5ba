"""Distribution matching distillation, with DMD2's adversarial head (docs/methods.md 6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from occflow.distill.losses import MAX_TIME, MIN_TIME, auxiliary_loss_of
from occflow.distill.protocol import Batch, Networks
from occflow.distill.vsd import VariationalScoreDistillation
from occflow.flow.path import noised
from occflow.flow.sending import sent
from occflow.flow.times import uniform


@dataclass(frozen=True)
class DistributionMatching(VariationalScoreDistillation):
    """DMD2 (arXiv 2405.14867): VSD with DMD's normaliser and, if asked for, a critic on the auxiliary's features that
    tells noised data from noised samples. Only the critic sees data.

    Args:
        adversarial: weight of the student's loss against the critic; 0 leaves the critic out. Published: 1e-3 to 5e-3.
        critic: weight of the critic's loss beside the auxiliary's. Published: 1e-2.
    """

    normalise: bool = True
    adversarial: float = 0.0
    critic: float = 1e-2

    @property
    def needs_data(self) -> bool:
        return self.adversarial > 0

    @property
    def auxiliary_network(self) -> Mapping | None:
        return {"kind": "critic"} if self.adversarial > 0 else None

    def student_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """VSD's, plus E softplus(-D(x_t)) over the rows of the student's noised samples."""
        samples = self.samples(networks, batch, generator)
        loss = self.loss_of(samples, networks, batch, generator)
        if self.adversarial == 0:
            return loss
        return loss + self.adversarial * batch.rows.mean(softplus(-self.logits(samples, networks, batch, generator)))

    def auxiliary_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """Flow matching on the student's samples, plus the critic's E softplus(D(fake)) + softplus(-D(true))."""
        with torch.no_grad():
            samples = self.samples(networks, batch, generator)
        loss = auxiliary_loss_of(samples, networks, batch, generator)
        if self.adversarial == 0:
            return loss
        fake, true = (self.logits(points, networks, batch, generator) for points in (samples, batch.data))
        return loss + self.critic * batch.rows.mean(softplus(fake) + softplus(-true))

    def logits(self, points: Tensor, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """The critic at the noised points, [N]."""
        t = sent(batch.drawn(uniform, generator, MIN_TIME, MAX_TIME), points.device)
        return networks.critic(noised(points, batch.noise(generator), t, batch.sample).x_t, t)
