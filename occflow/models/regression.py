"""The regression twin's loss: the same trunk, cross-entropy on voxels, one pass (docs/scores.md, "Baselines").

The twin is a FlowModel whose mean network and decoder are trained together to predict the future's voxels
directly. It tells what generation costs in IoU and what it buys in distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from occflow.grid import VoxelGrid
from occflow.models.autoencoder import Autoencoder, class_weights
from occflow.models.flow_model import FlowModel
from occflow.occupancy.frame import OccupancyFrame
from occflow.sparse.sites import Shape, Sites, lookup

EXISTENCE_SHARPNESS = 2.0  # logit a unit of the existence channel: -1 and 1 are probabilities 0.12 and 0.88


@dataclass(frozen=True)
class TrueFuture:
    """The true voxels of a horizon and all coarser levels.

    Args:
        levels: sites from the voxels up to the coarse sites.
        labels: [V] int64 of the voxels.
    """

    levels: tuple[Sites, ...]
    labels: Tensor

    @classmethod
    def of(cls, forecaster: FlowModel, frames: tuple[OccupancyFrame, ...], grid: VoxelGrid) -> TrueFuture:
        """Of frames in `grid`, the forecaster's own or a part of it."""
        return cls.of_sites(forecaster, *forecaster.voxel_sites(frames, grid))

    @classmethod
    def of_sites(cls, forecaster: FlowModel, sites: Sites, labels: Tensor) -> TrueFuture:
        """Of the voxels' sites, block = frame, with labels [V] int64."""
        poolings = forecaster.autoencoder.pyramid(sites)
        return cls((sites, *(pooling.coarse for pooling in poolings)), labels)


def twin_loss(forecaster: FlowModel, state: Tensor, support: Sites, truth: TrueFuture) -> Tensor:
    """Cross-entropy of what a state [N, C + 1] on a support decodes to.

    Existence is judged wherever the decoder gets to: at true sites and at those it keeps by mistake. Judged at true
    sites alone, the decoder would learn the probability of a voxel given that its site exists, and fill wrong sites.
    """
    channels = forecaster.settings.autoencoder.latent_channels
    logits = EXISTENCE_SHARPNESS * state[:, channels]
    exists = lookup(support.keys, truth.levels[-1].keys) < len(truth.levels[-1])
    reached = exists | (logits.detach() > 0)
    site_loss = functional.binary_cross_entropy_with_logits(logits, exists.float())
    return site_loss + decoder_loss(forecaster.autoencoder, support.keys[reached], state[reached, :channels], truth)


def decoder_loss(autoencoder: Autoencoder, keys: Tensor, latents: Tensor, truth: TrueFuture) -> Tensor:
    """Mean existence cross-entropy of the levels plus class cross-entropy, from coarse sites `keys` [M] on down; 0 of
    what there is none of."""
    features, losses = autoencoder.from_latent(latents), []
    for level in reversed(range(len(autoencoder.up))):
        fine, coarse = truth.levels[level], truth.levels[level + 1]
        children = functional.gelu(autoencoder.up[level].expand(features))  # [M, slots, C]
        logits = autoencoder.existence[level](children)[..., 0]
        child_keys, inside = keys_of_children(keys, coarse.shape, autoencoder.settings.strides[level], fine.shape)
        exists = (lookup(child_keys.flatten(), fine.keys) < len(fine)).view(inside.shape) & inside
        losses.append(functional.binary_cross_entropy_with_logits(logits[inside], exists[inside].float())
                      if len(keys) else logits.sum())
        kept = exists | (inside & (logits.detach() > 0))
        keys, features = child_keys[kept], children[kept]
    place = lookup(keys, truth.levels[0].keys)
    true = place < len(truth.labels)
    labels = truth.labels[place[true]]
    logits = autoencoder.classes(features[true])
    classes = functional.cross_entropy(logits, labels, class_weights(labels)) if len(labels) else logits.sum()
    return torch.stack(losses).mean() + classes


def keys_of_children(keys: Tensor, shape: Shape, stride: Shape, fine_shape: Shape) -> tuple[Tensor, Tensor]:
    """Keys [M, slots] of the children of cells `keys` [M] in a grid of `shape`, and which lie in the fine grid."""
    x, y, z = keys // (shape[2] * shape[1]) % shape[0], keys // shape[2] % shape[1], keys % shape[2]
    block = keys // (shape[2] * shape[1] * shape[0])
    slot = torch.arange(stride[0] * stride[1] * stride[2], device=keys.device)
    fine = [cell[:, None] * step + place for cell, step, place in zip(
        (x, y, z), stride, (slot // (stride[1] * stride[2]), slot // stride[2] % stride[1], slot % stride[2]))]
    inside = (fine[0] < fine_shape[0]) & (fine[1] < fine_shape[1]) & (fine[2] < fine_shape[2])
    return ((block[:, None] * fine_shape[0] + fine[0]) * fine_shape[1] + fine[1]) * fine_shape[2] + fine[2], inside
