"""The three identities of a flow map, each as a target for u(x_t, r, t) (docs/methods.md 0 and 2).

A target equals u exactly where u is the average velocity of the given field.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.func import jvp

from occflow.flow.path import AverageVelocity, Velocity, per_row

DERIVATIVES = ("forward", "central")
CENTRAL_STEP = 5e-3  # float32: error some 4e-5; smaller steps lose digits, larger ones curvature


def directional_derivative(function: Callable[..., Tensor], inputs: Sequence[Tensor], tangents: Sequence[Tensor],
                           mode: str = "forward") -> tuple[Tensor, Tensor]:
    """f(inputs) and its derivative along the tangents, both differentiable in the parameters of f.

    In mode "forward" that holds if f consists of operations whose forward-mode derivative torch differentiates in turn.
    It does not of all, and is silent where it does not: `nn.LayerNorm` is one, for which occflow.sparse.layers has
    another. A new kind of layer belongs into a test against central differences (tests/sparse/test_derivatives.py).

    Args:
        mode: "forward" (exact, about two evaluations) or "central" (differences, three evaluations).
    """
    if mode == "forward":
        return jvp(function, tuple(inputs), tuple(tangents))
    if mode != "central":
        raise ValueError(f"unknown derivative '{mode}': use {' or '.join(DERIVATIVES)}")
    ahead, behind = (function(*(x + sign * CENTRAL_STEP * d for x, d in zip(inputs, tangents))) for sign in (1, -1))
    return function(*inputs), (ahead - behind) / (2 * CENTRAL_STEP)


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
