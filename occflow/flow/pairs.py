"""Pairs of times r <= t for objectives that learn a flow map. t = 1 is noise."""

from __future__ import annotations

import torch
from torch import Tensor

from occflow.flow.times import logit_normal


def logit_normal_pairs(count: int, generator: torch.Generator, mean: float, scale: float, equal_share: float
                       ) -> tuple[Tensor, Tensor]:
    """Sorted pairs of two logit-normals, [count] each; r := t with probability `equal_share` (arXiv 2505.13447)."""
    pair = logit_normal(2 * count, generator, mean, scale).view(2, count)
    r, t = pair.min(dim=0).values, pair.max(dim=0).values
    return torch.where(torch.rand(count, generator=generator) < equal_share, t, r), t


def between(r: Tensor, t: Tensor, generator: torch.Generator) -> Tensor:
    """A uniform time q of each interval [r, t]."""
    return t - torch.rand(t.shape, generator=generator).to(t) * (t - r)
