"""What the losses of methods are built of: means by sample, and the regression of those that learn a flow map; the
auxiliary's loss and the student's surrogate of those that match distributions."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from occflow.distill.protocol import Batch, Networks, PlainNetworks
from occflow.flow.path import flow_matching_loss, noised, per_row
from occflow.flow.sending import sent
from occflow.flow.solvers import sample_renoised
from occflow.flow.times import uniform

MIN_TIME, MAX_TIME = 0.02, 0.999  # docs/methods.md 14: velocities are ill-conditioned at the very ends

Direction = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(x_t [N, C], r [B], t [B]) -> the teacher's and the auxiliary's (average) velocity there, [N, C] each. The times are
in the host's memory, where it costs nothing to look at them."""


def sample_mean(values: Tensor, batch: Batch) -> Tensor:
    """Mean over the rows and channels of each sample: [N, C] -> [B]."""
    return region_mean(values.mean(1), batch.sample, batch.num_samples)


def region_mean(values: Tensor, region: Tensor, count: int) -> Tensor:
    """Mean over the rows of each region [count], of values [N] in regions [N]; 0 of one without rows."""
    totals = values.new_zeros(count).index_add(0, region, values)
    counts = values.new_zeros(count).index_add(0, region, torch.ones_like(values))
    return totals / counts.clamp(min=1)


def regression_loss(predicted: Tensor, target: Tensor, batch: Batch, power: float = 0.0,
                    constant: float = 1e-2) -> Tensor:
    """Mean over samples of e / sg(e + constant)^power, e the sample's mean squared error (arXiv 2505.13447, eq. 22).

    The target is held fixed. power 0 is the plain squared error; 1 makes samples with large errors count alike.
    """
    squared = (predicted - target.detach()) ** 2
    error = sample_mean(squared if batch.weight is None else squared * batch.weight, batch)
    return batch.samples.mean(error / (error.detach() + constant) ** power)


class WithAuxiliary(PlainNetworks):
    """Mixin of the methods whose auxiliary learns the velocity of the student's samples.

    `student_steps` is how many steps the student takes to one; a method may have it as an option.
    """

    needs_auxiliary: ClassVar[bool] = True
    student_steps = 1

    def samples(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """Fresh samples of the student [N, C], with a gradient through its last step.

        The steps before are its own too, renoised as when it is asked for a forecast, so that the last one is trained
        on the states that it will meet, not on noised data (docs/methods.md 7e).
        """
        noise = [batch.noise(generator) for _ in range(self.student_steps)]
        if self.student_steps == 1:
            return networks.student(noise[0])
        return sample_renoised(networks.average, noise, batch.num_samples, last_alone=True)

    def auxiliary_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """Flow matching on fresh student samples: E || v_P(x_t, t) - (eps' - G(eps)) ||^2, t ~ U(0, 1)."""
        with torch.no_grad():
            samples = self.samples(networks, batch, generator)
        return auxiliary_loss_of(samples, networks, batch, generator)


def auxiliary_loss_of(samples: Tensor, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
    """Flow matching of the auxiliary on given samples [N, C]."""
    t = sent(batch.drawn(uniform, generator, MIN_TIME, MAX_TIME), samples.device)
    return flow_matching_loss(networks.auxiliary, samples, t, batch.sample, generator, batch.weight, batch.rows)


def surrogate(samples: Tensor, batch: Batch, generator: torch.Generator,
              times: Callable[[], tuple[Tensor, Tensor]], velocities: Direction, normalise: bool,
              draws: int = 1) -> Tensor:
    """mean((u_Q - u_P).detach() * x_t) over `draws` of (r, t, eps'): its gradient in the samples is
    (u_Q - u_P) (1 - t). `times` draws r and t [B]."""
    total = samples.new_zeros(())
    for _ in range(draws):
        r, host_t = times()
        t = sent(host_t, samples.device)
        x_t = noised(samples, batch.noise(generator), t, batch.sample).x_t
        with torch.no_grad():
            teacher, auxiliary = velocities(x_t.detach(), r, host_t)
            direction = weighted(teacher, auxiliary, x_t, samples, t, batch, normalise)
        total = total + batch.rows.mean(direction * x_t)
    return total / draws


def weighted(teacher: Tensor, auxiliary: Tensor, x_t: Tensor, samples: Tensor, t: Tensor, batch: Batch,
             normalise: bool) -> Tensor:
    """u_Q - u_P [N, C], or what DMD makes of it if `normalise`; times the batch's weight.

    DMD (arXiv 2311.18828, eq. 7 and 8) takes a difference of data predictions, divided by the sample's mean distance to
    the teacher's: (D_P - D_Q) / mean|x - D_Q|, with D = x_t - t v; the path's (1 - t) follows from x_t. In velocities,
    D_P - D_Q = t (v_Q - v_P), and x - D_Q = t (v_Q - (eps - x)): the factor t cancels, and small times count no more
    than others. An average velocity over [r, t] predicts D = x_t - t u: where the straight line of that slope ends. At
    r = t that is DMD's, at r = 0 the end of the flow itself, and at any r the quotient has no unit.
    """
    direction = teacher - auxiliary
    if normalise:
        row_t = per_row(t, batch.sample)
        distance = samples - (x_t - row_t * teacher)
        share = row_t / per_row(sample_mean(distance.abs(), batch), batch.sample).clamp(min=1e-3)
        direction = direction * share
    return direction if batch.weight is None else direction * batch.weight
