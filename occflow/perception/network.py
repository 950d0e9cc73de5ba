"""The perception network: cells that returns fell into -> of every voxel whether it is occupied, and its class.

Cells are folded into their voxels by a linear map of all that lies in one, voxels into columns, and a U-Net over the
plane fills the holes: what a street is like where no ray went is told by what is about it.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from occflow.errors import InputError
from occflow.grid import FREE, NUM_CLASSES, VoxelGrid
from occflow.occupancy.sighting import CELLS, TICK_S

CELL_FEATURES = 6
SLOTS = CELLS**3
RECENT_S = 0.26, 0.06  # cells met so lately are marked: in the last sweep, or in the one before it at 4 Hz
COUNT_SCALE = 3.0  # of the logarithm of the returns
OUTPUTS = NUM_CLASSES + 1  # of a voxel: the classes, then whether it is occupied


@dataclass(frozen=True)
class PerceptionSettings:
    """All that shapes the network.

    Args:
        grid: of the sightings and of what is perceived.
        patch_channels, voxel_channels: what the cells of a voxel are folded into, in two steps.
        widths: channels of the U-Net at full resolution, a half, a quarter, ...
        head_channels: of the layer before the voxels' logits.

    Raises:
        InputError: a size below one, or more levels than the plane can be halved for.
    """

    grid: VoxelGrid
    patch_channels: int = 48
    voxel_channels: int = 16
    widths: tuple[int, ...] = (64, 96, 128, 160)
    head_channels: int = 128

    def __post_init__(self) -> None:
        if not self.widths or min(self.patch_channels, self.voxel_channels, self.head_channels, *self.widths) < 1:
            raise InputError("perception.network: channels and widths must be at least 1, and one width be given")
        if min(self.grid.shape[:2]) >> (len(self.widths) - 1) < 1:
            raise InputError(f"perception.network.widths: {len(self.widths)} levels halve a plane of "
                             f"{self.grid.shape[0]} x {self.grid.shape[1]} voxels too often; give fewer widths")


@dataclass(frozen=True)
class PerceptionInput:
    """Sightings of B instants, as the network takes them.

    Args:
        voxels: [V] int64 voxels that hold cells, in the flat order of [B, X, Y, Z].
        parents: [M] int64 which of them each cell lies in; slots: [M] int64 its place there.
        features: [M, CELL_FEATURES] of the cells.
        observed: [B, X, Y, Z] float32, 1 where a ray of the last sweep went.
    """

    voxels: Tensor
    parents: Tensor
    slots: Tensor
    features: Tensor
    observed: Tensor

    def to(self, device: torch.device) -> PerceptionInput:
        return PerceptionInput(*(part.to(device) for part in (self.voxels, self.parents, self.slots, self.features,
                                                              self.observed)))


def cell_features(counts: Tensor, youngest: Tensor, oldest: Tensor) -> Tensor:
    """Features [M, CELL_FEATURES] of cells: that there is one, returns, and how long ago (ticks, uint8)."""
    last_s, first_s = youngest.float() * TICK_S, oldest.float() * TICK_S
    return torch.stack([torch.ones_like(last_s), torch.log1p(counts.float()) / COUNT_SCALE,
                        (last_s <= RECENT_S[0]).float(), last_s, first_s - last_s,
                        (last_s < RECENT_S[1]).float()], dim=1)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions about their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, plane: Tensor) -> Tensor:
        """[B, C, X, Y] -> the same shape."""
        return self.second(self.first(plane).relu_()).add_(plane).relu_()


def _projection(channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out_channels, stride, stride=stride, bias=False),
                         nn.BatchNorm2d(out_channels))


class PerceptionNetwork(nn.Module):
    """See the module; `threshold` is the probability from which a voxel is taken as occupied (training.perception)."""

    def __init__(self, settings: PerceptionSettings) -> None:
        super().__init__()
        self.settings, widths = settings, settings.widths
        height, folded = settings.grid.shape[2], settings.grid.shape[2] * settings.voxel_channels
        self.patch = nn.Sequential(nn.Linear(SLOTS * CELL_FEATURES, settings.patch_channels), nn.ReLU(),
                                   nn.Linear(settings.patch_channels, settings.voxel_channels))
        self.stem = _projection(folded + height, widths[0])
        self.blocks = nn.ModuleList(ResidualBlock(width) for width in widths)
        self.bottom = ResidualBlock(widths[-1])
        self.downs = nn.ModuleList(_projection(a, b, stride=2) for a, b in zip(widths, widths[1:]))
        self.ups = nn.ModuleList(_projection(b, a) for a, b in zip(widths, widths[1:]))
        self.outs = nn.ModuleList(ResidualBlock(width) for width in widths[:-1])
        self.head = nn.Sequential(nn.Conv2d(widths[0] + folded, settings.head_channels, 1), nn.ReLU(),
                                  nn.Conv2d(settings.head_channels, height * OUTPUTS, 1))
        self.register_buffer("threshold", torch.tensor(0.5))
        self.to(memory_format=torch.channels_last)

    @property
    def device(self) -> torch.device:
        return self.threshold.device

    def forward(self, seen: PerceptionInput) -> Tensor:
        """Logits [B, X, Y, Z, OUTPUTS]."""
        logits = self.head[-1](self.hidden(seen)).permute(0, 2, 3, 1)  # [B, X, Y, Z * OUTPUTS]
        return logits.reshape(*seen.observed.shape, OUTPUTS)

    def hidden(self, seen: PerceptionInput) -> Tensor:
        """What the last layer makes the logits of every column of, [B, C, X, Y]."""
        voxels = self._folded(seen)
        observed = seen.observed.permute(0, 3, 1, 2)
        plane = self._completed(self.stem(torch.cat([voxels, observed], dim=1)).relu_())
        return self.head[:-1](torch.cat([plane, voxels], dim=1))

    def _folded(self, seen: PerceptionInput) -> Tensor:
        """Features of all voxels, folded into their columns: [B, Z * C, X, Y]."""
        batch, x, y, z = seen.observed.shape
        patches = seen.features.new_zeros(len(seen.voxels) * SLOTS, CELL_FEATURES)
        patches.index_copy_(0, seen.parents * SLOTS + seen.slots, seen.features)
        voxels = self.patch(patches.view(len(seen.voxels), SLOTS * CELL_FEATURES))
        dense = voxels.new_zeros(batch * math.prod((x, y, z)), self.settings.voxel_channels)
        dense = dense.index_copy(0, seen.voxels, voxels)
        return dense.view(batch, x, y, z * self.settings.voxel_channels).permute(0, 3, 1, 2)

    def _completed(self, plane: Tensor) -> Tensor:
        """The U-Net: [B, C, X, Y] -> the same shape."""
        skipped = []
        for block, down in zip(self.blocks, self.downs):
            plane = block(plane)
            skipped.append(plane)
            plane = down(plane).relu_()
        plane = self.bottom(self.blocks[-1](plane))
        for up, out, skip in zip(reversed(self.ups), reversed(self.outs), reversed(skipped)):
            wide = functional.interpolate(up(plane), size=skip.shape[2:], mode="nearest")
            plane = out(wide.add_(skip).relu_())
        return plane


class PerceptionInference(nn.Module):
    """A trained network as it perceives one instant: batch normalisation folded into the convolutions before it, and
    classes of those columns only that are asked for. The network's logits, up to their rounding."""

    def __init__(self, network: PerceptionNetwork) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval()
        for part in [part for part in self.network.modules() if isinstance(part, nn.Sequential)]:
            for place in range(len(part) - 1):
                if isinstance(part[place + 1], nn.BatchNorm2d):
                    part[place], part[place + 1] = fuse_conv_bn_eval(part[place], part[place + 1]), nn.Identity()
        self.network.to(memory_format=torch.channels_last)
        last, height = network.head[-1], network.settings.grid.shape[2]
        weight, bias = last.weight.detach().view(height, OUTPUTS, -1), last.bias.detach().view(height, OUTPUTS)
        for name, outputs in (("existence", slice(FREE, OUTPUTS)), ("classes", slice(FREE))):
            self.register_buffer(f"{name}_weight", weight[:, outputs].reshape(-1, weight.shape[2]).contiguous())
            self.register_buffer(f"{name}_bias", bias[:, outputs].reshape(-1).contiguous())

    def forward(self, seen: PerceptionInput) -> tuple[Tensor, Tensor]:
        """Of one instant what is known of every column, [X, Y, C], and the logits [X, Y, Z] of being occupied."""
        hidden = self.network.hidden(seen)[0].permute(1, 2, 0)
        return hidden, functional.linear(hidden, self.existence_weight, self.existence_bias)

    def classes(self, columns: Tensor) -> Tensor:
        """Most probable class [K, Z] int64 of every voxel, if it is occupied, of columns [K, C]."""
        logits = functional.linear(columns, self.classes_weight, self.classes_bias)
        return logits.view(len(columns), -1, FREE).argmax(dim=2)
