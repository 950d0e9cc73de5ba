"""A velocity network of the shape of OccFM's: a U-Net over the latents of 12 frames, 6 past and 6 to come.

Sources: "config" tools/cfgs/transition_configs/cfm.yaml of github.com/Orbis36/OccFM-NeurIPS2025 (9f5e457), "network"
forecast/models/modules/transition_models/FlowMatchingV2.py, "blocks" .../base/{attn_base,res_layersbase,dit,
postion_embed}.py, text of both in its copy github.com/mpourkeshavarz/OccFM (50e8316, 56011af, 777c79b).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

TIMESTEPS = 1000.0  # the network is shown 1000 t (forecast/models/worldmodels/occfm.py: time_scalar)
BIASES = 32  # blocks: num_buckets of the relative position


@dataclass(frozen=True)
class OccFMFlowShape:
    """Sizes; the defaults are the published ones. `edge` is of the latents, even."""

    edge: int = 50  # config: INPUT_SIZE
    frames: int = 12  # network: temp_embed
    latent_channels: int = 16  # config: IN_CHANNELS, OUT_CHANNELS
    first_width: int = 64  # config: INIT_3D_CONV_CHANNELS
    widths: tuple[int, ...] = (128, 256)  # config: CHANNEL_MULTI of it
    condition: int = 128  # config: MODEL_CHANNELS
    first_kernel: int = 7  # config: INIT_KERNEL_SIZE
    heads: int = 8  # config: TEMPORAL_ATTN_HEAD, SPATIAL_ATTN_HEAD
    head_channels: int = 32  # config: ATTN_DIM
    widening: int = 4  # blocks: mlp_ratio
    trajectory: int = 6  # config: TRAJECTORY_LENGTH
    frequencies: int = 8  # network: traj_fourier_freq


PUBLISHED = OccFMFlowShape()


def waves(values: Tensor, frequencies: Tensor) -> Tensor:
    """[...] -> [..., 2 * frequencies]: cosines and sines."""
    angles = values[..., None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, bias: Tensor | None = None) -> Tensor:
    """[B, N, C] each -> [B, N, C], in heads."""
    query, key, value = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in (query, key, value))
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=bias).transpose(1, 2).flatten(2)


def over_places(volume: Tensor) -> Tensor:
    """[B, C, F, X, Y] -> [B * F, X * Y, C]."""
    return volume.permute(0, 2, 3, 4, 1).flatten(2, 3).flatten(0, 1)


def over_frames(volume: Tensor) -> Tensor:
    """[B, C, F, X, Y] -> [B * X * Y, F, C]."""
    return volume.permute(0, 3, 4, 2, 1).flatten(0, 2)


def from_places(rows: Tensor, like: Tensor) -> Tensor:
    """The inverse of `over_places`."""
    batch, _, frames, x, y = like.shape
    return rows.view(batch, frames, x, y, -1).permute(0, 4, 1, 2, 3)


def from_frames(rows: Tensor, like: Tensor) -> Tensor:
    """The inverse of `over_frames`."""
    batch, _, frames, x, y = like.shape
    return rows.view(batch, x, y, frames, -1).permute(0, 4, 3, 1, 2)


class ConvolutionPart(nn.Module):
    """A 3 x 3 convolution of every frame, unit norm over channels, SiLU."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(channels, width, (1, 3, 3), padding=(0, 1, 1))
        self.gain = nn.Parameter(torch.ones(width, 1, 1, 1))

    def forward(self, volume: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        """[B, C, F, X, Y] -> [B, width, F, X, Y]; `scale`, `shift` [B, width, 1, 1, 1]."""
        found = self.convolution(volume)
        found = functional.normalize(found, dim=1) * math.sqrt(found.shape[1]) * self.gain
        return functional.silu(found if scale is None else found * (scale + 1) + shift)


class ConvolutionBlock(nn.Module):
    """Two such parts, the first told the time, added to what comes in."""

    def __init__(self, channels: int, width: int, condition: int = 0) -> None:
        super().__init__()
        self.told = nn.Sequential(nn.SiLU(), nn.Linear(condition, 2 * width)) if condition else None
        self.first, self.second = ConvolutionPart(channels, width), ConvolutionPart(width, width)
        self.skip = nn.Conv3d(channels, width, 1) if channels != width else nn.Identity()

    def forward(self, volume: Tensor, condition: Tensor | None = None) -> Tensor:
        """[B, C, F, X, Y], condition [B, D] -> [B, width, F, X, Y]."""
        told = () if self.told is None else self.told(condition)[:, :, None, None, None].chunk(2, dim=1)
        return self.second(self.first(volume, *told)) + self.skip(volume)


class TransformerBlock(nn.Module):
    """Attention and a two-layer network whose scales, shifts and gates follow from the condition (DiT's adaLN-Zero:
    Peebles and Xie, arXiv:2212.09748, section 3.2)."""

    def __init__(self, width: int, shape: OccFMFlowShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.first_norm, self.second_norm = (nn.LayerNorm(width, eps=1e-6, elementwise_affine=False) for _ in range(2))
        self.query_key_value, self.mixed = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.network = nn.Sequential(nn.Linear(width, shape.widening * width), nn.GELU(approximate="tanh"),
                                     nn.Linear(shape.widening * width, width))
        self.told = nn.Sequential(nn.SiLU(), nn.Linear(shape.condition, 6 * width))

    def forward(self, rows: Tensor, condition: Tensor) -> Tensor:
        """[B * M, N, C] -> [B * M, N, C]; condition [B, D]."""
        told = self.told(condition).repeat_interleave(len(rows) // len(condition), dim=0)[:, None].chunk(6, dim=2)
        shift, scale, gate, second_shift, second_scale, second_gate = told
        seen = self.first_norm(rows) * (1 + scale) + shift
        rows = rows + gate * self.mixed(attend(*self.query_key_value(seen).chunk(3, dim=2), self.heads))
        seen = self.second_norm(rows) * (1 + second_scale) + second_shift
        return rows + second_gate * self.network(seen)


class PlainAttention(nn.Module):
    """Attention of rows that are normalised before, added to them."""

    def __init__(self, width: int, shape: OccFMFlowShape) -> None:
        super().__init__()
        self.heads, inner = shape.heads, shape.heads * shape.head_channels
        self.gain = nn.Parameter(torch.ones(width))
        self.query_key_value, self.mixed = nn.Linear(width, 3 * inner, bias=False), nn.Linear(inner, width, bias=False)

    def forward(self, rows: Tensor, bias: Tensor | None = None) -> Tensor:
        """[B, N, C] -> [B, N, C]; bias [heads, N, N]."""
        seen = self.query_key_value(functional.layer_norm(rows, rows.shape[-1:], self.gain))
        bias = bias if bias is None else bias.expand(len(rows), -1, -1, -1)
        return rows + self.mixed(attend(*seen.chunk(3, dim=2), self.heads, bias))


class FlowLevel(nn.Module):
    """Two convolution blocks, then attention over the places of each frame and over the frames of each place."""

    def __init__(self, channels: int, width: int, shape: OccFMFlowShape) -> None:
        super().__init__()
        self.first = ConvolutionBlock(channels, width, shape.condition)
        self.second = ConvolutionBlock(width, width, shape.condition)
        self.places, self.frames = TransformerBlock(width, shape), TransformerBlock(width, shape)

    def forward(self, volume: Tensor, condition: Tensor, place: Tensor | float = 0.0, frame: Tensor | float = 0.0
                ) -> Tensor:
        """[B, C, F, X, Y] -> [B, width, F, X, Y]; `place` [X * Y, C] and `frame` [F, C] are added where they are."""
        volume = self.second(self.first(volume, condition), condition)
        volume = from_places(self.places(over_places(volume) + place, condition), volume)
        return from_frames(self.frames(over_frames(volume) + frame, condition), volume)


class OccFMFlow(nn.Module):
    """The velocity of the latents of all frames."""

    def __init__(self, shape: OccFMFlowShape = PUBLISHED) -> None:
        super().__init__()
        self.shape, first = shape, shape.first_width
        width = shape.condition
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.route = nn.Sequential(nn.Linear(4 * shape.trajectory * shape.frequencies, width), nn.SiLU(),
                                   nn.Linear(width, width))
        self.biases = nn.Embedding(BIASES, shape.heads)
        kernel = shape.first_kernel
        self.enter = nn.Conv3d(shape.latent_channels, first, (1, kernel, kernel), padding=(0, kernel // 2, kernel // 2))
        self.enter_frames = PlainAttention(first, shape)
        entering = (first, *shape.widths[:-1])
        self.down = nn.ModuleList(FlowLevel(*pair, shape) for pair in zip(entering, shape.widths))
        self.halve = nn.ModuleList(nn.Conv3d(width, width, (1, 4, 4), (1, 2, 2), (0, 1, 1))
                                   for width in shape.widths[:-1])
        last = shape.widths[-1]
        self.middle = nn.ModuleList(ConvolutionBlock(last, last, shape.condition) for _ in range(2))
        self.middle_places, self.middle_frames = PlainAttention(last, shape), PlainAttention(last, shape)
        self.up = nn.ModuleList(FlowLevel(2 * width, less, shape) for less, width in
                                reversed(list(zip(entering, shape.widths))))
        self.widen = nn.ModuleList(nn.ConvTranspose3d(width, width, (1, 4, 4), (1, 2, 2), (0, 1, 1))
                                    for width in reversed(entering[1:]))
        self.leave, self.out = ConvolutionBlock(2 * first, first), nn.Conv3d(first, shape.latent_channels, 1)
        self.place = nn.Parameter(torch.randn(shape.edge**2, shape.widths[0]), requires_grad=False)  # waves: fixed
        self.frame = nn.Parameter(torch.randn(shape.frames, shape.widths[0]), requires_grad=False)

    def condition(self, t: Tensor, route: Tensor) -> Tensor:
        """Times [B] and where the car goes [B, steps, 2] -> [B, D]."""
        shape = self.shape
        slow = torch.arange(shape.condition // 2, device=t.device) / (shape.condition // 2)
        fast = torch.arange(shape.frequencies, device=t.device) / shape.frequencies
        told = self.time(waves(TIMESTEPS * t, 10000.0**-slow))
        return told + self.route(waves(route[:, :shape.trajectory], 100.0**fast).flatten(1))

    def relative(self, frames: int) -> Tensor:
        """[heads, F, F], by how many frames apart. (Published: as many values, the far ones in steps of logarithms.)"""
        number = torch.arange(frames, device=self.place.device)
        return self.biases(number[:, None] - number + BIASES // 2).permute(2, 0, 1)

    def forward(self, latents: Tensor, t: Tensor, route: Tensor) -> Tensor:
        """[B, F, C, X, Y], t [B] from 0 (noise) to 1, route [B, steps, 2] -> [B, F, C, X, Y]."""
        condition, relative = self.condition(t, route), self.relative(latents.shape[1])
        volume = self.enter(latents.transpose(1, 2))
        volume = volume + from_frames(self.enter_frames(over_frames(volume), relative), volume)
        entered, skips = volume, []
        for depth, level in enumerate(self.down):
            volume = level(volume, condition) if depth else level(volume, condition, self.place, self.frame)
            skips.append(volume)
            volume = self.halve[depth](volume) if depth < len(self.halve) else volume
        volume = self.middle[0](volume, condition)
        volume = from_places(self.middle_places(over_places(volume)), volume)
        volume = from_frames(self.middle_frames(over_frames(volume), relative), volume)
        volume = self.middle[1](volume, condition)
        for depth, level in enumerate(self.up):
            volume = level(torch.cat([volume, skips.pop()], dim=1), condition)
            volume = self.widen[depth](volume) if depth < len(self.widen) else volume
        return self.out(self.leave(torch.cat([volume, entered], dim=1))).transpose(1, 2)
