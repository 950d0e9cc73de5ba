"""The three identities of a flow map, each as a target for u(x_t, r, t) (docs/methods.md 0 and 2).

A target equals u exactly where u is the average velocity of the given field.
"""

from __future__ import annotations

import torch
from torch import Tensor

from occflow.flow.derivative import directional_derivative
from occflow.flow.path import AverageVelocity, Velocity, per_row


def eulerian_target(average: AverageVelocity, velocity: Tensor, x_t: Tensor, r: Tensor, t: Tensor, sample: Tensor,
                    mode: str = "forward") -> Tensor:
    """v - (t - r) d/dt u(x_t, r, t) [N, C], tangent (v, 0, 1) (MeanFlow, arXiv 2505.13447, eq. 6).

    Args:
        velocity: v [N, C] at (x_t, t): a teacher's, or eps - x of a data point.
    """
    tangents = (velocity, torch.zeros_like(r), torch.ones_like(t))
    _, change = directional_derivative(average, (x_t, r, t), tangents, mode)
    return velocity - per_row(t - r, sample) * change


def terminal_velocity(average: AverageVelocity, x_t: Tensor, r: Tensor, t: Tensor, sample: Tensor,
                      mode: str = "forward") -> tuple[Tensor, Tensor, Tensor]:
    """u, the end point x_r, and the velocity u - (t - r) d/dr u with which it moves in r; [N, C] each."""
    tangents = (torch.zeros_like(x_t), torch.ones_like(r), torch.zeros_like(t))
    value, change = directional_derivative(average, (x_t, r, t), tangents, mode)
    span = per_row(t - r, sample)
    return value, x_t - span * value, value - span * change


def lagrangian_target(average: AverageVelocity, velocity: Velocity, x_t: Tensor, r: Tensor, t: Tensor,
                      sample: Tensor, mode: str = "forward") -> Tensor:
    """v(x_r, r) + (t - r) d/dr u(x_t, r, t) [N, C], x_r = x_t - (t - r) u (arXiv 2406.07507)."""
    value, x_r, moving = terminal_velocity(average, x_t, r, t, sample, mode)
    return velocity(x_r, r) + value - moving


def semigroup_target(average: AverageVelocity, x_t: Tensor, r: Tensor, q: Tensor, t: Tensor, sample: Tensor) -> Tensor:
    """The two jumps t -> q -> r as one average velocity [N, C], r <= q <= t (Shortcut, SplitMeanFlow); r < t."""
    first = average(x_t, q, t)
    second = average(x_t - per_row(t - q, sample) * first, r, q)
    share = per_row((t - q) / (t - r), sample)
    return share * first + (1 - share) * second
