"""Where features live: the sites of a ragged batch of frames, and how levels of resolution hang together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Rulebook:
    """Which site reads which at every kernel offset: pairs [2, 27, N] int32 (from, to) and their counts [27] int32."""

    pairs: Tensor
    counts: Tensor


@dataclass
class Sites:
    """Active voxels of a batch of frames ("blocks").

    Args:
        coords: [N, 4] int32 (block, x, y, z), unique, sorted by `keys`.
        shape: cells along x, y, z.
        num_blocks: number of frames in the batch.
        rulebook, neighbours: built by the first convolution and shared by all later ones (networks, ODE steps);
            spconv's, or the table that stands in for it (sparse.gathered).
    """

    coords: Tensor
    shape: Shape
    num_blocks: int
    rulebook: Rulebook | None = None
    neighbours: Tensor | None = None

    def __len__(self) -> int:
        return len(self.coords)

    @cached_property
    def keys(self) -> Tensor:
        """[N] int64: position of each site in the dense volume [block, x, y, z]."""
        return site_keys(self.coords, self.shape)

    def to(self, device: torch.device | str) -> Sites:
        """The same sites on another device; its neighbours are looked up anew there."""
        return Sites(self.coords.to(device), self.shape, self.num_blocks)


def site_keys(coords: Tensor, shape: Shape) -> Tensor:
    """Coordinates [N, 4] (block, x, y, z) -> keys [N] int64, z running fastest."""
    block, x, y, z = coords.long().unbind(1)
    return ((block * shape[0] + x) * shape[1] + y) * shape[2] + z


def sites_from_keys(keys: Tensor, shape: Shape, num_blocks: int) -> Sites:
    """Sorted unique keys [N] int64 -> Sites, which keep them."""
    rest = keys.int() if num_blocks * math.prod(shape) < 2**31 else keys  # the shorter, the faster to divide
    columns = []
    for length in reversed(shape):
        above = rest // length
        columns.insert(0, rest - above * length)
        rest = above
    sites = Sites(torch.stack([rest, *columns], dim=1).int(), shape, num_blocks)
    sites.keys = keys
    return sites


@dataclass(frozen=True)
class Pooling:
    """How fine sites fall into the cells of a coarser grid.

    Args:
        coarse: the coarse sites (every cell that holds a fine site).
        parent: [N] int64 index of each fine site's cell.
        slot: [N] int64 place of the fine site within its cell, 0 .. prod(stride) - 1.
        stride: fine cells a coarse cell, along x, y, z.
    """

    coarse: Sites
    parent: Tensor
    slot: Tensor
    stride: Shape

    @property
    def num_slots(self) -> int:
        return self.stride[0] * self.stride[1] * self.stride[2]


def pool_shape(shape: Shape, stride: Shape) -> Shape:
    """Shape of the coarse grid; an incomplete last cell counts."""
    return tuple(-(-cells // step) for cells, step in zip(shape, stride))


def planes_and_places(keys: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
    """Keys [N] -> their plane (block * X + x) and their place in it (y * Z + z), [N] int64 each: what depends on cells
    axis by axis is looked up in a short table of either and summed."""
    planes = keys // (shape[1] * shape[2])
    return planes, keys - planes * (shape[1] * shape[2])


def coarse_keys(keys: Tensor, shape: Shape, stride: Shape, num_blocks: int) -> tuple[Tensor, Tensor]:
    """Keys of sites [N] -> keys of the coarse cells that hold them, and their places in these (Pooling.slot)."""
    block, x, y, z = (torch.arange(length, device=keys.device) for length in (num_blocks, *shape))
    coarse, (across, up, deep) = pool_shape(shape, stride), stride
    planes, places = planes_and_places(keys, shape)
    plane_keys = ((block[:, None] * coarse[0] + x // across) * (coarse[1] * coarse[2])).flatten()
    place_keys = ((y // up)[:, None] * coarse[2] + z // deep).flatten()
    plane_slots = (x % across * (up * deep)).repeat(num_blocks)
    place_slots = ((y % up)[:, None] * deep + z % deep).flatten()
    return (plane_keys.index_select(0, planes).add_(place_keys.index_select(0, places)),
            plane_slots.index_select(0, planes).add_(place_slots.index_select(0, places)))


def cells_held(keys: Tensor, shape: Shape, stride: Shape, num_blocks: int) -> Tensor:
    """[blocks * X' * Y' * Z'] bool: the coarse cells that hold sites of these keys [N], in any order."""
    held = torch.zeros(num_blocks * math.prod(pool_shape(shape, stride)), dtype=torch.bool, device=keys.device)
    return held.index_fill_(0, coarse_keys(keys, shape, stride, num_blocks)[0], True)


def index_volume(sites: Sites) -> Tensor:
    """[blocks * X * Y * Z] int32: index of the site in each cell, N where there is none."""
    volume = torch.full((sites.num_blocks * math.prod(sites.shape),), len(sites), dtype=torch.int32,
                        device=sites.coords.device)
    return volume.index_copy_(0, sites.keys, _range(sites.keys).int())


def index_volume_with_margin(sites: Sites, outside: int) -> Tensor:
    """[blocks, X + 2, Y + 2, Z + 2] int32: the same with a margin of one cell around each block, which holds
    `outside`."""
    return functional.pad(index_volume(sites).view(sites.num_blocks, *sites.shape), [1] * 6, value=outside)


def pool(sites: Sites, stride: Shape) -> Pooling:
    """The coarse sites that hold `sites`, and each site's place in them."""
    shape = pool_shape(sites.shape, stride)
    keys, slot = coarse_keys(sites.keys, sites.shape, stride, sites.num_blocks)
    held = torch.zeros(sites.num_blocks * math.prod(shape), dtype=torch.bool, device=keys.device)
    coarse = sites_from_keys(held.index_fill_(0, keys, True).nonzero()[:, 0], shape, sites.num_blocks)
    return Pooling(coarse, index_volume(coarse).index_select(0, keys).long(), slot, stride)


def lookup(keys: Tensor, sorted_keys: Tensor) -> Tensor:
    """Index of each of `keys` [M] within `sorted_keys` [N]; N where it is not there."""
    index = torch.searchsorted(sorted_keys, keys)
    index[index == len(sorted_keys)] = 0
    if len(sorted_keys) == 0:
        return index
    return torch.where(sorted_keys[index] == keys, index, len(sorted_keys))


def distinct_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Where each distinct row of integers [N, K] stands first, [U] increasing, and which of these each row equals, [N].

    Rows are sorted by one random number made of each; that equal numbers mean equal rows is checked.
    """
    factors = torch.randint(2**62, (rows.shape[1],), generator=torch.Generator().manual_seed(0)).to(rows.device)
    codes, number = torch.unique((rows.long() * (2 * factors + 1)).sum(dim=1), return_inverse=True)
    first = torch.full_like(codes, len(rows)).scatter_reduce_(0, number, _range(rows), "amin")
    if not torch.equal(rows[first][number], rows):
        first, number = _range(rows), _range(rows)  # of 10,000 rows once in a hundred billion times
    order = first.argsort()
    rank = torch.empty_like(order)
    rank[order] = _range(order)
    return first[order], rank[number]


def _range(like: Tensor) -> Tensor:
    return torch.arange(len(like), device=like.device)
