"""The straight path between data and noise (Lipman et al., arXiv 2210.02747; docs/methods.md 0)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from occflow.flow.share import Share

Velocity = Callable[[Tensor, Tensor], Tensor]
"""v(x [N, C], t [B]) -> [N, C]: a velocity field with its condition and sample index bound."""

AverageVelocity = Callable[[Tensor, Tensor, Tensor], Tensor]
"""u(x [N, C], r [B], t [B]) -> [N, C]: an average velocity with its condition and sample index bound."""


@dataclass(frozen=True)
class PathSample:
    """A point of the path: state x_t [N, C], its conditional velocity eps - x [N, C], times t [B]."""

    x_t: Tensor
    velocity: Tensor
    t: Tensor


def per_row(values: Tensor, sample: Tensor) -> Tensor:
    """Values a sample [B] -> values a row [N, 1]."""
    return values[sample][:, None]


def noised(data: Tensor, noise: Tensor, t: Tensor, sample: Tensor) -> PathSample:
    """x_t = (1 - t) x + t eps for data and noise [N, C], times [B] and sample index [N]."""
    row_t = per_row(t, sample)
    return PathSample((1 - row_t) * data + row_t * noise, noise - data, t)


def data_prediction(x_t: Tensor, velocity: Tensor, t: Tensor, sample: Tensor) -> Tensor:
    """The posterior mean E[x | x_t] = x_t - t v (docs/methods.md 0)."""
    return x_t - per_row(t, sample) * velocity


def flow_matching_loss(velocity: Velocity, data: Tensor, t: Tensor, sample: Tensor, generator: torch.Generator,
                       weight: Tensor | None = None, rows: Share | None = None) -> Tensor:
    """Conditional flow matching E || w (v(x_t, t) - (eps - x)) ||^2 (arXiv 2210.02747, eq. 9); scalar.

    Args:
        data: [N, C]; t: [B]; sample: [N]; weight: [N, C] or None, multiplies the squared error.
        rows: what N are of a batch that several processes share; None: all.
    """
    rows = rows or Share.whole(len(data))
    point = noised(data, rows.noise(data.shape[1], generator, data), t, sample)
    error = (velocity(point.x_t, t) - point.velocity) ** 2
    return rows.mean(error if weight is None else weight * error)
