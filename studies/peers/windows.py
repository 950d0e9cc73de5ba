"""Attention within shifted windows of a plane, as in Swin Transformer V2 (Liu et al., arXiv:2111.09883, section 3).

Cosine similarity with a learned scale, a bias that a small network tells from the relative position (section 3.3), and
normalisation after the branch (section 3.2).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

MOST_LOG_SCALE = math.log(100.0)  # of a cosine: a temperature of at least .01 (section 3.2)
BIAS_HIDDEN, MOST_BIAS = 512, 16.0  # of the network that tells biases, and their most
APART = -100.0  # added to the logit of a pair that only the shift has brought into one window


def windowed(plane: Tensor, size: int) -> Tensor:
    """[F, X, Y, C] -> [F * windows, size * size, C]."""
    frames, x, y, channels = plane.shape
    parts = plane.view(frames, x // size, size, y // size, size, channels).transpose(2, 3)
    return parts.reshape(-1, size * size, channels)


def planar(parts: Tensor, size: int, x: int, y: int) -> Tensor:
    """The inverse of `windowed`: [F * windows, size * size, C] -> [F, X, Y, C]."""
    parts = parts.view(-1, x // size, y // size, size, size, parts.shape[-1])
    return parts.transpose(2, 3).reshape(-1, x, y, parts.shape[-1])


def relative_places(size: int) -> tuple[Tensor, Tensor]:
    """Log-spaced offsets [(2 size - 1)^2, 2] (equation 4), and which of them each pair of places has, [size^4]."""
    offsets = torch.arange(1 - size, size, dtype=torch.float32)
    table = 8 * torch.cartesian_prod(offsets, offsets) / (size - 1)
    places = torch.cartesian_prod(torch.arange(size), torch.arange(size))
    between = places[:, None] - places[None] + size - 1  # [N, N, 2]
    return table.sign() * (table.abs() + 1).log2() / 3, (between[..., 0] * (2 * size - 1) + between[..., 1]).flatten()


def shifted_apart(size: int, shift: int, x: int, y: int) -> Tensor:
    """[windows, 1, N, N]: APART for places of a window that lay at opposite edges of the plane before the shift."""
    region = torch.zeros(x, y)
    for number, part in enumerate((slice(0, -size), slice(-size, -shift), slice(-shift, None))):
        region[part] += 3 * number
        region[:, part] += number
    region = windowed(region[None, :, :, None], size)[..., 0]
    return torch.where(region[:, None] == region[:, :, None], 0.0, APART)[:, None]


class WindowAttention(nn.Module):
    """Multi-head attention among the places of a window."""

    def __init__(self, channels: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads = heads
        self.log_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        self.bias = nn.Sequential(nn.Linear(2, BIAS_HIDDEN), nn.ReLU(), nn.Linear(BIAS_HIDDEN, heads, bias=False))
        self.query_key_value = nn.Linear(channels, 3 * channels, bias=False)
        self.query_bias, self.value_bias = (nn.Parameter(torch.zeros(channels)) for _ in range(2))
        self.out = nn.Linear(channels, channels)
        offsets, pairs = relative_places(size)
        self.register_buffer("offsets", offsets, persistent=False)
        self.register_buffer("pairs", pairs, persistent=False)

    def forward(self, parts: Tensor, apart: Tensor | None) -> Tensor:
        """[W, N, C] -> [W, N, C]; `apart` [windows of a frame, 1, N, N], see `shifted_apart`."""
        count, places, channels = parts.shape
        bias = torch.cat([self.query_bias, torch.zeros_like(self.query_bias), self.value_bias])
        found = functional.linear(parts, self.query_key_value.weight, bias)
        query, key, value = found.view(count, places, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        cosine = functional.normalize(query, dim=-1) @ functional.normalize(key, dim=-1).transpose(-2, -1)
        relative = self.bias(self.offsets)[self.pairs].view(places, places, self.heads).permute(2, 0, 1)
        logits = cosine * self.log_scale.clamp(max=MOST_LOG_SCALE).exp() + MOST_BIAS * relative.sigmoid()
        if apart is not None:
            logits = (logits.view(-1, len(apart), *logits.shape[1:]) + apart).view(logits.shape)
        return self.out((logits.softmax(dim=-1) @ value).transpose(1, 2).reshape(count, places, channels))


class WindowBlock(nn.Module):
    """Attention within windows and a two-layer network, each normalised and added.

    Args:
        edge: of the plane, cells along x and y; a multiple of `size`.
        shift: cells by which the windows are shifted; 0: not.
    """

    def __init__(self, channels: int, heads: int, size: int, edge: int, shift: int, widening: int) -> None:
        super().__init__()
        self.size, self.shift = size, shift
        self.attention = WindowAttention(channels, heads, size)
        self.first_norm, self.second_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.network = nn.Sequential(nn.Linear(channels, widening * channels), nn.GELU(),
                                     nn.Linear(widening * channels, channels))
        self.register_buffer("apart", shifted_apart(size, shift, edge, edge) if shift else None, persistent=False)

    def forward(self, plane: Tensor) -> Tensor:
        """[F, X, Y, C] -> [F, X, Y, C]."""
        moved = plane.roll((-self.shift, -self.shift), (1, 2)) if self.shift else plane
        mixed = planar(self.attention(windowed(moved, self.size), self.apart), self.size, *plane.shape[1:3])
        if self.shift:
            mixed = mixed.roll((self.shift, self.shift), (1, 2))
        plane = plane + self.first_norm(mixed)
        return plane + self.second_norm(self.network(plane))
