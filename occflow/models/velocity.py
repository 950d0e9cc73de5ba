"""The network of the flow: velocity v(x, t) and average velocity u(x, r, t) in one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from occflow.flow.closed_form import unit_gaussian_factor
from occflow.flow.path import per_row
from occflow.models.layout import Layout
from occflow.models.mean import MeanForecast
from occflow.models.trunk import Block, Trunk, TrunkSettings
from occflow.sparse.layers import FourierEmbedding, LayerNorm, zero_initialised

EMBEDDING_CHANNELS = 64


class VelocityNetwork(nn.Module):
    """u(x, r, t | mean, scale, features); r = t gives the velocity.

    The output is the exact average velocity of unit Gaussian data plus a zero-initialised correction: an
    untrained network samples the mean forecast's own Gaussian, at any number of steps. The interval's
    embedding is zero-initialised too, so that a student starts at its teacher.
    """

    embedding_channels = EMBEDDING_CHANNELS

    def __init__(self, state_channels: int, feature_channels: int, num_horizon: int, trunk: TrunkSettings,
                 num_slots: list[int]) -> None:
        super().__init__()
        self.state_channels, self.width, self.num_horizon = state_channels, trunk.widths[0], num_horizon
        width = self.width
        self.embed_in = nn.Linear(3 * state_channels + feature_channels, width)
        self.time = FourierEmbedding(EMBEDDING_CHANNELS)
        self.interval = FourierEmbedding(EMBEDDING_CHANNELS)
        zero_initialised(self.interval.net[-1])
        self.trunk = Trunk(trunk, num_slots, num_horizon, EMBEDDING_CHANNELS)
        self.norm = LayerNorm(width)
        self.out = zero_initialised(nn.Linear(width, state_channels))

    def forward(self, x: Tensor, r: Tensor, t: Tensor, forecast: MeanForecast, layout: Layout) -> Tensor:
        """x [N, C] (standardised residual), r and t [B] -> u(x, r, t) [N, C]."""
        features = self.features(x, r, t, forecast, layout)
        return per_row(unit_gaussian_factor(r, t), layout.sample) * x + self.out(features)

    def features(self, x: Tensor, r: Tensor, t: Tensor, forecast: MeanForecast, layout: Layout,
                 shown: Tensor | None = None) -> Tensor:
        """What the last layer `out` reads, [N, W]; `shown` [N, W] is added to the embedded inputs."""
        inputs = torch.cat([x, forecast.mean, forecast.scale.log(), forecast.features], dim=1)
        embedded = self.embed_in(inputs)
        return self.norm(self.trunk(embedded if shown is None else embedded + shown, layout,
                                    self.time(t) + self.interval(t - r)))

    # what student networks with parts of their own are built of (models.student_networks)

    def sample_of(self, x: Tensor, forecast: MeanForecast, layout: Layout) -> Tensor:
        """Sample index [N]."""
        return layout.sample

    def new_blocks(self, count: int) -> nn.ModuleList:
        """Blocks of the finest level that are shown times."""
        return nn.ModuleList(Block(self.width, self.num_horizon, EMBEDDING_CHANNELS) for _ in range(count))

    def run_blocks(self, blocks: nn.ModuleList, features: Tensor, embedding: Tensor, forecast: MeanForecast,
                   layout: Layout) -> Tensor:
        """Features [N, W] through blocks of the finest level; embedding [B, E]."""
        return self.trunk.run_blocks(blocks, features, layout, 0, embedding)
