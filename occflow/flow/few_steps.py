"""Sampling with an average velocity in a few steps."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from occflow.flow.path import AverageVelocity
from occflow.flow.posterior import PosteriorVelocity
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
