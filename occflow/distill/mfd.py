"""Mean Flow Distillation (arXiv 2606.11155; DISTILLATION section 7); r = t makes it VSD / Diff-Instruct."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from occflow.distill.protocol import Batch, Networks
from occflow.flow.mean_velocity import mean_velocity
from occflow.flow.path import flow_matching_loss, noised, per_row
from occflow.flow.times import intervals, uniform

MIN_TIME, MAX_TIME = 0.02, 0.999  # DISTILLATION section 14: velocities are ill-conditioned at the very ends


@dataclass(frozen=True)
class MeanFlowDistillation:
    """Match the mean velocities of the student's samples to the teacher's over random intervals.

    Args:
        steps: solver steps a mean velocity.
        solver: "euler" or "heun".
        equal_share: probability of r = t; 1 gives VSD.
        normalise: divide each sample's gradient by its mean distance to the teacher's data prediction,
            as DMD does (arXiv 2311.18828, eq. 8), so that noisy times do not drown the others.
    """

    steps: int = 3
    solver: str = "euler"
    equal_share: float = 0.0
    normalise: bool = True

    def auxiliary_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """Flow matching on fresh student samples: E || v_P(x_t, t) - (eps' - G(eps)) ||^2, t ~ U(0, 1)."""
        with torch.no_grad():
            samples = networks.student(batch.noise(generator))
        t = uniform(batch.num_samples, generator, MIN_TIME, MAX_TIME).to(samples.device)
        return flow_matching_loss(networks.auxiliary, samples, t, batch.sample, generator, batch.weight)

    def student_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """mean((u_Q - u_P).detach() * x_t): its gradient in the samples is (u_Q - u_P) (1 - t).

        The Jacobian of the integration is dropped, which is not only cheaper but necessary (DISTILLATION 7a).
        """
        samples = networks.student(batch.noise(generator))
        r, t = (times.to(samples.device) for times in
                intervals(batch.num_samples, generator, MIN_TIME, MAX_TIME, self.equal_share))
        x_t = noised(samples, batch.noise(generator), t, batch.sample).x_t
        direction = self.direction(networks, batch, x_t.detach(), samples.detach(), r, t)
        return (direction * x_t).mean()

    @torch.no_grad()
    def direction(self, networks: Networks, batch: Batch, x_t: Tensor, samples: Tensor, r: Tensor,
                  t: Tensor) -> Tensor:
        """u_Q(x_t, r, t) - u_P(x_t, r, t) [N, C], weighted and normalised as configured."""
        teacher = mean_velocity(networks.teacher, x_t, r, t, batch.sample, self.steps, self.solver)
        auxiliary = mean_velocity(networks.auxiliary, x_t, r, t, batch.sample, self.steps, self.solver)
        direction = teacher - auxiliary
        if self.normalise:
            distance = samples - (x_t - per_row(t, batch.sample) * teacher)
            direction = direction / per_row(sample_mean(distance.abs(), batch), batch.sample).clamp(min=1e-3)
        return direction if batch.weight is None else direction * batch.weight


def sample_mean(values: Tensor, batch: Batch) -> Tensor:
    """Mean over the rows and channels of each sample: [N, C] -> [B]."""
    totals = values.new_zeros(batch.num_samples).index_add(0, batch.sample, values.mean(1))
    counts = values.new_zeros(batch.num_samples).index_add(0, batch.sample, torch.ones_like(values[:, 0]))
    return totals / counts.clamp(min=1)
