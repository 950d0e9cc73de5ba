"""From noise to data: integration of dx/dt = v(x, t) from t down to r, each sample over its own interval, average
velocities by it (docs/methods.md 0 and 7), and sampling with an average velocity in a few steps."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from occflow.flow.path import AverageVelocity, Velocity, per_row
from occflow.flow.posterior import PosteriorVelocity
from occflow.flow.sending import sent

METHODS = {"euler": 1, "heun": 2, "ralston": 2}  # velocity evaluations a step; also the order of the error
RALSTON = 2 / 3  # of a step: where the second slope of the two-stage method of least error bound is taken
MIN_INTERVAL = 1e-3  # below it (x_t - x_r) / (t - r) loses its digits in float32: u is taken as v(x_t, t)


def integrate(velocity: Velocity, x: Tensor, r: Tensor, t: Tensor, sample: Tensor, steps: int,
              method: str = "euler") -> Tensor:
    """The flow map from t to r: x_r [N, C] for states x = x_t [N, C].

    Args:
        r, t: [B] ends of each sample's interval; sample: [N]; steps: equal steps on it.
        method: "euler" (one evaluation a step), or of second order with two: "heun", whose second one is at the step's
            end, and "ralston" (Ralston 1962), whose second one stays inside the step.
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
        elif method == "ralston":
            inside = velocity(x - RALSTON * row_step * slope, now - RALSTON * step)
            slope = torch.lerp(slope, inside, 1 / (2 * RALSTON))
        x = x - row_step * slope
    return x


def mean_velocity(velocity: Velocity, x_t: Tensor, r: Tensor, t: Tensor, sample: Tensor, steps: int,
                  method: str = "euler") -> Tensor:
    """u(x_t, r, t) = (x_t - x_r) / (t - r) [N, C], with x_r by `steps` solver steps; v(x_t, t) where r = t.

    Of a GPU the call waits where r and t are in its memory, and not where they are in the host's.
    """
    short = (t - r < MIN_INTERVAL).cpu()
    r, t = sent(r, x_t.device), sent(t, x_t.device)
    if short.all():
        return velocity(x_t, t)
    row_r, row_t = per_row(r, sample), per_row(t, sample)
    x_r = integrate(velocity, x_t, r, t, sample, steps, method)
    average = (x_t - x_r) / (row_t - row_r).clamp(min=MIN_INTERVAL)
    if short.any():
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


def sample_jumps(average: AverageVelocity, noise: Tensor, num_samples: int, steps: int) -> Tensor:
    """Data [N, C] from noise [N, C] by `steps` jumps x_r = x_t - (t - r) u(x_t, r, t); for learned flow maps."""
    x, grid = noise, time_grid(steps).to(noise)
    for t, r in zip(grid[:-1], grid[1:]):
        x = x - (t - r) * average(x, r.expand(num_samples), t.expand(num_samples))
    return x


def sample_renoised(average: AverageVelocity, noise: list[Tensor], num_samples: int, last_alone: bool = False
                    ) -> Tensor:
    """Data [N, C] by as many steps as there are noises [N, C]: to the end, back to a smaller t with fresh noise, and
    again (consistency models, arXiv 2303.01469, alg. 1); for networks that know u(x, 0, t) alone.

    Args:
        last_alone: no gradient passes the steps before the last one.
    """
    x, grid = noise[0], time_grid(len(noise)).to(noise[0])
    for index, t in enumerate(grid[:-1]):
        x_t = x if index == 0 else (1 - t) * x + t * noise[index]
        with torch.set_grad_enabled(torch.is_grad_enabled() and (not last_alone or index == len(noise) - 1)):
            x = x_t - t * average(x_t, (0 * t).expand(num_samples), t.expand(num_samples))
    return x


def following_noise(noise: Tensor, count: int) -> list[Tensor]:
    """`count` more noises [N, C], a function of the given one: samples stay a function of their seed alone.

    All of its bits are hashed to a seed of 128, and numpy draws: torch's generator on CPUs takes 32 bits of any seed.
    """
    content = noise.detach().cpu().contiguous().view(torch.uint8).numpy()
    seed = int.from_bytes(hashlib.blake2b(content, digest_size=16).digest(), "little")
    generator = np.random.default_rng(seed)
    return [torch.from_numpy(generator.standard_normal(noise.shape, np.float32)).to(noise) for _ in range(count)]


def sample_resampled(posterior: PosteriorVelocity, noise: list[Tensor], num_samples: int) -> Tensor:
    """Data [N, C] by one posterior sample a noise [N, C], each noised to a smaller t with fresh noise before the next:
    x_t keeps its distribution on any grid of times (Meta Flow Maps, arXiv 2601.14430)."""
    grid = time_grid(len(noise)).to(noise[0])
    x = torch.zeros_like(noise[0])
    for t, fresh in zip(grid[:-1], noise):
        [eps] = following_noise(fresh, 1)
        x = resampled(posterior, (1 - t) * x + t * eps, t.expand(num_samples), fresh)
    return x


def resampled(posterior: PosteriorVelocity, x_t: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """One step from noise [N, C] to a sample of p(x | x_t) [N, C]; t [B]."""
    zeros = torch.zeros_like(t)
    return noise - posterior(noise, zeros, zeros + 1, x_t, t)
