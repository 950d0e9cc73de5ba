"""Integration of dx/dt = v(x, t) from t down to r, each sample over its own interval: flow maps, average velocities
(docs/methods.md 0 and 7) and samples."""

from __future__ import annotations

import torch
from torch import Tensor

from occflow.flow.path import Velocity, per_row

METHODS = {"euler": 1, "heun": 2}  # velocity evaluations a step; also the order of the error
MIN_INTERVAL = 1e-3  # below it (x_t - x_r) / (t - r) loses its digits in float32: u is taken as v(x_t, t)


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


def mean_velocity(velocity: Velocity, x_t: Tensor, r: Tensor, t: Tensor, sample: Tensor, steps: int,
                  method: str = "euler") -> Tensor:
    """u(x_t, r, t) = (x_t - x_r) / (t - r) [N, C], with x_r by `steps` solver steps; v(x_t, t) where r = t."""
    row_r, row_t = per_row(r, sample), per_row(t, sample)
    if bool((t - r < MIN_INTERVAL).all()):
        return velocity(x_t, t)
    x_r = integrate(velocity, x_t, r, t, sample, steps, method)
    average = (x_t - x_r) / (row_t - row_r).clamp(min=MIN_INTERVAL)
    if bool((t - r < MIN_INTERVAL).any()):
        average = torch.where(row_t - row_r < MIN_INTERVAL, velocity(x_t, t), average)
    return average


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
