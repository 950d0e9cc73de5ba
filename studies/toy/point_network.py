"""The network of toy flows on points: the forecaster's velocity network with a perceptron for a trunk."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from occflow.flow.mean_velocity import unit_gaussian_factor
from occflow.sparse.layers import FourierEmbedding, zero_initialised

EMBEDDING_CHANNELS = 32


class PointBlock(nn.Module):
    """A residual perceptron that is shown times."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden, self.timed = nn.Linear(width, width), nn.Linear(EMBEDDING_CHANNELS, width)
        self.out = nn.Linear(width, width)

    def forward(self, features: Tensor, embedding: Tensor) -> Tensor:
        return features + self.out(nn.functional.silu(self.hidden(features) + self.timed(embedding)))


class PointNetwork(nn.Module):
    """u(x, r, t | c) of points, built like the forecaster's velocity network, with the same methods: the average
    velocity of unit Gaussian data plus a correction; the interval's embedding starts at zero, so that a student starts
    at its teacher."""

    embedding_channels = EMBEDDING_CHANNELS

    def __init__(self, channels: int = 2, width: int = 64) -> None:
        super().__init__()
        self.state_channels, self.width = channels, width
        self.time, self.interval = FourierEmbedding(EMBEDDING_CHANNELS), FourierEmbedding(EMBEDDING_CHANNELS)
        zero_initialised(self.interval.net[-1])
        self.first = nn.Linear(channels + 1 + EMBEDDING_CHANNELS, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.out = zero_initialised(nn.Linear(width, channels))

    def forward(self, x: Tensor, r: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """x [N, C], r, t and condition [N] -> u(x, r, t) [N, C]."""
        return unit_gaussian_factor(r, t)[:, None] * x + self.out(self.features(x, r, t, condition))

    def features(self, x: Tensor, r: Tensor, t: Tensor, condition: Tensor, shown: Tensor | None = None) -> Tensor:
        """What the last layer reads, [N, W]; `shown` [N, W] is added to the first layer's result."""
        embedding = self.time(t) + self.interval(t - r)
        features = self.first(torch.cat([x, condition[:, None], embedding], dim=1))
        features = nn.functional.silu(features if shown is None else features + shown)
        for layer in self.hidden:
            features = nn.functional.silu(layer(features))
        return features

    def sample_of(self, x: Tensor, condition: Tensor) -> Tensor:
        """Sample index [N]: a point is a sample."""
        return torch.arange(len(x))

    def new_blocks(self, count: int) -> nn.ModuleList:
        return nn.ModuleList(PointBlock(self.width) for _ in range(count))

    def run_blocks(self, blocks: nn.ModuleList, features: Tensor, embedding: Tensor, condition: Tensor) -> Tensor:
        """Features [N, W] through blocks; embedding [N, E]."""
        for block in blocks:
            features = block(features, embedding)
        return features
