"""The sparse U-Net that the mean and the velocity network share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from occflow.models.layout import Layout
from occflow.sparse.layers import LayerNorm, PatchDown, PatchUp, SubmanifoldConv, TableMix, zero_initialised
from occflow.sparse.sites import Sites


@dataclass(frozen=True)
class TrunkSettings:
    """Channels and blocks a level, finest first; a level's blocks are split between the way down and up."""

    widths: tuple[int, ...]
    blocks: tuple[int, ...]


class Block(nn.Module):
    """Mixing over the frames of the horizon, then a submanifold convolution, both residual.

    With `embedding_channels` > 0 the convolution's input is scaled and shifted by an embedding of each
    sample (flow times), as in adaptive normalisation; zero-initialised, so that it starts without effect.
    """

    def __init__(self, channels: int, num_horizon: int, embedding_channels: int = 0) -> None:
        super().__init__()
        self.mix_norm, self.conv_norm = LayerNorm(channels), LayerNorm(channels)
        self.mix = TableMix(channels, channels, num_horizon, channels)
        self.conv = SubmanifoldConv(channels, channels)
        self.out = zero_initialised(nn.Linear(channels, channels))
        self.modulation = zero_initialised(nn.Linear(embedding_channels, 2 * channels)) if embedding_channels else None

    def forward(self, features: Tensor, sites: Sites, table: Tensor, sample: Tensor,
                embedding: Tensor | None) -> Tensor:
        """features [N, C], table [N, F], sample [N], embedding [B, E] -> [N, C]."""
        normed = self.mix_norm(features)
        features = features + self.mix(normed, normed, table)
        normed = self.conv_norm(features)
        if self.modulation is not None:
            modulation = self.modulation(embedding)
            scale, shift = (modulation if len(modulation) == 1 else modulation[sample]).chunk(2, dim=1)
            normed = normed * (1 + scale) + shift
        return features + self.out(functional.gelu(self.conv(normed, sites)))


class Trunk(nn.Module):
    """U-Net over the levels of a layout: [N, widths[0]] -> [N, widths[0]]."""

    def __init__(self, settings: TrunkSettings, num_slots: list[int], num_horizon: int,
                 embedding_channels: int = 0) -> None:
        super().__init__()
        widths, depth = settings.widths, len(settings.widths)

        def stack(level: int, count: int) -> nn.ModuleList:
            return nn.ModuleList(Block(widths[level], num_horizon, embedding_channels) for _ in range(count))

        self.blocks_down = nn.ModuleList(stack(i, -(-settings.blocks[i] // 2)) for i in range(depth))
        self.blocks_up = nn.ModuleList(stack(i, settings.blocks[i] // 2) for i in range(depth))
        self.down = nn.ModuleList(PatchDown(widths[i], widths[i + 1], num_slots[i]) for i in range(depth - 1))
        self.up = nn.ModuleList(PatchUp(widths[i + 1], widths[i], num_slots[i]) for i in range(depth - 1))

    def forward(self, features: Tensor, layout: Layout, embedding: Tensor | None = None) -> Tensor:
        skips = []
        for depth, level in enumerate(layout.levels):
            features = self.run_blocks(self.blocks_down[depth], features, layout, depth, embedding)
            if level.pooling is not None:
                skips.append(features)
                features = self.down[depth](features, level.pooling)
        for depth in reversed(range(len(layout.levels))):
            if layout.levels[depth].pooling is not None:
                features = skips[depth] + self.up[depth](features, layout.levels[depth].pooling)
            features = self.run_blocks(self.blocks_up[depth], features, layout, depth, embedding)
        return features

    def run_blocks(self, blocks: nn.ModuleList, features: Tensor, layout: Layout, depth: int,
                   embedding: Tensor | None) -> Tensor:
        """Features [N, C] of one level through blocks on its sites."""
        level = layout.levels[depth]
        sample = level.sites.coords[:, 0].long() // layout.num_horizon
        for block in blocks:
            features = block(features, level.sites, level.table, sample, embedding)
        return features


def place_features(layout: Layout) -> Tensor:
    """[N, 3 + F + 1]: position in the grid in [-1, 1], frame of the horizon one-hot, unseen flag."""
    frame = functional.one_hot(layout.support.coords[:, 0].long() % layout.num_horizon, layout.num_horizon)
    return torch.cat([layout.position, frame, layout.unseen[:, None]], dim=1).float()
