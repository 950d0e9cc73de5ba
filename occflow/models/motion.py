"""How bodies move: the central motion of each, how far it may be off, and a flow of what is possible.

A body's motion is where it is at each of F instants: along and across its heading, and its turn, as metres at a lever
arm, beyond where its track leads. Bodies are to these networks what sites are to those of the voxels: rows with a
sample index, so that flow/ and distill/ take them as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from occflow.flow.share import Share
from occflow.grid import VoxelGrid
from occflow.models.body_scene import (
    AHEAD_SHAPE,
    GROUPS,
    NEAR_SHAPE,
    PAIR_FEATURES,
    BodyScene,
    attribute_names,
)
from occflow.models.networks import EMBEDDING_CHANNELS, AverageVelocityNetwork, ConditionalFlow, MeanForecast
from occflow.occupancy.bodies import Body, motions_to, tracked_bodies, tracked_offsets
from occflow.occupancy.tasks import Task
from occflow.sparse.layers import FourierEmbedding, LayerNorm, zero_initialised

PER_INSTANT = 3  # numbers of a motion at an instant
LEVER_M = 2.0  # a turn is told as metres at so far from the centre, about half a car
MIN_SCALE_M, MAX_SCALE_M = 0.03, 12.0
FIRST_SCALE_M_PER_S = 0.3  # standard deviation of an untrained network, a second ahead
SOFTENING_M = 0.05  # below which a distance is squared, so that it has a slope
UNBOUNDED_M_PER_S = 1000.0  # nothing is as fast
FADING = 0.2  # of the speed that training has shown: so far beyond it networks are believed ever less
DOUBTFUL, SURE = 0.6, 0.9  # confidence of a track that is not believed there against the networks, and of one that is
STILL_M = 0.4  # a body that never moves farther stays exactly where it is
MOST_BODIES = 256  # of a window are shown to the networks, the largest; all others go on as tracked
PAIRS_AT_ONCE = 1 << 18  # of bodies, that attention looks at: those of two such windows. Of eight they take gigabytes


@dataclass(frozen=True)
class MotionSettings:
    """Channels of a body's token, blocks of each network, heads of the attention among bodies."""

    channels: int = 96
    blocks: int = 2
    heads: int = 4


class Attention(nn.Module):
    """Attention among the bodies of a window, biased by what each sees of the other."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inputs = nn.Linear(channels, 3 * channels)
        self.bias = nn.Sequential(nn.Linear(PAIR_FEATURES, 16), nn.GELU(), nn.Linear(16, heads))
        self.out = zero_initialised(nn.Linear(channels, channels))

    def forward(self, tokens: Tensor, pairs: Tensor, together: Tensor) -> Tensor:
        """tokens [N, C], pairs [N, N, PAIR_FEATURES], together [N, N] -> [N, C]."""
        width = tokens.shape[1] // self.heads
        queries, keys, values = self.inputs(tokens).view(-1, 3, self.heads, width).permute(1, 2, 0, 3)
        logits = queries @ keys.transpose(1, 2) / width ** 0.5 + self.bias(pairs).permute(2, 0, 1)
        weights = logits.masked_fill(~together, float("-inf")).softmax(dim=2)
        return self.out((weights @ values).transpose(0, 1).flatten(1))


class MotionBlock(nn.Module):
    """Attention among bodies, then a layer of each body's own, both residual; with `embedding_channels` > 0 scaled and
    shifted by an embedding of each sample, which starts without effect."""

    def __init__(self, channels: int, heads: int, embedding_channels: int = 0) -> None:
        super().__init__()
        self.attention_norm, self.own_norm = LayerNorm(channels), LayerNorm(channels)
        self.attention = Attention(channels, heads)
        self.own = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(),
                                 zero_initialised(nn.Linear(2 * channels, channels)))
        self.modulation = zero_initialised(nn.Linear(embedding_channels, 2 * channels)) if embedding_channels else None

    def forward(self, tokens: Tensor, scene: BodyScene, pairs: Tensor, embedding: Tensor | None = None) -> Tensor:
        """tokens [N, C], embedding [B, E] -> [N, C]."""
        tokens = tokens + self.attention(self.attention_norm(tokens), pairs, scene.together())
        normed = self.own_norm(tokens)
        if self.modulation is not None:
            scale, shift = self.modulation(embedding)[scene.sample].chunk(2, dim=1)
            normed = normed * (1 + scale) + shift
        return tokens + self.own(normed)


def _through(blocks: nn.ModuleList, tokens: Tensor, embedding: Tensor | None, scene: BodyScene) -> Tensor:
    """Tokens [N, C] through blocks, which share what each body sees of the others; of many, some windows at a time."""
    parts = scene.split(PAIRS_AT_ONCE)
    through = list(tokens.split([len(part) for part in parts]))
    for number, part in enumerate(parts):
        pairs = part.pairs()
        for block in blocks:
            through[number] = block(through[number], part, pairs, embedding)
    return torch.cat(through)


def _view(in_channels: int, shape: tuple[int, int], out_channels: int) -> nn.Sequential:
    """A small convolutional network over a view [N, C, L, W] -> [N, out_channels]."""
    halved = [-(-cells // 4) for cells in shape]
    return nn.Sequential(nn.Conv2d(in_channels, 16, 3, padding=1), nn.GELU(),
                         nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.GELU(),
                         nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.GELU(), nn.Flatten(),
                         nn.Linear(32 * halved[0] * halved[1], out_channels))


class MotionMean(nn.Module):
    """The central motion of each body, and how far it may be off. Untrained, the centre is the track."""

    def __init__(self, settings: MotionSettings, num_history: int, num_horizon: int) -> None:
        super().__init__()
        channels, self.num_horizon = settings.channels, num_horizon
        self.near = _view(num_history, NEAR_SHAPE, channels)
        self.ahead = _view(len(GROUPS), AHEAD_SHAPE, channels)
        self.attributes = nn.Sequential(nn.Linear(len(attribute_names(num_history)), channels), nn.GELU(),
                                        nn.Linear(channels, channels))
        self.blocks = nn.ModuleList(MotionBlock(channels, settings.heads) for _ in range(settings.blocks))
        self.norm = LayerNorm(channels)
        self.mean_head = zero_initialised(nn.Linear(channels, PER_INSTANT * num_horizon))
        self.scale_head = zero_initialised(nn.Linear(channels, PER_INSTANT * num_horizon))
        first = torch.arange(1, num_horizon + 1).repeat_interleave(PER_INSTANT) * FIRST_SCALE_M_PER_S / 2
        self.register_buffer("first_scale", first, persistent=False)

    def forward(self, scene: BodyScene) -> MeanForecast:
        """Centre and standard deviation [N, 3 F], metres; features [N, C]."""
        tokens = self.near(scene.near) + self.ahead(scene.ahead) + self.attributes(scene.attributes)
        features = self.norm(_through(self.blocks, tokens, None, scene))
        scale = (self.scale_head(features).exp() * self.first_scale).clamp(MIN_SCALE_M, MAX_SCALE_M)
        return MeanForecast(self.mean_head(features), scale, features)


class MotionVelocity(AverageVelocityNetwork):
    """That of the flow of motions, on bodies: numbers of a row are the 3 F of its motion."""

    def __init__(self, settings: MotionSettings, num_horizon: int) -> None:
        super().__init__()
        self.settings, self.width = settings, settings.channels
        self.state_channels = PER_INSTANT * num_horizon
        self.embed_in = nn.Linear(3 * self.state_channels + settings.channels, settings.channels)
        self.time, self.interval = FourierEmbedding(EMBEDDING_CHANNELS), FourierEmbedding(EMBEDDING_CHANNELS)
        zero_initialised(self.interval.net[-1])
        self.blocks = self.new_blocks(settings.blocks)
        self.norm = LayerNorm(settings.channels)
        self.out = zero_initialised(nn.Linear(settings.channels, self.state_channels))

    def mixed(self, embedded: Tensor, embedding: Tensor, layout: BodyScene) -> Tensor:
        """By attention among the bodies of a window."""
        return _through(self.blocks, embedded, embedding, layout)

    def new_blocks(self, count: int) -> nn.ModuleList:
        """Blocks that are shown times."""
        return nn.ModuleList(MotionBlock(self.settings.channels, self.settings.heads, EMBEDDING_CHANNELS)
                             for _ in range(count))

    def run_blocks(self, blocks: nn.ModuleList, features: Tensor, embedding: Tensor, forecast: MeanForecast,
                   layout: BodyScene) -> Tensor:
        """Features [N, W] through blocks; embedding [B, E]."""
        return _through(blocks, features, embedding, layout)


@dataclass(frozen=True)
class MotionCondition:
    """What the flow of motions is conditioned on: the bodies, and their central forecast. `rows` says what they are of
    a batch that several processes share; None: all."""

    layout: BodyScene
    forecast: MeanForecast
    rows: Share | None = None

    @property
    def sample(self) -> Tensor:
        return self.layout.sample

    def residual(self, motion: Tensor) -> Tensor:
        """Motion [N, 3 F] -> standardised residual about the centre, the flow's data."""
        return (motion - self.forecast.mean) / self.forecast.scale

    def state(self, residual: Tensor) -> Tensor:
        """The inverse of `residual`."""
        return self.forecast.mean + self.forecast.scale * residual

    def without_history(self, dropped: Tensor) -> MotionCondition:
        """What a network is shown where the history is dropped, [B] bool: where bodies are, not how they moved."""
        rows = dropped[self.sample][:, None]
        layout = replace(self.layout, velocity=self.layout.velocity.masked_fill(rows, 0.0))
        return replace(self, layout=layout, forecast=self.forecast.hidden(rows))

    @property
    def weight(self) -> Tensor:
        """Weight [N, 3 F] of the squared error in residual space, one on average: by the metres that are at stake."""
        scale = self.forecast.scale
        return scale / (self.rows or Share.whole(len(scale))).joint_mean(scale).clamp(min=MIN_SCALE_M)


class MotionModel(ConditionalFlow):
    """The two networks of the motions, with the interface that flows and distillations know (as FlowModel)."""

    def __init__(self, settings: MotionSettings, num_history: int, num_horizon: int) -> None:
        super().__init__()
        self.settings = settings
        self.mean = MotionMean(settings, num_history, num_horizon)
        self.velocity = MotionVelocity(settings, num_horizon)
        self.confidence = attribute_names(num_history).index("confidence")
        self.register_buffer("fastest_m_per_s", torch.tensor(UNBOUNDED_M_PER_S))  # that training has shown

    @property
    def device(self) -> torch.device:
        return self.mean.first_scale.device

    def condition(self, scene: BodyScene) -> MotionCondition:
        """The central forecast of bodies; of those that are faster than what training has shown, the track, where it is
        sure.

        Networks know little of such bodies, and say something all the same: of simulated towns' traffic they learnt
        that everything of 15 m/s is about to stop. A track that is not sure is another matter: where a row of parked
        cars was mistaken for one that drives, the networks see it.
        """
        forecast, speed = self.mean(scene), scene.velocity.norm(dim=1, keepdim=True)
        confidence = scene.attributes[:, self.confidence][:, None]
        beyond = (((speed / self.fastest_m_per_s - 1) / FADING).clamp(0, 1)
                  * ((confidence - DOUBTFUL) / (SURE - DOUBTFUL)).clamp(0, 1))
        return MotionCondition(scene, replace(
            forecast, mean=forecast.mean * (1 - beyond),
            scale=torch.lerp(forecast.scale, self.mean.first_scale.expand_as(forecast.scale), beyond)))


@dataclass(frozen=True)
class BodyMotions:
    """The bodies of a task and what is forecast of their motions.

    Args:
        bodies: that the networks were shown; seconds: [F] of the targets after the present.
        condition: of the flow of motions.
    """

    bodies: tuple[Body, ...]
    seconds: np.ndarray
    condition: MotionCondition

    @property
    def slots(self) -> list[np.ndarray]:
        """Places of each body's voxels in the present's arrays."""
        return [body.slots for body in self.bodies]

    def world_motions(self, motion: Tensor) -> np.ndarray:
        """What takes each body from its place now to those of a motion [N, 3 F]: [N, F, 4, 4] in the world; the
        identity for those that hardly move."""
        return self.moved(self.offsets(motion))

    def offsets(self, motion: Tensor) -> np.ndarray:
        """Where a motion [N, 3 F] leads: [N, F, 3], as `bodies.motions_to` takes it."""
        beyond = motion.double().cpu().numpy().reshape(len(self.bodies), len(self.seconds), PER_INSTANT).copy()
        beyond[..., 2] /= LEVER_M
        return beyond + tracked_offsets(self.bodies, self.seconds)

    def moved(self, offsets: np.ndarray) -> np.ndarray:
        """The motions [N, F, 4, 4] in the world that lead to offsets [N, F, 3]."""
        return motions_to(self.bodies, np.where(still(offsets)[:, None, None], 0.0, offsets))


def still(offsets: np.ndarray) -> np.ndarray:
    """[N] bool: which bodies never get farther than STILL_M, in offsets [N, F, 3]."""
    reached = np.hypot(offsets[..., 0], offsets[..., 1]) + np.abs(offsets[..., 2]) * LEVER_M
    return reached.max(axis=1) < STILL_M


def motion_of(bodies: tuple[Body, ...], offsets: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """The motion [N, 3 F] that leads to offsets [N, F, 3] (`bodies.offsets_of`); nan stays nan."""
    beyond = offsets - tracked_offsets(bodies, seconds)
    beyond[..., 2] = (beyond[..., 2] + np.pi) % (2 * np.pi) - np.pi
    beyond[..., 2] *= LEVER_M
    return beyond.reshape(len(bodies), PER_INSTANT * len(seconds))


def shown_bodies(task: Task, grid: VoxelGrid) -> tuple[Body, ...]:
    """The bodies of a task's present, the largest MOST_BODIES, in the order of `tracked_bodies`."""
    bodies = tracked_bodies(task.history, grid)
    if len(bodies) > MOST_BODIES:
        kept = np.sort(np.argsort([-len(body.slots) for body in bodies], kind="stable")[:MOST_BODIES])
        bodies = [bodies[place] for place in kept]
    return tuple(bodies)


def motion_loss(forecast: MeanForecast, motion: Tensor, known: Tensor, scale_weight: float,
                rows: Share | None = None) -> Tensor:
    """How far the centres are off, metres, plus the Gaussian likelihood of the scale, its error detached.

    Args:
        motion: [N, 3 F] true ones; known: [N, 3 F] bool where they are.
        rows: what the bodies are of a batch that several processes share; None: all.

    The distance at an instant is not squared: its minimum is the spatial median of what is possible, which stays at one
    of two futures where the mean goes in between (as `networks.mean_loss`). Its logarithm, which would stay there the
    more, does not get away from the track (docs/research/ablations.md).
    """
    known, rows = known.to(forecast.mean), rows or Share.whole(len(motion))
    error = torch.where(known > 0, forecast.mean - motion, 0.0)
    likelihood = (error.detach() ** 2 / (2 * forecast.scale**2) + forecast.scale.log()) * known
    squares = error.view(len(error), -1, PER_INSTANT).square().sum(dim=2)
    instants = known.view(len(error), -1, PER_INSTANT)[..., 0]
    off = rows.ratio(((squares + SOFTENING_M**2).sqrt() * instants).sum(), instants.sum())
    return off + rows.ratio(scale_weight * likelihood.sum(), known.sum())
