"""The network of the flow: velocity v(x, t) and average velocity u(x, r, t) in one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from occflow.flow.mean_velocity import unit_gaussian_factor
from occflow.flow.path import per_row
from occflow.models.layout import Layout
from occflow.models.mean import MeanForecast
from occflow.models.trunk import Trunk, TrunkSettings
from occflow.sparse.layers import FourierEmbedding, zero_initialised

EMBEDDING_CHANNELS = 64


class VelocityNetwork(nn.Module):
    """u(x, r, t | mean, scale, features); r = t gives the velocity.

    The output is the exact average velocity of unit Gaussian data plus a zero-initialised correction: an
    untrained network samples the mean forecast's own Gaussian, at any number of steps. The interval's
    embedding is zero-initialised too, so that a student starts at its teacher.
    """

    def __init__(self, state_channels: int, feature_channels: int, num_horizon: int, trunk: TrunkSettings,
                 num_slots: list[int]) -> None:
        super().__init__()
        width = trunk.widths[0]
        self.embed_in = nn.Linear(3 * state_channels + feature_channels, width)
        self.time = FourierEmbedding(EMBEDDING_CHANNELS)
        self.interval = FourierEmbedding(EMBEDDING_CHANNELS)
        zero_initialised(self.interval.net[-1])
        self.trunk = Trunk(trunk, num_slots, num_horizon, EMBEDDING_CHANNELS)
        self.norm = nn.LayerNorm(width)
        self.out = zero_initialised(nn.Linear(width, state_channels))

    def forward(self, x: Tensor, r: Tensor, t: Tensor, forecast: MeanForecast, layout: Layout) -> Tensor:
        """x [N, C] (standardised residual), r and t [B] -> u(x, r, t) [N, C]."""
        sample = layout.sample
        embedding = self.time(t) + self.interval(t - r)
        inputs = torch.cat([x, forecast.mean, forecast.scale.log(), forecast.features], dim=1)
        features = self.trunk(self.embed_in(inputs), layout, embedding)
        return per_row(unit_gaussian_factor(r, t), sample) * x + self.out(self.norm(features))
