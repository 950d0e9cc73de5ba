"""Distributions of times and intervals. t = 1 is noise."""

from __future__ import annotations

import torch
from torch import Tensor

from occflow.flow.sending import sent


def logit_normal(count: int, generator: torch.Generator, mean: float = 0.0, scale: float = 1.0) -> Tensor:
    """[count] times sigmoid(N(mean, scale^2)) (Esser et al., arXiv 2403.03206; OccFM's choice)."""
    return torch.sigmoid(mean + scale * torch.randn(count, generator=generator))


def uniform(count: int, generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> Tensor:
    """[count] times of U(low, high)."""
    return low + (high - low) * torch.rand(count, generator=generator)


def intervals(count: int, generator: torch.Generator, low: float = 0.0, high: float = 1.0,
              equal_share: float = 0.0) -> tuple[Tensor, Tensor]:
    """Pairs r <= t, [count] each: the sorted pair of two uniforms (MFD; docs/methods.md 7).

    Args:
        low, high: range of the uniforms.
        equal_share: probability of r := t, which turns MFD's gradient into VSD's; t keeps its density.
    """
    pair = uniform(2 * count, generator, low, high).view(2, count)
    t, r = pair.max(dim=0).values, pair.min(dim=0).values
    equal = torch.rand(count, generator=generator) < equal_share
    return torch.where(equal, t, r), t


def logit_normal_pairs(count: int, generator: torch.Generator, mean: float, scale: float, equal_share: float
                       ) -> tuple[Tensor, Tensor]:
    """Sorted pairs of two logit-normals, [count] each; r := t with probability `equal_share` (arXiv 2505.13447)."""
    pair = logit_normal(2 * count, generator, mean, scale).view(2, count)
    r, t = pair.min(dim=0).values, pair.max(dim=0).values
    return torch.where(torch.rand(count, generator=generator) < equal_share, t, r), t


def between(r: Tensor, t: Tensor, place: Tensor) -> Tensor:
    """A time q of each interval [r, t]: uniform where `place` [B] is, in [0, 1]."""
    return t - sent(place, t) * (t - r)
