"""The submanifold convolution as one gather and one matrix product: what runs on GPUs, and where spconv is not.

Neighbour 26 - k of site j is i where neighbour k of i is j. So the gradient in the features is such a convolution too,
of the result's gradient by the mirrored kernel: nothing is scattered, and equal inputs give equal results.
"""

from __future__ import annotations

import torch
from torch import Tensor

from occflow.sparse.sites import Sites, index_volume_with_margin

MAX_GATHERED_BYTES = 512 << 20  # of the gathered rows that are in memory at once


def neighbour_table(sites: Sites) -> Tensor:
    """[N, 27] int32: index of the site at each kernel offset, N where there is none; kept with the sites.

    Looked up in a dense volume with a margin of one cell, so that no neighbour is outside, by operations that do not
    wait for the device; in what order the sites are does not matter.
    """
    if sites.neighbours is None:
        device, (x, y, z) = sites.coords.device, (cells + 2 for cells in sites.shape)
        block, *cell = sites.coords.long().unbind(1)
        place = ((block * x + cell[0] + 1) * y + cell[1] + 1) * z + cell[2] + 1
        volume = index_volume_with_margin(sites, len(sites)).view(-1)
        offset = torch.arange(27, device=device)  # of a flattened kernel
        step = ((offset // 9 - 1) * y + offset // 3 % 3 - 1) * z + offset % 3 - 1
        sites.neighbours = volume.index_select(0, (place[:, None] + step).view(-1)).view(-1, 27)
    return sites.neighbours


def convolved(features: Tensor, weight: Tensor, table: Tensor) -> Tensor:
    """Features [N, C_in], weight [C_out, 27, C_in] or [C_out, 3, 3, 3, C_in], table [N, 27] -> [N, C_out], in the
    precision of the features."""
    padded, matrix = _with_zeros(features), weight.flatten(1).t().to(features.dtype)
    parts = [_rows(padded, part) @ matrix for part in _split(table, features)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def gradient_in_features(gradient: Tensor, weight: Tensor, table: Tensor) -> Tensor:
    """Gradient in the result [N, C_out] -> in the features [N, C_in]."""
    return convolved(gradient, weight.flatten(1, 3).flip(1).transpose(0, 2), table)


def gradient_in_weight(features: Tensor, gradient: Tensor, weight: Tensor, table: Tensor) -> Tensor:
    """Features [N, C_in], gradient in the result [N, C_out] -> in the weight, like it. Rows are gathered anew."""
    padded, total = _with_zeros(features), torch.zeros_like(weight).flatten(1)
    for part, own in zip(_split(table, features), _split(gradient, features)):
        total += own.t() @ _rows(padded, part)
    return total.view_as(weight)


def _with_zeros(features: Tensor) -> Tensor:
    return torch.cat([features, features.new_zeros(1, features.shape[1])])


def _rows(padded: Tensor, table: Tensor) -> Tensor:
    """[N + 1, C] at a table [M, 27] -> [M, 27 C]."""
    return padded.index_select(0, table.reshape(-1)).view(len(table), 27 * padded.shape[1])


def _split(rows: Tensor, features: Tensor) -> tuple[Tensor, ...]:
    """Rows [N, ...] in parts whose gathered features stay within MAX_GATHERED_BYTES."""
    return rows.split(max(1, MAX_GATHERED_BYTES // (27 * features.shape[1] * features.element_size())))
