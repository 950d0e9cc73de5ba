"""Average velocities over an interval, by integration (docs/methods.md 0 and 7)."""

from __future__ import annotations

import torch
from torch import Tensor

from occflow.flow.path import Velocity, per_row
from occflow.flow.solvers import integrate

MIN_INTERVAL = 1e-3  # below it (x_t - x_r) / (t - r) loses its digits in float32: u is taken as v(x_t, t)


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


def unit_gaussian_factor(r: Tensor, t: Tensor) -> Tensor:
    """The k in u(x, r, t) = k x when data are N(0, I); at r = t the velocity (2t - 1) / ((1 - t)^2 + t^2).

    From the Gaussian row of docs/methods.md 0, written so that r = t is no special case:
    k = 2 (t + r - 1) / (sd_t (sd_t + sd_r)), sd_t^2 = (1 - t)^2 + t^2.
    """
    std_r, std_t = ((1 - r) ** 2 + r**2).sqrt(), ((1 - t) ** 2 + t**2).sqrt()
    return 2 * (t + r - 1) / (std_t * (std_t + std_r))
