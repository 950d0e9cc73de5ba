"""Plain-torch twins of the sparse layers: short enough to be read, differentiable in every mode.

The fast layers are tested against these; `layer_norm_by_definition` also stands in for torch's where a forward-mode
derivative passes.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn import functional

from occflow.sparse.sites import Pooling, Shape, Sites, lookup, site_keys

KERNEL_OFFSETS = tuple(itertools.product((-1, 0, 1), repeat=3))  # in the order of a flattened 3 x 3 x 3 kernel


def neighbours(sites: Sites) -> Tensor:
    """[N, 27] int64: index of the site at each kernel offset; N where there is none."""
    columns = []
    for offset in KERNEL_OFFSETS:
        cells = sites.coords.long() + torch.tensor((0, *offset), device=sites.coords.device)
        inside = ((cells[:, 1:] >= 0) & (cells[:, 1:] < torch.tensor(sites.shape, device=cells.device))).all(1)
        columns.append(torch.where(inside, lookup(site_keys(cells, sites.shape), sites.keys), len(sites)))
    return torch.stack(columns, dim=1)


def gather_matmul_scatter(features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
    """Submanifold convolution by its definition: each kernel offset gathers, multiplies and adds.

    Args:
        features: [N, C_in]; weight: [C_out, 3, 3, 3, C_in] (spconv's layout).
    """
    result = features.new_zeros(len(sites), len(weight))
    for column, kernel in zip(neighbours(sites).unbind(1), weight.flatten(1, 3).unbind(1)):
        target = (column < len(sites)).nonzero()[:, 0]
        result = result.index_add(0, target, features[column[target]] @ kernel.t())
    return result


def dense_volume(features: Tensor, sites: Sites) -> Tensor:
    """Features [N, C] -> [blocks, C, X, Y, Z], zero where there is no site."""
    block, x, y, z = sites.coords.long().unbind(1)
    volume = features.new_zeros(sites.num_blocks, *sites.shape, features.shape[1])
    return volume.index_put((block, x, y, z), features).permute(0, 4, 1, 2, 3)


def read_volume(volume: Tensor, sites: Sites) -> Tensor:
    """The inverse of `dense_volume`: [blocks, C, X, Y, Z] -> [N, C] at the sites."""
    block, x, y, z = sites.coords.long().unbind(1)
    return volume[block, :, x, y, z]


def submanifold_dense(features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
    """Submanifold convolution through a dense volume; arguments as for `gather_matmul_scatter`."""
    volume = functional.conv3d(dense_volume(features, sites), weight.permute(0, 4, 1, 2, 3), padding=1)
    return read_volume(volume, sites)


def down_kernel(weight: Tensor, stride: Shape) -> Tensor:
    """Weight of PatchDown's linear [C_out, slots * C_in] as a conv3d kernel [C_out, C_in, *stride]."""
    return weight.view(len(weight), *stride, -1).permute(0, 4, 1, 2, 3)


def up_kernel(weight: Tensor, stride: Shape) -> Tensor:
    """Weight of PatchUp's linear [slots * C_out, C_in] as a conv_transpose3d kernel [C_in, C_out, *stride]."""
    return weight.view(*stride, -1, weight.shape[1]).permute(4, 3, 0, 1, 2)


def whole_cells(volume: Tensor, stride: Shape) -> Tensor:
    """[..., X, Y, Z] with zeros appended until every coarse cell is complete."""
    missing = [-cells % step for cells, step in zip(volume.shape[-3:], stride)]
    return functional.pad(volume, (0, missing[2], 0, missing[1], 0, missing[0]))


def patch_down_dense(features: Tensor, weight: Tensor, bias: Tensor, fine: Sites, pooling: Pooling) -> Tensor:
    """PatchDown as a dense convolution whose stride is its kernel: [N_fine, C_in] -> [N_coarse, C_out]."""
    volume = whole_cells(dense_volume(features, fine), pooling.stride)
    coarse = functional.conv3d(volume, down_kernel(weight, pooling.stride), bias, stride=pooling.stride)
    return read_volume(coarse, pooling.coarse)


def patch_up_dense(features: Tensor, weight: Tensor, bias: Tensor, fine: Sites, pooling: Pooling) -> Tensor:
    """PatchUp as a dense transposed convolution: [N_coarse, C_in] -> [N_fine, C_out]; bias [slots * C_out]."""
    volume = dense_volume(features, pooling.coarse)
    raised = functional.conv_transpose3d(volume, up_kernel(weight, pooling.stride), stride=pooling.stride)
    return read_volume(raised, fine) + bias.view(pooling.num_slots, -1)[pooling.slot]


def table_mix_by_loops(own: Tensor, source: Tensor, table: Tensor, gathered_weight: Tensor, own_layer: torch.nn.Linear,
                       out_layer: torch.nn.Linear) -> Tensor:
    """TableMix site by site and entry by entry; gathered_weight [hidden, K * C_source], the others its layers."""
    kernels = gathered_weight.view(len(gathered_weight), table.shape[1], -1).unbind(1)
    rows = []
    for site, entries in enumerate(table.tolist()):
        hidden = own_layer(own[site])
        for kernel, entry in zip(kernels, entries):
            if entry < len(source):
                hidden = hidden + kernel @ source[entry]
        rows.append(out_layer(functional.gelu(hidden)))
    return torch.stack(rows) if rows else own.new_zeros(0, out_layer.out_features)


def layer_norm_by_definition(features: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axis (Ba et al., arXiv 1607.06450); [..., C]."""
    features = features.to(weight.dtype)  # autocast may have halved them
    centred = features - features.mean(dim=-1, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(dim=-1, keepdim=True) + eps) * weight + bias
