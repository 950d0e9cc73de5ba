"""Sampling with an average velocity in a few steps."""

from __future__ import annotations

from torch import Tensor

from occflow.flow.path import AverageVelocity
from occflow.flow.solvers import time_grid


def sample_jumps(average: AverageVelocity, noise: Tensor, num_samples: int, steps: int) -> Tensor:
    """Data [N, C] from noise [N, C] by `steps` jumps x_r = x_t - (t - r) u(x_t, r, t); for learned flow maps."""
    x, grid = noise, time_grid(steps).to(noise)
    for t, r in zip(grid[:-1], grid[1:]):
        x = x - (t - r) * average(x, r.expand(num_samples), t.expand(num_samples))
    return x


def sample_renoised(average: AverageVelocity, noise: list[Tensor], num_samples: int) -> Tensor:
    """Data [N, C] by as many steps as there are noises [N, C]: to the end, back to a smaller t with fresh noise, and
    again (consistency models, arXiv 2303.01469, alg. 1); for networks that know u(x, 0, t) alone."""
    x, grid = noise[0], time_grid(len(noise)).to(noise[0])
    for index, t in enumerate(grid[:-1]):
        x_t = x if index == 0 else (1 - t) * x + t * noise[index]
        x = x_t - t * average(x_t, (0 * t).expand(num_samples), t.expand(num_samples))
    return x
