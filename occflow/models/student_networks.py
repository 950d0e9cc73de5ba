"""Students with parts of their own around the teacher's network: what a posterior is conditioned on, a light head, a
critic. All start at the teacher; the base is a `VelocityNetwork`, or a toy's network with the same methods."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from occflow.errors import InputError
from occflow.flow.closed_form import unit_gaussian_factor
from occflow.flow.path import AverageVelocity, per_row
from occflow.flow.posterior import joined, joined_share, unit_gaussian_posterior, unit_gaussian_transition
from occflow.flow.solvers import following_noise, sample_jumps, sample_renoised, sample_resampled
from occflow.sparse.layers import FourierEmbedding, LayerNorm, zero_initialised


class PosteriorNetwork(nn.Module):
    """u(y, r, s | x_t, t): one-step samples of what a noised state x_t leaves open (Meta Flow Maps).

    The base is asked at the one point that tells what y and x_t tell together (flow.posterior), and is shown both
    besides, by layers that start at zero: the untrained network has the teacher's exact posterior velocity at r = s.
    With nothing decided (t = 1) it is an average velocity like any other student's.
    """

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.pair = zero_initialised(nn.Linear(2 * base.state_channels, base.width))
        self.times = nn.ModuleList(FourierEmbedding(base.embedding_channels) for _ in range(2))
        self.timed = zero_initialised(nn.Linear(base.embedding_channels, base.width))

    def forward(self, x: Tensor, r: Tensor, t: Tensor, *context) -> Tensor:
        """u(x, r, t) [N, C] with nothing decided."""
        return self.posterior(x, r, t, torch.zeros_like(x), torch.ones_like(t), *context)

    def posterior(self, y: Tensor, r: Tensor, s: Tensor, x_t: Tensor, t: Tensor, *context) -> Tensor:
        """u(y, r, s | x_t, t) [N, C]; y and x_t [N, C], r, s and t [B]."""
        sample = self.base.sample_of(y, *context)
        (point, time), share = joined(y, s, x_t, t, sample), joined_share(s, t)
        row_r, row_s, row_t = (per_row(values, sample) for values in (r, s, t))
        timed = self.timed(self.times[0](s) + self.times[1](t))[sample]
        shown = self.pair(torch.cat([y, (1 - row_t) * x_t], dim=1)) + timed
        features = self.base.features(point, r * share, time, *context, shown=shown)
        exact = unit_gaussian_posterior(x_t, row_t).mean_velocity(y, row_r, row_s)
        return exact + per_row(share, sample) * self.base.out(features)

    def record(self) -> dict:
        return {"kind": "posterior"}


class TransitionNetwork(nn.Module):
    """The heavy base once a step, then a light head in a few inner steps (Transition Matching Distillation).

    The head moves noise n to a sample of v = eps - x given x_t; the step is x_r = x_t - (t - r) v. Untrained, v is
    Gaussian about the teacher's velocity, with the spread that it has where data are N(0, I).

    Args:
        blocks: of the head, on the finest level.
        inner_steps: of the head where the network is used as an average velocity.
    """

    def __init__(self, base: nn.Module, blocks: int = 1, inner_steps: int = 2) -> None:
        super().__init__()
        self.base, self.inner_steps = base, inner_steps
        self.join = nn.Linear(base.state_channels + base.width, base.width)
        self.time, self.interval = (FourierEmbedding(base.embedding_channels) for _ in range(2))
        self.blocks = base.new_blocks(blocks)
        self.norm, self.out = LayerNorm(base.width), zero_initialised(nn.Linear(base.width, base.state_channels))

    def forward(self, x: Tensor, r: Tensor, t: Tensor, *context) -> Tensor:
        """A velocity [N, C] sampled at (x, t) by `inner_steps` steps, whatever r; its noise follows from x."""
        return self.sampled(x, t, self.inner_steps, *context)

    def sampled(self, x: Tensor, t: Tensor, steps: int, *context) -> Tensor:
        """A sample of v = eps - x given x_t [N, C] by `steps` inner steps; the noise follows from x_t."""
        return sample_jumps(self.transition(x, t, *context), following_noise(x, 1)[0], len(t), steps)

    def transition(self, x_t: Tensor, t: Tensor, *context) -> AverageVelocity:
        """u(w, r, s) of the inner flow; the base is run once, here."""
        sample = self.base.sample_of(x_t, *context)
        features = self.base.features(x_t, t, t, *context)
        mean = per_row(unit_gaussian_factor(t, t), sample) * x_t + self.base.out(features)
        start = unit_gaussian_transition(mean, per_row(t, sample))

        def average(w: Tensor, r: Tensor, s: Tensor) -> Tensor:
            row_r, row_s = per_row(r, sample), per_row(s, sample)
            mixed = self.join(torch.cat([w - (1 - row_s) * mean, features], dim=1))
            embedding = self.time(s) + self.interval(s - r)
            mixed = self.norm(self.base.run_blocks(self.blocks, mixed, embedding, *context))
            return start.mean_velocity(w, row_r, row_s) + self.out(mixed)

        return average

    def record(self) -> dict:
        return {"kind": "transition", "blocks": len(self.blocks), "inner_steps": self.inner_steps}


class CriticNetwork(nn.Module):
    """An auxiliary velocity whose features also tell true points from the student's (DMD2, arXiv 2405.14867)."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.head = nn.Sequential(nn.Linear(base.width, base.width), nn.GELU(), nn.Linear(base.width, 1))

    def forward(self, x: Tensor, r: Tensor, t: Tensor, *context) -> Tensor:
        """The velocity or average velocity of the base."""
        return self.base(x, r, t, *context)

    def logits(self, x: Tensor, t: Tensor, *context) -> Tensor:
        """How true each row of x_t looks, [N]: above 0 where it is taken for a row of the data."""
        return self.head(self.base.features(x, t, t, *context))[:, 0]


KINDS = {"posterior": PosteriorNetwork, "transition": TransitionNetwork, "critic": CriticNetwork}


def around(base: nn.Module, record: Mapping | None) -> nn.Module:
    """The base with the parts that a record {"kind": NAME, options} asks for; the base itself without one.

    Raises:
        InputError: no such kind, or options that it does not have.
    """
    if record is None:
        return base
    options = {name: value for name, value in record.items() if name != "kind"}
    try:
        return KINDS[record["kind"]](base, **options)
    except (KeyError, TypeError):
        raise InputError(f"student network: {dict(record)} is unknown; kinds are {', '.join(KINDS)}") from None


def sample_student(network: nn.Module, noise: Tensor, num_samples: int, steps: int, few_steps: str, *context) -> Tensor:
    """Data [N, C] of noise [N, C] by a student in `steps` steps of the kind that its method allows.

    Args:
        few_steps: one of occflow.distill.protocol.FEW_STEPS; "none" is taken as "jumps".
    """
    if few_steps == "inner":
        return noise - network.sampled(noise, noise.new_ones(num_samples), steps, *context)

    def average(x: Tensor, r: Tensor, t: Tensor) -> Tensor:
        return network(x, r, t, *context)

    if few_steps in ("none", "jumps"):
        return sample_jumps(average, noise, num_samples, steps)
    noises = [noise, *following_noise(noise, steps - 1)]
    if few_steps == "renoised":
        return sample_renoised(average, noises, num_samples)
    return sample_resampled(lambda *inputs: network.posterior(*inputs, *context), noises, num_samples)
