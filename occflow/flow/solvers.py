"""Integration of dx/dt = v(x, t) from t down to r, each sample over its own interval."""

from __future__ import annotations

import torch
from torch import Tensor

from occflow.flow.path import Velocity, per_row

METHODS = {"euler": 1, "heun": 2}  # velocity evaluations a step; also the order of the error


def integrate(velocity: Velocity, x: Tensor, r: Tensor, t: Tensor, sample: Tensor, steps: int,
              method: str = "euler") -> Tensor:
    """The flow map from t to r: x_r [N, C] for states x = x_t [N, C].

    Args:
        r, t: [B] ends of each sample's interval; sample: [N]; steps: equal steps on it.
        method: "euler" (one evaluation a step) or "heun" (two, second order).
    """
    if method not in METHODS:
        raise ValueError(f"unknown solver '{method}': use {' or '.join(METHODS)}")
    step = (t - r) / steps
    row_step = per_row(step, sample)
    for index in range(steps):
        now = t - index * step
        slope = velocity(x, now)
        if method == "heun":
            slope = (slope + velocity(x - row_step * slope, now - step)) / 2
        x = x - row_step * slope
    return x


def time_grid(steps: int, shift: float = 1.0) -> Tensor:
    """[steps + 1] times from 1 down to 0; shift > 1 spends more steps near noise: s t / (1 + (s - 1) t)
    (Esser et al., arXiv 2403.03206, eq. 23)."""
    t = torch.linspace(1.0, 0.0, steps + 1)
    return shift * t / (1 + (shift - 1) * t)


def sample_flow(velocity: Velocity, noise: Tensor, sample: Tensor, num_samples: int, steps: int,
                method: str = "euler", shift: float = 1.0) -> Tensor:
    """Data [N, C] from noise [N, C] by `steps` solver steps over a (shifted) grid of times."""
    grid = time_grid(steps, shift).to(noise)
    x = noise
    for t, r in zip(grid[:-1], grid[1:]):
        x = integrate(velocity, x, r.expand(num_samples), t.expand(num_samples), sample, 1, method)
    return x
