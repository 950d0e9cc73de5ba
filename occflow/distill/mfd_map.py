"""Mean Flow Distillation by maps in place of integration: one evaluation a mean velocity (docs/methods.md 7c)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from occflow.distill.losses import MAX_TIME, MIN_TIME, regression_loss
from occflow.distill.mfd import IntervalMatching
from occflow.distill.protocol import Batch, Networks
from occflow.flow.identities import semigroup_target
from occflow.flow.path import noised
from occflow.flow.sending import sent
from occflow.flow.solvers import MIN_INTERVAL
from occflow.flow.times import between, intervals, uniform


@dataclass(frozen=True)
class MappedMeanFlowDistillation(IntervalMatching):
    """MFD with a frozen map of the teacher for u_Q, and an auxiliary that is a flow map too for u_P, which starts at
    the teacher's map: before any update the two agree.

    Args:
        auxiliary_equal_share: share of the auxiliary's samples that teach it velocities, r = t; the others that two
            jumps equal one.
    """

    auxiliary_equal_share: float = 0.5
    needs_map: ClassVar[bool] = True

    def mean_velocities(self, networks: Networks, batch: Batch, x_t: Tensor, r: Tensor, t: Tensor
                        ) -> tuple[Tensor, Tensor]:
        """u_Q(x_t, r, t) and u_P(x_t, r, t), [N, C] each."""
        r, t = sent(r, x_t.device), sent(t, x_t.device)
        return networks.teacher_map(x_t, r, t), networks.auxiliary_map(x_t, r, t)

    def auxiliary_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """On fresh student samples: E || u_P(x_t, t, t) - (eps' - G(eps)) ||^2, or at r < t
        E || u_P(x_t, r, t) - sg(two jumps through a uniform q) ||^2."""
        with torch.no_grad():
            samples = self.samples(networks, batch, generator)
        r, t = batch.drawn(intervals, generator, MIN_TIME, MAX_TIME, self.auxiliary_equal_share)
        place = batch.drawn(uniform, generator)
        equal = t - r < MIN_INTERVAL
        closed = bool(equal.all())  # in the host's memory: costs nothing to look at
        r, t, equal = (sent(one, samples.device) for one in (torch.where(equal, t, r), t, equal))
        point = noised(samples, batch.noise(generator), t, batch.sample)
        target = point.velocity
        if not closed:
            open_r = torch.where(equal, t - MIN_INTERVAL, r)  # keeps the rows that are not used finite
            with torch.no_grad():
                jumps = semigroup_target(networks.auxiliary_map, point.x_t, open_r, between(open_r, t, place), t,
                                         batch.sample)
            target = torch.where(equal[batch.sample][:, None], target, jumps)
        return regression_loss(networks.auxiliary_map(point.x_t, r, t), target, batch)
