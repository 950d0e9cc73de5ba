"""The forecaster's networks over whole volumes: the dense counterpart that the benchmark measures against.

Same weights, same widths, same levels; every cell of the coarse grid is a site and every voxel is decoded. Rows are in
the order [sample, frame, x, y, z]. Frames share one grid (no motion compensation), so mixing over time is computed
once a place instead of once a site: that favours the dense side. On a support that is the whole grid, in an anchored
window, sparse and dense networks agree to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from occflow.flow.closed_form import unit_gaussian_factor
from occflow.flow.path import per_row
from occflow.grid import FREE, NUM_CLASSES
from occflow.models.autoencoder import Autoencoder
from occflow.models.networks import MAX_SCALE, MIN_SCALE, Block, MeanForecast, MeanNetwork, Trunk, VelocityNetwork
from occflow.sparse.layers import PatchDown, PatchUp, SubmanifoldConv, TableMix
from occflow.sparse.reference import whole_cells
from occflow.sparse.sites import Shape, pool_shape


class DenseConv(nn.Module):
    """3 x 3 x 3 convolution over volumes with the weights of a SubmanifoldConv."""

    def __init__(self, twin: SubmanifoldConv, shape: Shape) -> None:
        super().__init__()
        self.twin, self.shape = twin, shape

    def forward(self, rows: Tensor) -> Tensor:
        """[frames * X * Y * Z, C_in] -> [..., C_out]."""
        volume = rows.view(-1, *self.shape, rows.shape[1]).permute(0, 4, 1, 2, 3)  # channels last in memory
        result = functional.conv3d(volume, self.twin.conv.weight.permute(0, 4, 1, 2, 3), self.twin.bias, padding=1)
        return result.permute(0, 2, 3, 4, 1).reshape(len(rows), -1)


def dense_mix(mix: TableMix, own: Tensor, source: Tensor, num_frames: int, num_entries: int, num_cells: int) -> Tensor:
    """TableMix where every frame finds the same place in all frames: own [B * F * S, C], source [B * K * S, C']."""
    entries = source.view(-1, num_entries, num_cells, source.shape[1]).transpose(1, 2).flatten(2)  # [B, S, K * C']
    gathered = mix.gathered(entries)[:, None]
    hidden = functional.gelu(gathered + mix.own(own).view(-1, num_frames, num_cells, mix.own.out_features))
    return mix.out(hidden.view(len(own), -1))


def dense_down(layer: PatchDown, rows: Tensor, shape: Shape, stride: Shape) -> Tensor:
    """Strided convolution of volumes: cells to channels, then a product. [frames * cells, C_in] -> coarse rows."""
    channels = rows.shape[1]
    volume = rows.view(-1, *shape, channels)
    volume = whole_cells(volume.permute(0, 4, 1, 2, 3), stride).permute(0, 2, 3, 4, 1)
    frames, (x, y, z) = len(volume), pool_shape(shape, stride)
    patches = volume.reshape(frames, x, stride[0], y, stride[1], z, stride[2], channels)
    return layer.linear(patches.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(frames * x * y * z, -1))


def dense_children(children: Tensor, shape: Shape, stride: Shape) -> Tensor:
    """Children [frames * coarse cells, slots, C] in the order of the finer volume: [frames * X * Y * Z, C]."""
    (x, y, z), channels = pool_shape(shape, stride), children.shape[2]
    volume = children.view(-1, x, y, z, *stride, channels).permute(0, 1, 4, 2, 5, 3, 6, 7)
    volume = volume.reshape(-1, x * stride[0], y * stride[1], z * stride[2], channels)
    return volume[:, :shape[0], :shape[1], :shape[2]].reshape(-1, channels)


def dense_up(layer: PatchUp, rows: Tensor, shape: Shape, stride: Shape) -> Tensor:
    """Transposed convolution of volumes onto `shape`."""
    return dense_children(layer.expand(rows), shape, stride)


class DenseBlock(nn.Module):
    """A Block over volumes."""

    def __init__(self, twin: Block, shape: Shape, num_horizon: int) -> None:
        super().__init__()
        self.twin, self.conv, self.num_horizon = twin, DenseConv(twin.conv, shape), num_horizon
        self.num_cells = shape[0] * shape[1] * shape[2]

    def forward(self, rows: Tensor, embedding: Tensor | None) -> Tensor:
        block, frames = self.twin, self.num_horizon
        normed = block.mix_norm(rows)
        rows = rows + dense_mix(block.mix, normed, normed, frames, frames, self.num_cells)
        normed = block.conv_norm(rows)
        if block.modulation is not None:
            scale, shift = block.modulation(embedding)[:, None].chunk(2, dim=2)
            normed = (normed.view(len(embedding), -1, normed.shape[1]) * (1 + scale) + shift).view(normed.shape)
        return rows + block.out(functional.gelu(self.conv(normed)))


class DenseTrunk(nn.Module):
    """A Trunk over volumes: [B * F * cells, widths[0]] -> the same."""

    def __init__(self, twin: Trunk, shape: Shape, strides: tuple[Shape, ...], num_horizon: int) -> None:
        super().__init__()
        self.twin, self.strides, self.shapes = twin, strides, [shape]
        for stride in strides:
            self.shapes.append(pool_shape(self.shapes[-1], stride))

        def dense(blocks: nn.ModuleList) -> nn.ModuleList:
            return nn.ModuleList(nn.ModuleList(DenseBlock(block, self.shapes[level], num_horizon) for block in stack)
                                 for level, stack in enumerate(blocks))

        self.blocks_down, self.blocks_up = dense(twin.blocks_down), dense(twin.blocks_up)

    def forward(self, rows: Tensor, embedding: Tensor | None = None) -> Tensor:
        skips = []
        for level, blocks in enumerate(self.blocks_down):
            for block in blocks:
                rows = block(rows, embedding)
            if level < len(self.strides):
                skips.append(rows)
                rows = dense_down(self.twin.down[level], rows, self.shapes[level], self.strides[level])
        for level in reversed(range(len(self.blocks_up))):
            if level < len(self.strides):
                rows = skips[level] + dense_up(self.twin.up[level], rows, self.shapes[level], self.strides[level])
            for block in self.blocks_up[level]:
                rows = block(rows, embedding)
        return rows


class DenseVelocity(nn.Module):
    """A VelocityNetwork over volumes."""

    def __init__(self, twin: VelocityNetwork, shape: Shape, strides: tuple[Shape, ...], num_horizon: int) -> None:
        super().__init__()
        self.twin, self.trunk = twin, DenseTrunk(twin.trunk, shape, strides, num_horizon)

    def forward(self, x: Tensor, r: Tensor, t: Tensor, forecast: MeanForecast) -> Tensor:
        """x [B * F * cells, C], r and t [B] -> u(x, r, t)."""
        inputs = torch.cat([x, forecast.mean, forecast.scale.log(), forecast.features], dim=1)
        embedding = self.twin.time(t) + self.twin.interval(t - r)
        features = self.trunk(self.twin.embed_in(inputs), embedding)
        sample = torch.arange(len(t), device=x.device).repeat_interleave(len(x) // len(t))
        return per_row(unit_gaussian_factor(r, t), sample) * x + self.twin.out(self.twin.norm(features))


class DenseMean(nn.Module):
    """A MeanNetwork over volumes; `place` [B * F * cells, ...] are the features of `place_features` and of presence."""

    def __init__(self, twin: MeanNetwork, shape: Shape, strides: tuple[Shape, ...], num_history: int,
                 num_horizon: int) -> None:
        super().__init__()
        self.twin, self.num_history, self.num_horizon = twin, num_history, num_horizon
        self.num_cells = shape[0] * shape[1] * shape[2]
        self.history_conv = DenseConv(twin.history_conv, shape)
        self.trunk = DenseTrunk(twin.trunk, shape, strides, num_horizon)

    def forward(self, history_latents: Tensor, base: Tensor, place: Tensor) -> MeanForecast:
        """history_latents [B * P * cells, L], base [B * F * cells, C] -> MeanForecast."""
        net = self.twin
        history = net.history_in(history_latents)
        history = history + functional.gelu(self.history_conv(functional.gelu(history)))
        mixed = dense_mix(net.mix, torch.cat([base, place], dim=1), history, self.num_horizon, self.num_history,
                          self.num_cells)
        features = net.norm(self.trunk(mixed))
        scale = torch.exp(net.scale_head(features) - 1.0).clamp(MIN_SCALE, MAX_SCALE)
        return MeanForecast(base + net.mean_head(features), scale, features)


class DenseAutoencoder(nn.Module):
    """An Autoencoder over volumes: every voxel is embedded and every voxel is decoded."""

    def __init__(self, twin: Autoencoder, voxel_shape: Shape) -> None:
        super().__init__()
        self.twin, self.shapes = twin, [voxel_shape]
        for stride in twin.settings.strides:
            self.shapes.append(pool_shape(self.shapes[-1], stride))

    def encode(self, classes: Tensor) -> Tensor:
        """Classes [frames * voxels] int64, FREE where free -> standardised latents [frames * coarse cells, L]."""
        table = functional.pad(self.twin.embed.weight[:NUM_CLASSES], (0, 0, 0, 1))  # FREE is all zero
        rows = functional.embedding(classes, table)
        for level, (down, stride) in enumerate(zip(self.twin.down, self.twin.settings.strides)):
            rows = dense_down(down, functional.gelu(rows) if level else rows, self.shapes[level], stride)
        return self.twin.standardise(self.twin.to_latent(rows))

    def logits(self, latents: Tensor) -> tuple[list[Tensor], Tensor]:
        """Latents [frames * coarse cells, L] -> existence logits of every level, coarse to fine, and class logits."""
        net, rows, existence = self.twin, self.twin.from_latent(latents), []
        for level in reversed(range(len(net.up))):
            rows = functional.gelu(dense_up(net.up[level], rows, self.shapes[level], net.settings.strides[level]))
            existence.append(net.existence[level](rows)[:, 0])
        return existence, net.classes(rows)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents of one frame [coarse cells, L] -> classes [voxels] int64; free where any level says so."""
        existence, classes = self.logits(latents)
        exists = torch.ones(len(latents), 1, dtype=torch.bool, device=latents.device)
        for level, logits in zip(reversed(range(len(self.twin.up))), existence):
            stride = self.twin.settings.strides[level]
            slots = stride[0] * stride[1] * stride[2]
            inherited = exists[:, None].expand(-1, slots, -1)
            exists = dense_children(inherited, self.shapes[level], stride) & (logits > 0)[:, None]
        return torch.where(exists[:, 0], classes.argmax(1), FREE)

    def loss(self, latents: Tensor, classes: Tensor) -> Tensor:
        """Cross-entropies of all voxels: existence at the finest level, and the class of the occupied."""
        existence, logits = self.logits(latents)
        occupied = classes != FREE
        return (functional.binary_cross_entropy_with_logits(existence[-1], occupied.float())
                + functional.cross_entropy(logits, torch.where(occupied, classes, -100)))
