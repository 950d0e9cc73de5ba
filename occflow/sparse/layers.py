"""Layers on sparse sites. Features are [N, C] tensors beside their Sites. Plain twins: occflow.sparse.reference."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from occflow.sparse.convolution import KernelWeight, submanifold_convolution
from occflow.sparse.reference import layer_norm_by_definition
from occflow.sparse.sites import Pooling, Sites


class SubmanifoldConv(nn.Module):
    """3 x 3 x 3 convolution whose output sites are its input sites (Graham and van der Maaten, 2017)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = KernelWeight(in_channels, out_channels)
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, features: Tensor, sites: Sites) -> Tensor:
        """Features [N, C_in] on `sites` -> [N, C_out]."""
        return submanifold_convolution(features, self.conv.weight, sites) + self.bias


class PatchDown(nn.Module):
    """Strided convolution whose kernel equals its stride: each coarse cell sees just its own fine sites."""

    def __init__(self, in_channels: int, out_channels: int, num_slots: int) -> None:
        super().__init__()
        self.num_slots = num_slots
        self.linear = nn.Linear(num_slots * in_channels, out_channels)

    def forward(self, features: Tensor, pooling: Pooling) -> Tensor:
        """Features [N_fine, C_in] -> [N_coarse, C_out]."""
        patches = features.new_zeros(len(pooling.coarse) * self.num_slots, features.shape[1])
        patches = patches.index_copy(0, pooling.parent * self.num_slots + pooling.slot, features)
        return self.linear(patches.view(len(pooling.coarse), self.linear.in_features))


class PatchUp(nn.Module):
    """Transposed convolution whose kernel equals its stride, onto given fine sites (the inverse of PatchDown)."""

    def __init__(self, in_channels: int, out_channels: int, num_slots: int) -> None:
        super().__init__()
        self.num_slots, self.out_channels = num_slots, out_channels
        self.linear = nn.Linear(in_channels, num_slots * out_channels)

    def expand(self, features: Tensor) -> Tensor:
        """Features [N_coarse, C_in] -> all children [N_coarse, num_slots, C_out] (generative upsampling)."""
        return self.linear(features).view(len(features), self.num_slots, self.out_channels)

    def forward(self, features: Tensor, pooling: Pooling) -> Tensor:
        """Features [N_coarse, C_in] -> [N_fine, C_out]."""
        return self.expand(features).flatten(0, 1).index_select(0, pooling.parent * self.num_slots + pooling.slot)


class TableMix(nn.Module):
    """Mixing over time: gather the same place in K other frames along a table, then a small perceptron.

    Args:
        own_channels: channels of the site itself; source_channels: of each gathered entry.
        entries: K, columns of the table; out_channels: of the result.
    """

    def __init__(self, own_channels: int, source_channels: int, entries: int, out_channels: int) -> None:
        super().__init__()
        hidden = max(own_channels, out_channels)
        self.gathered = nn.Linear(entries * source_channels, hidden, bias=False)
        self.own = nn.Linear(own_channels, hidden)
        self.out = nn.Linear(hidden, out_channels)

    def forward(self, own: Tensor, source: Tensor, table: Tensor) -> Tensor:
        """own [N, C_own], source [M, C_source], table [N, K] int64 into source (M: absent) -> [N, C_out]."""
        padded = torch.cat([source, source.new_zeros(1, source.shape[1])])
        mix = self._mixed if torch.is_inference_mode_enabled() else self._gathered
        return self.out(nn.functional.gelu(mix(padded, table) + self.own(own)))

    def _gathered(self, padded: Tensor, table: Tensor) -> Tensor:
        """The linear map of the gathered entries, padded [M + 1, C_source] -> [N, hidden]."""
        entries = padded.index_select(0, table.reshape(-1))
        return self.gathered(entries.view(len(table), self.gathered.in_features))

    def _mixed(self, padded: Tensor, table: Tensor) -> Tensor:
        """`_gathered` in another order, without the gathered entries in memory: each source is mapped as every entry,
        then those that the table names are summed."""
        entries, hidden = table.shape[1], self.gathered.out_features
        weight = self.gathered.weight.view(hidden, entries, -1).transpose(0, 1).reshape(entries * hidden, -1)
        mapped = nn.functional.linear(padded, weight).view(-1, hidden)  # [(M + 1) * K, hidden]
        places = table * entries + torch.arange(entries, device=table.device)
        return nn.functional.embedding_bag(places, mapped, mode="sum")


class LayerNorm(nn.LayerNorm):
    """torch's, but where a forward-mode derivative passes: there of elementary operations, to the same values.

    torch's own layer has the right derivative, whose gradient in parameters is wrong in silence (2.13): the derivative
    takes the saved mean and deviation for constants (github.com/pytorch/pytorch/issues/196700). Elsewhere torch's is
    right, and three to seven times as fast in training.
    """

    def forward(self, features: Tensor) -> Tensor:
        """[..., C] -> [..., C]."""
        if all(forward_ad.unpack_dual(one).tangent is None for one in (features, self.weight, self.bias)):
            return super().forward(features)
        return layer_norm_by_definition(features, self.weight, self.bias, self.eps)


class FourierEmbedding(nn.Module):
    """Scalars in [0, 1] -> features through a few low harmonics and a perceptron.

    The frequencies are low (at most `harmonics` half-turns over [0, 1]) because flow-map objectives
    differentiate with respect to time (docs/methods.md 14).
    """

    def __init__(self, channels: int, harmonics: int = 4) -> None:
        super().__init__()
        self.register_buffer("frequencies", math.pi * torch.arange(1, harmonics + 1), persistent=False)
        self.net = nn.Sequential(nn.Linear(2 * harmonics + 1, channels), nn.GELU(), nn.Linear(channels, channels))

    def forward(self, values: Tensor) -> Tensor:
        """[B] -> [B, channels]."""
        angles = values[:, None] * self.frequencies.to(values.dtype)
        return self.net(torch.cat([values[:, None], angles.sin(), angles.cos()], dim=1))


def zero_initialised(layer: nn.Linear) -> nn.Linear:
    """A linear layer that outputs zero until it is trained."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
