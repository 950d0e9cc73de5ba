"""The networks that run on the support: a sparse U-Net, the mean network and the velocity network that share it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from occflow.errors import InputError
from occflow.flow.closed_form import unit_gaussian_factor
from occflow.flow.path import per_row
from occflow.flow.share import Share
from occflow.models.body_scene import BodyScene
from occflow.models.layout import Layout
from occflow.sparse.layers import (
    FourierEmbedding,
    LayerNorm,
    PatchDown,
    PatchUp,
    SubmanifoldConv,
    TableMix,
    zero_initialised,
)
from occflow.sparse.sites import Sites

MEDIAN_SOFTENING = 0.02  # standard deviations of the state below which a distance is squared, so that it has a slope
CENTRES = ("median", "mean")
MIN_SCALE, MAX_SCALE = 0.05, 2.0  # standard deviations of the state, whose channels have unit variance
EMBEDDING_CHANNELS = 64


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


@dataclass(frozen=True)
class MeanForecast:
    """Central forecast ("mean": mean or spatial median, `mean_loss`) and standard deviation about it of the state
    [N, C], and the features [N, W] that they were read from."""

    mean: Tensor
    scale: Tensor
    features: Tensor

    def hidden(self, rows: Tensor) -> MeanForecast:
        """Without what is told of `rows` [N, 1] bool: neither mean, scale nor features.

        The features are normalised otherwise, so zeros cannot be mistaken for them.
        """
        return MeanForecast(self.mean.masked_fill(rows, 0.0), self.scale.masked_fill(rows, 1.0),
                            self.features.masked_fill(rows, 0.0))


class MeanNetwork(nn.Module):
    """The mean of the future state, and how far it may be off: "what stays, then what is likely" (docs/design.md 5).

    History encoder, motion-compensated mixing, trunk, and two zero-initialised heads.

    Untrained, the mean is the base: by default the present moved by the ego motion, its tracked movers by theirs too.
    """

    def __init__(self, state_channels: int, latent_channels: int, history_channels: int, num_history: int,
                 num_horizon: int, trunk: TrunkSettings, num_slots: list[int]) -> None:
        super().__init__()
        width = trunk.widths[0]
        self.history_in = nn.Linear(latent_channels, history_channels)
        self.history_conv = SubmanifoldConv(history_channels, history_channels)
        own = state_channels + 3 + num_horizon + 1 + 4 * num_history
        self.mix = TableMix(own, history_channels, num_history, width)
        self.trunk = Trunk(trunk, num_slots, num_horizon)
        self.norm = LayerNorm(width)
        self.mean_head = zero_initialised(nn.Linear(width, state_channels))
        self.scale_head = zero_initialised(nn.Linear(width, state_channels))

    def encode_history(self, latents: Tensor, layout: Layout) -> Tensor:
        """Latents [M, C] of the observed frames -> features [M, H]; each frame by itself."""
        features = self.history_in(latents)
        return features + functional.gelu(self.history_conv(functional.gelu(features), layout.history))

    def forward(self, history_latents: Tensor, base: Tensor, layout: Layout) -> MeanForecast:
        """history_latents [M, C], base state [N, C + 1] (`Observation.base`) -> MeanForecast."""
        history = self.encode_history(history_latents, layout)
        present = (layout.history_table < len(layout.history)).float()
        remainder = layout.history_remainder.flatten(1)
        own = torch.cat([base, place_features(layout), present, remainder], dim=1)
        features = self.norm(self.trunk(self.mix(own, history, layout.history_table), layout))
        scale = torch.exp(self.scale_head(features) - 1.0).clamp(MIN_SCALE, MAX_SCALE)
        return MeanForecast(base + self.mean_head(features), scale, features)


def mean_loss(forecast: MeanForecast, target: Tensor, scale_weight: float, centre: str = "median",
              rows: Share | None = None) -> Tensor:
    """How far the central forecast is off, plus the Gaussian negative log-likelihood of the scale, its error detached.

    Args:
        centre: "median": the distance of a site's state to the truth, whose minimum is the spatial median: it stays at
            one future where the squared error, "mean", goes in between and decodes to none.
        rows: what the sites are of a batch that several processes share; None: all.

    Detaching keeps the centre a plain regression: a heteroscedastic likelihood would neglect uncertain sites
    (Seitzer et al., arXiv 2203.09168).

    Raises:
        InputError: an unknown centre.
    """
    rows = rows or Share.whole(len(target))
    error = (forecast.mean - target) ** 2
    likelihood = error.detach() / (2 * forecast.scale**2) + forecast.scale.log()
    if centre == "median":
        off = rows.mean((error.mean(dim=1) + MEDIAN_SOFTENING**2).sqrt())
    elif centre == "mean":
        off = rows.mean(error)
    else:
        raise InputError(f"train.mean.centre: '{centre}' is not known; known: {', '.join(CENTRES)}")
    return off + scale_weight * rows.mean(likelihood)


class AverageVelocityNetwork(nn.Module):
    """The network of a flow: average velocity u(x, r, t | mean, scale, features); r = t gives the velocity v(x, t).

    The output is the exact average velocity of unit Gaussian data plus a zero-initialised correction: an
    untrained network samples the mean forecast's own Gaussian, at any number of steps. The interval's
    embedding is zero-initialised too, so that a student starts at its teacher.

    Attributes, made by those that it is a base of:
        embed_in, time, interval, norm, out: layers around what is in between, `mixed`.
        state_channels, width: numbers of a row of the data, and of its features.
    """

    embedding_channels = EMBEDDING_CHANNELS

    def forward(self, x: Tensor, r: Tensor, t: Tensor, forecast: MeanForecast, layout: Layout | BodyScene) -> Tensor:
        """x [N, C] (standardised residual), r and t [B] -> u(x, r, t) [N, C]; the layout knows the sample of a row."""
        features = self.features(x, r, t, forecast, layout)
        return per_row(unit_gaussian_factor(r, t), layout.sample) * x + self.out(features)

    def features(self, x: Tensor, r: Tensor, t: Tensor, forecast: MeanForecast, layout: Layout | BodyScene,
                 shown: Tensor | None = None) -> Tensor:
        """What the last layer `out` reads, [N, W]; `shown` [N, W] is added to the embedded inputs."""
        inputs = torch.cat([x, forecast.mean, forecast.scale.log(), forecast.features], dim=1)
        embedded = self.embed_in(inputs)
        return self.norm(self.mixed(embedded if shown is None else embedded + shown,
                                    self.time(t) + self.interval(t - r), layout))

    def mixed(self, embedded: Tensor, embedding: Tensor, layout: Layout | BodyScene) -> Tensor:
        """Embedded inputs [N, W] mixed among the rows, shown times by their embedding [B, E]: [N, W]."""
        raise NotImplementedError

    # with `new_blocks` and `run_blocks` what student networks with parts of their own are built of
    # (models.student_networks)

    def sample_of(self, x: Tensor, forecast: MeanForecast, layout: Layout | BodyScene) -> Tensor:
        """Sample index [N]."""
        return layout.sample


class VelocityNetwork(AverageVelocityNetwork):
    """That of the voxels' flow, on the sites of a layout."""

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

    def mixed(self, embedded: Tensor, embedding: Tensor, layout: Layout) -> Tensor:
        """By the U-Net."""
        return self.trunk(embedded, layout, embedding)

    def new_blocks(self, count: int) -> nn.ModuleList:
        """Blocks of the finest level that are shown times."""
        return nn.ModuleList(Block(self.width, self.num_horizon, EMBEDDING_CHANNELS) for _ in range(count))

    def run_blocks(self, blocks: nn.ModuleList, features: Tensor, embedding: Tensor, forecast: MeanForecast,
                   layout: Layout) -> Tensor:
        """Features [N, W] through blocks of the finest level; embedding [B, E]."""
        return self.trunk.run_blocks(blocks, features, layout, 0, embedding)


class ConditionalFlow(nn.Module):
    """A flow about the mean forecast of a condition, by its `velocity` network: that of the voxels, that of motions.

    Conditions have a `forecast`, a `layout`, and can be had `without_history`.
    """

    velocity: nn.Module

    def velocity_field(self, condition: Any, guidance: float = 1.0) -> Callable[[Tensor, Tensor], Tensor]:
        """v(x [N, C], t [B]) with the condition bound; at another `guidance` than 1, classifier-free guidance
        v_without + guidance (v - v_without) (Ho and Salimans, arXiv 2207.12598)."""
        def velocity(x: Tensor, t: Tensor) -> Tensor:
            return self.velocity(x, t, t, condition.forecast, condition.layout)

        if guidance == 1:
            return velocity
        everywhere = torch.ones(condition.layout.num_samples, dtype=torch.bool, device=condition.forecast.mean.device)
        without = self.velocity_field(condition.without_history(everywhere))
        return lambda x, t: torch.lerp(without(x, t), velocity(x, t), guidance)

    def one_step(self, noise: Tensor, condition: Any) -> Tensor:
        """The one-step sample eps - u(eps, 0, 1) [N, C]."""
        zeros = noise.new_zeros(condition.layout.num_samples)
        return noise - self.velocity(noise, zeros, zeros + 1, condition.forecast, condition.layout)
