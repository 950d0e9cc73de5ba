"""Toy distributions of points with exact teachers: a ring of Gaussians, and two futures under a condition."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from occflow.flow.closed_form import MixtureFlow


@dataclass(frozen=True)
class PointToy:
    """Mixtures that share their modes and differ in the modes' weights by condition.

    Args:
        weights: [conditions, K], each row sums to one; means: [K, 2]; std: of every mode.
    """

    weights: Tensor
    means: Tensor
    std: float

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Data [count, 2] and their conditions [count], uniform, as the floats 0, 1, ..."""
        condition = torch.randint(len(self.weights), (count,), generator=generator)
        mode = torch.multinomial(self.weights[condition], 1, generator=generator)[:, 0]
        points = self.means[mode] + self.std * torch.randn(count, 2, generator=generator)
        return points, condition.float()

    def velocity(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """The exact v(x, t | c) [N, 2]; t and c are [N]."""
        return MixtureFlow(self.weights[condition.long()], self.means, self.std).velocity(x, t[:, None])

    def guided(self, x: Tensor, t: Tensor, condition: Tensor, scale: float) -> Tensor:
        """Classifier-free guidance v + scale (v_c - v), with v of all conditions together (arXiv 2207.12598)."""
        blind = MixtureFlow(self.weights.mean(0), self.means, self.std).velocity(x, t[:, None])
        return torch.lerp(blind, self.velocity(x, t, condition), scale)

    def nearest_mode(self, x: Tensor) -> Tensor:
        """Index of the mode next to each point [N]."""
        return torch.cdist(x, self.means).argmin(dim=1)

    def off_mode(self, x: Tensor, deviations: float = 4.0) -> float:
        """Share of the points farther than so many standard deviations from every mode."""
        return float((torch.cdist(x, self.means).min(dim=1).values > deviations * self.std).float().mean())


def ring(modes: int = 8, radius: float = 2.0, std: float = 0.15) -> PointToy:
    """Gaussians of equal weight on a ring, without a condition."""
    angles = torch.arange(modes) * (2 * math.pi / modes)
    return PointToy(torch.full((1, modes), 1 / modes), radius * torch.stack([angles.cos(), angles.sin()], 1), std)


def two_futures(common: float = 0.7) -> PointToy:
    """Two futures; under one condition the first is the common one, under the other the second."""
    weights = torch.tensor([[common, 1 - common], [1 - common, common]])
    return PointToy(weights, torch.tensor([[1.5, 0.0], [-1.5, 0.0]]), 0.2)


def energy_distance(first: Tensor, second: Tensor) -> float:
    """2 E|a - b| - E|a - a'| - E|b - b'| of two sets of points, over pairs of different ones (unbiased)."""
    def among(points: Tensor) -> Tensor:
        return torch.cdist(points, points).sum() / (len(points) * (len(points) - 1))

    return float(2 * torch.cdist(first, second).mean() - among(first) - among(second))
