"""The sparse autoencoder: voxels of a frame <-> latents on coarse sites, decoded coarse to fine with pruning."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from occflow.flow.share import Share
from occflow.grid import NUM_CLASSES
from occflow.models.lovasz import lovasz_softmax
from occflow.sparse.layers import PatchDown, PatchUp
from occflow.sparse.sites import Pooling, Shape, Sites, distinct_rows, index_volume, pool, sites_from_keys

UNKNOWN = NUM_CLASSES  # class of a voxel that was given no label; encoded, never decoded
NO_VOXEL = -1  # label of a place in a patch where no voxel is
LATENT_BOUND = 4.0  # standard deviations; keeps a rare latent from dominating the flow's loss


@dataclass(frozen=True)
class AutoencoderSettings:
    """Strides from the voxel level up to the coarse sites, channels of each level, channels of a latent."""

    strides: tuple[Shape, ...]
    widths: tuple[int, ...]  # one for the voxels and one for each coarser level
    latent_channels: int

    @property
    def total_stride(self) -> Shape:
        total = (1, 1, 1)
        for stride in self.strides:
            total = tuple(a * b for a, b in zip(total, stride))
        return total


@dataclass(frozen=True)
class DecodingLoss:
    """Mean existence cross-entropy over the levels, and cross-entropy plus weighted Lovász-softmax of the true voxels'
    classes; scalars."""

    existence: Tensor
    classes: Tensor


class Autoencoder(nn.Module):
    """A code for the voxels of one coarse site, which neither side extends beyond.

    So where nothing changes no latent changes, and the training set is the set of distinct patches: a rare
    object is learnt as fast as a road (training.patches). The decoder decides the existence of children and
    prunes level by level, then the classes of the voxels that are left. What neighbours say is the trunks' job.
    """

    def __init__(self, settings: AutoencoderSettings) -> None:
        super().__init__()
        self.settings = settings
        widths, top = settings.widths, settings.widths[-1]
        slots = [x * y * z for x, y, z in settings.strides]
        self.embed = nn.Embedding(NUM_CLASSES + 1, widths[0])  # and UNKNOWN
        self.down = nn.ModuleList(PatchDown(widths[i], widths[i + 1], slots[i]) for i in range(len(slots)))
        self.to_latent = nn.Sequential(nn.GELU(), nn.Linear(top, top), nn.GELU(),
                                       nn.Linear(top, settings.latent_channels))
        self.standardise = nn.BatchNorm1d(settings.latent_channels, affine=False)
        self.from_latent = nn.Linear(settings.latent_channels, top)
        self.up = nn.ModuleList(PatchUp(widths[i + 1], widths[i], slots[i]) for i in range(len(slots)))
        self.existence = nn.ModuleList(nn.Linear(widths[i], 1) for i in range(len(slots)))
        self.classes = nn.Sequential(nn.Linear(widths[0], 2 * widths[0]), nn.GELU(),
                                     nn.Linear(2 * widths[0], NUM_CLASSES))

    def pyramid(self, sites: Sites) -> list[Pooling]:
        """The poolings from the voxels up to the coarse sites."""
        poolings = []
        for stride in self.settings.strides:
            poolings.append(pool(sites, stride))
            sites = poolings[-1].coarse
        return poolings

    def encode(self, sites: Sites, labels: Tensor) -> tuple[Sites, Tensor]:
        """Voxels [N] with labels [N] int64 (or UNKNOWN) -> coarse sites [M] and standardised latents [M, C]."""
        poolings = self.pyramid(sites)
        return poolings[-1].coarse, self._latents(labels, poolings)

    @torch.inference_mode()
    def encode_repeating(self, sites: Sites, labels: Tensor) -> tuple[Sites, Tensor]:
        """`encode`, where many coarse sites hold the same voxels: each distinct patch goes through the layers once."""
        pooling = pool(sites, self.settings.total_stride)
        patches = labels.new_full((len(pooling.coarse), pooling.num_slots), NO_VOXEL)
        patches[pooling.parent, pooling.slot] = labels
        first, number = distinct_rows(patches)
        chosen = torch.zeros(len(patches), dtype=torch.bool, device=labels.device).index_fill_(0, first, True)
        kept = chosen[pooling.parent]
        distinct = Sites(sites.coords[kept], sites.shape, sites.num_blocks)
        return pooling.coarse, self.encode(distinct, labels[kept])[1][number]

    def _latents(self, labels: Tensor, poolings: list[Pooling]) -> Tensor:
        features = self.embed(labels)
        for level, (down, pooling) in enumerate(zip(self.down, poolings)):
            features = down(functional.gelu(features) if level else features, pooling)
        standardised = self.standardise(self.to_latent(features))
        return LATENT_BOUND * torch.tanh(standardised / LATENT_BOUND)

    @torch.no_grad()
    def calibrate(self, batches: Iterable[tuple[Sites, Tensor]]) -> None:
        """Set the standardisation to the statistics of `batches` under the present weights."""
        self.standardise.reset_running_stats()
        self.standardise.momentum = None  # the plain average over the batches
        self.train()
        for sites, labels in batches:
            self._latents(labels, self.pyramid(sites))
        self.eval()

    def decode(self, sites: Sites, latents: Tensor, voxel_shape: Shape, classes: Tensor | None = None
               ) -> tuple[Sites, Tensor]:
        """Coarse sites [M] that exist, with latents [M, C] -> voxels [N] and their labels [N] int64.

        Args:
            classes: [NUM_CLASSES] bool, what labels may be, at least one; None: any.
        """
        features, shapes = self.from_latent(latents), self._shapes(voxel_shape)
        for level in reversed(range(len(self.up))):
            children = functional.gelu(self.up[level].expand(features))
            exists = self.existence[level](children)[..., 0] > 0  # [M, slots]
            sites, chosen = children_of(sites, self.settings.strides[level], shapes[level], exists)
            features = children.flatten(0, 1)[chosen]
        logits = self.classes(features)
        return sites, (logits if classes is None else logits.masked_fill(~classes, -torch.inf)).argmax(1)

    @torch.inference_mode()
    def decode_repeating(self, sites: Sites, latents: Tensor, voxel_shape: Shape, classes: Tensor | None = None
                         ) -> tuple[Sites, Tensor]:
        """`decode`, where many coarse sites have the same latents: each distinct one goes through the layers once."""
        stride = self.settings.total_stride
        first, number = distinct_rows(latents.contiguous().view(torch.int32))
        alone = sites_from_keys(torch.arange(len(first), device=latents.device), (1, 1, 1), len(first))
        voxels, labels = self.decode(alone, latents[first], stride, classes)  # each patch a grid of its own
        patches = labels.new_full((len(first), math.prod(stride)), NO_VOXEL)
        patches.view(-1)[voxels.keys] = labels
        patches = patches[number]
        voxels, chosen = children_of(sites, stride, voxel_shape, patches != NO_VOXEL)
        return voxels, patches.flatten()[chosen]

    def _shapes(self, voxel_shape: Shape) -> list[Shape]:
        """Grid shape of each level's fine side, from the voxels up."""
        shapes = [voxel_shape]
        for stride in self.settings.strides[:-1]:
            shapes.append(tuple(-(-cells // step) for cells, step in zip(shapes[-1], stride)))
        return shapes

    def loss(self, sites: Sites, labels: Tensor, noise: float, generator: torch.Generator,
             unlabelled_share: float = 0.0, lovasz_weight: float = 0.0, patches: Share | None = None) -> DecodingLoss:
        """Reconstruction loss with latents disturbed by `noise` standard deviations, true sites at every level.

        The disturbance makes the decoder indifferent to the small errors of a sampled latent. A share of the blocks
        is shown without labels, which are to be guessed: so a frame straight from a sensor can be encoded too.
        `patches` says what the blocks, each of one coarse site then, are of a batch that several processes share.
        """
        poolings = self.pyramid(sites)
        blocks = patches or Share.whole(sites.num_blocks)
        hidden = blocks.of(torch.rand(blocks.total, generator=generator)).to(labels.device) < unlabelled_share
        latents = self._latents(labels.masked_fill(hidden[sites.coords[:, 0].long()], UNKNOWN), poolings)
        rows = patches or Share.whole(len(latents))
        disturbance = rows.of(torch.randn((rows.total, latents.shape[1]), generator=generator)).to(latents)
        features = self.from_latent(latents + noise * disturbance)
        existence_losses = []
        for level in reversed(range(len(self.up))):
            pooling = poolings[level]
            children = functional.gelu(self.up[level].expand(features))
            index = pooling.parent * pooling.num_slots + pooling.slot
            logits = self.existence[level](children).reshape(-1)
            target = torch.zeros_like(logits).index_fill(0, index, 1.0)
            existence_losses.append(_existence_loss(logits, target, rows))
            features = children.flatten(0, 1)[index]
        return DecodingLoss(torch.stack(existence_losses).mean(),
                            class_loss(self.classes(features), labels, lovasz_weight, rows))


def _existence_loss(logits: Tensor, target: Tensor, share: Share) -> Tensor:
    """Mean cross-entropy of places [N], of which only the patches that they are in are known to be a `share`."""
    if share.alone:
        return functional.binary_cross_entropy_with_logits(logits, target)
    total = functional.binary_cross_entropy_with_logits(logits, target, reduction="sum")
    return share.ratio(total, total.new_full((), len(logits), dtype=torch.int64))


def class_loss(logits: Tensor, labels: Tensor, lovasz_weight: float, share: Share | None = None) -> Tensor:
    """Cross-entropy by the root of each class's rarity, plus weighted Lovász-softmax; logits [N, 17], labels [N], of
    voxels that are a `share` of a batch."""
    share = share or Share.whole(len(labels))
    weights = class_weights(labels, share)
    if share.alone:
        loss = functional.cross_entropy(logits, labels, weights)
    else:
        loss = share.ratio(functional.cross_entropy(logits, labels, weights, reduction="sum"), weights[labels].sum())
    return loss + lovasz_weight * lovasz_softmax(logits, labels, share) if lovasz_weight else loss


def class_weights(labels: Tensor, share: Share | None = None) -> Tensor:
    """[NUM_CLASSES] weights by the inverse root of each class's count (in a joint batch, where the labels are a `share`
    of it), so that mIoU's rare classes are learnt."""
    counts = torch.bincount(labels, minlength=NUM_CLASSES)
    return (counts if share is None else share.summed(counts)).clamp(min=1).float().rsqrt()


def children_of(sites: Sites, stride: Shape, shape: Shape, exists: Tensor) -> tuple[Sites, Tensor]:
    """The child sites marked in `exists` [M, slots], sorted, and which children [N] (of M * slots) they are.

    Children outside `shape` (of an incomplete last cell) must not be marked; `exists` is cleared there in place.
    """
    slots = torch.arange(exists.shape[1], device=sites.coords.device)
    place = torch.stack([slots // (stride[1] * stride[2]), slots // stride[2] % stride[1], slots % stride[2]])
    block, *cells = sites.coords.long().unbind(1)
    first, offset = block, torch.zeros_like(slots)  # the key of a child is that of its cell's first one plus an offset
    for cell, step, length, within in zip(cells, stride, shape, place):
        first, offset = first * length + cell * step, offset * length + within
        if length % step:
            exists &= cell[:, None] * step + within < length
    chosen = exists.flatten().nonzero()[:, 0]
    keys, order = (first[:, None] + offset).flatten()[chosen].sort()
    return sites_from_keys(keys, shape, sites.num_blocks), chosen[order]


def at_sites(values: Tensor, sites: Sites, wanted: Sites, absent: float = 0.0) -> tuple[Tensor, Tensor]:
    """Values [M, C] on `sites` read at the sites `wanted` [N]: values [N, C] (`absent` where missing), found [N]."""
    index = index_volume(sites).index_select(0, wanted.keys)
    padded = torch.cat([values, values.new_full((1, values.shape[1]), absent)])
    return padded.index_select(0, index), index < len(sites)
