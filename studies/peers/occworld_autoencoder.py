"""An autoencoder of the shape of OccWorld's: each frame one of 512 codes a column of 4 x 4 voxels, and back.

Sources: "config" config/occworld.py, "network" model/VAE/vae_2d_resnet.py, "codes" model/VAE/quantizer.py of
github.com/wzzheng/OccWorld (2c76bac, f728c9c; arXiv:2311.16038).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class OccWorldCoding:
    """Sizes; the defaults are the published ones."""

    heights: int = 16  # config: _dim_
    classes: int = 18  # network: num_classes
    class_channels: int = 8  # config: expansion
    widths: tuple[int, ...] = (64, 128, 256)  # config: base_channel times ch_mult
    blocks: int = 2  # config: num_res_blocks
    code_channels: int = 128  # config: z_channels, e_dim
    codes: int = 512  # config: n_e_


PUBLISHED = OccWorldCoding()


def normalisation(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32 if channels > 32 else channels // 4, channels, eps=1e-6)


def convolution(channels: int, width: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, width, 3, stride=stride, padding=1)


class Residual(nn.Module):
    """Twice normalisation, SiLU, 3 x 3 convolution; added to what comes in."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(normalisation(channels), nn.SiLU(), convolution(channels, width),
                                    normalisation(width), nn.SiLU(), convolution(width, width))
        self.skip = nn.Conv2d(channels, width, 1) if channels != width else nn.Identity()

    def forward(self, plane: Tensor) -> Tensor:
        """[F, C, X, Y] -> [F, width, X, Y]."""
        return self.skip(plane) + self.branch(plane)


class PlaneAttention(nn.Module):
    """Attention among all columns of a frame, with one head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = normalisation(channels)
        self.query, self.key, self.value, self.out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, plane: Tensor) -> Tensor:
        """[F, C, X, Y] -> [F, C, X, Y]."""
        seen = self.norm(plane)
        query, key, value = (part(seen).flatten(2).transpose(1, 2) for part in (self.query, self.key, self.value))
        weights = (query @ key.transpose(1, 2) / math.sqrt(plane.shape[1])).softmax(dim=2)
        return plane + self.out((weights @ value).transpose(1, 2).reshape(plane.shape))


def level(channels: int, width: int, blocks: int, attends: bool) -> nn.Sequential:
    """Residual blocks, each followed by attention at the coarsest level (config: attn_resolutions)."""
    parts: list[nn.Module] = []
    for number in range(blocks):
        parts.append(Residual(channels if number == 0 else width, width))
        parts += [PlaneAttention(width)] if attends else []
    return nn.Sequential(*parts)


def middle(width: int) -> nn.Sequential:
    return nn.Sequential(Residual(width, width), PlaneAttention(width), Residual(width, width))


class OccWorldAutoencoder(nn.Module):
    """Frames of classes to codes and back to the similarity of each voxel with each class."""

    def __init__(self, coding: OccWorldCoding = PUBLISHED) -> None:
        super().__init__()
        self.coding, widths, column = coding, coding.widths, coding.heights * coding.class_channels
        last = len(widths) - 1
        self.classes = nn.Embedding(coding.classes, coding.class_channels)
        parts = [convolution(column, widths[0])]
        for depth, width in enumerate(widths):
            parts.append(level(widths[max(depth - 1, 0)], width, coding.blocks, depth == last))
            parts += [convolution(width, width, stride=2)] if depth < last else []
        self.encoder = nn.Sequential(*parts, middle(widths[-1]), normalisation(widths[-1]), nn.SiLU(),
                                     convolution(widths[-1], coding.code_channels))
        self.to_codes = nn.Conv2d(coding.code_channels, coding.code_channels, 1)
        self.codes = nn.Embedding(coding.codes, coding.code_channels)
        self.from_codes = nn.Conv2d(coding.code_channels, coding.code_channels, 1)
        parts = [convolution(coding.code_channels, widths[-1]), middle(widths[-1])]
        for depth in reversed(range(len(widths))):
            parts.append(level(widths[min(depth + 1, last)], widths[depth], coding.blocks, depth == last))
            parts += [nn.Upsample(scale_factor=2.0), convolution(widths[depth], widths[depth])] if depth else []
        self.decoder = nn.Sequential(*parts, normalisation(widths[0]), nn.SiLU(), convolution(widths[0], column))

    def encode(self, classes: Tensor) -> Tensor:
        """[F, X, Y, Z] int64 -> the nearest codes [F, C, X / 4, Y / 4]."""
        plane = self.classes(classes).flatten(3).permute(0, 3, 1, 2)
        rows = self.to_codes(self.encoder(plane)).permute(0, 2, 3, 1)
        known = self.codes.weight
        distance = rows.square().sum(dim=-1, keepdim=True) + known.square().sum(dim=1) - 2 * rows @ known.T
        return self.of_codes(distance.argmin(dim=-1))

    def of_codes(self, numbers: Tensor) -> Tensor:
        """Numbers of codes [F, X, Y] -> [F, C, X, Y]."""
        return self.codes(numbers).permute(0, 3, 1, 2)

    def similarity(self, codes: Tensor) -> Tensor:
        """[F, C, X / 4, Y / 4] -> [F, X, Y, Z, classes]."""
        columns = self.decoder(self.from_codes(codes)).permute(0, 2, 3, 1)
        return columns.unflatten(3, (self.coding.heights, -1)) @ self.classes.weight.T
