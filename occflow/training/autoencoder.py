"""The autoencoder's training, on the distinct patches of coarse sites, drawn so that rare ones are learnt too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from occflow.errors import InputError
from occflow.flow.share import Share
from occflow.grid import FREE, VoxelGrid
from occflow.models.autoencoder import DecodingLoss
from occflow.models.flow_model import FlowModel
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.storage.store import OccupancyStore
from occflow.sparse.sites import Shape, Sites, pool_shape, sites_from_keys
from occflow.training.engine import step_generator, step_rng, train
from occflow.training.fetching import StepFetcher
from occflow.training.optimiser import OptimiserSettings
from occflow.training.processes import own_part, rank, share_of_items, world_size
from occflow.training.run import TrainingRun
from occflow.training.run_log import Figures
from occflow.training.validation import HeldOut, Validation, item_generator

CALIBRATION_BATCHES = 20  # batches that the latents' mean and variance are measured on


def frame_patches(frame: OccupancyFrame, grid: VoxelGrid, stride: Shape) -> np.ndarray:
    """Labels [M, voxels of a patch] uint8 of the M coarse sites that a frame occupies; FREE where empty."""
    voxels, shape = grid.unflatten(frame.flat), pool_shape(grid.shape, stride)
    cells, place = voxels // np.asarray(stride), voxels % np.asarray(stride)
    keys = (cells[:, 0] * shape[1] + cells[:, 1]) * shape[2] + cells[:, 2]
    unique, site = np.unique(keys, return_inverse=True)
    patches = np.full((len(unique), int(np.prod(stride))), FREE, dtype=np.uint8)
    patches[site, (place[:, 0] * stride[1] + place[:, 1]) * stride[2] + place[:, 2]] = frame.labels
    return patches


def mirrored_patches(patches: np.ndarray, stride: Shape) -> np.ndarray:
    """Patches [M, voxels] with left for right: reversed along y."""
    return patches.reshape(-1, *stride)[:, :, ::-1].reshape(len(patches), -1)


@dataclass(frozen=True)
class PatchSet:
    """Distinct patches [P, voxels] uint8, and the probability [P] of drawing each.

    The probability goes with the root of how often a patch occurs: a flat road, which is half of everything,
    does not drown the thousand ways a cyclist can look.
    """

    patches: np.ndarray
    probability: np.ndarray
    stride: Shape

    @classmethod
    def from_store(cls, store: OccupancyStore, split: str, stride: Shape, mirrored: bool = False) -> PatchSet:
        """All patches of a split; with `mirrored` also what they are where left is right.

        Raises:
            InputError: no frame of the split has an occupied voxel.
        """
        found: dict[bytes, int] = {}
        none = np.zeros((0, int(np.prod(stride))), dtype=np.uint8)
        for scene, frames in store.parts(split):
            patches = np.concatenate([none, *(frame_patches(store.frame(scene, index), store.grid, stride)
                                              for index in frames)])
            if not len(patches):
                continue
            if mirrored:
                patches = np.concatenate([patches, mirrored_patches(patches, stride)])
            for patch, count in zip(*np.unique(patches, axis=0, return_counts=True)):
                found[patch.tobytes()] = found.get(patch.tobytes(), 0) + int(count)
        if not found:
            raise InputError(f"{store.path}: no frame of split '{split}' has an occupied voxel to learn from; build it "
                             "from a log whose drives of that split show something, or name another data.store")
        weight = np.sqrt(np.array(list(found.values()), dtype=np.float64))
        patches = np.frombuffer(b"".join(found), dtype=np.uint8).reshape(len(found), -1)
        return cls(patches, weight / weight.sum(), stride)

    def draw(self, count: int, rng: np.random.Generator, part: range | None = None) -> tuple[Sites, Tensor]:
        """`count` patches (that `part` of them) as a ragged batch, a block each: sites [N] and labels [N] int64."""
        part = range(count) if part is None else part
        chosen = self.patches[rng.choice(len(self.patches), count, p=self.probability)[part.start:part.stop]]
        keys = np.flatnonzero(chosen.reshape(-1) != FREE)
        sites = sites_from_keys(torch.from_numpy(keys), self.stride, len(part))
        return sites, torch.from_numpy(chosen.reshape(-1)[keys].astype(np.int64))


@dataclass(frozen=True)
class PatchBatches:
    """The batches of a training's steps, of `size` patches, as far as they are those of one of its processes."""

    patches: PatchSet
    size: int
    seed: int
    process: int = 0
    processes: int = 1

    def __call__(self, step: int) -> tuple[Sites, Tensor]:
        """That of a step, on the host."""
        return self.patches.draw(self.size, step_rng(self.seed, step),
                                 own_part(self.size, self.process, self.processes))


def train_autoencoder(forecaster: FlowModel, store: OccupancyStore, values: Mapping, seed: int,
                      run: TrainingRun, mirrored: bool = False, split: str = "train",
                      held_out: HeldOut | None = None) -> None:
    """Fit the autoencoder to the patches of the training scenes (and mirrored ones); the moving average is kept. Held
    out are batches of patches, as PatchSet.draw gives them."""
    patches = PatchSet.from_store(store, split, forecaster.settings.autoencoder.total_stride, mirrored)
    autoencoder = forecaster.autoencoder

    share = share_of_items(values["patches"])
    make = PatchBatches(patches, values["patches"], seed, rank(), world_size())
    batches = StepFetcher(make, values["steps"], run.feed_workers, forecaster.device)

    def on_device(sites: Sites, labels: Tensor) -> tuple[Sites, Tensor]:
        return sites.to(forecaster.device), labels.to(forecaster.device)

    def loss_of(patches: tuple[Sites, Tensor], generator: torch.Generator, share: Share | None) -> DecodingLoss:
        return autoencoder.loss(*on_device(*patches), values["latent_noise"], generator, values["unlabelled_share"],
                                values["lovasz_weight"], share)

    def loss_of_step(step: int) -> tuple[Tensor, Figures]:
        loss = loss_of(batches.get(step), step_generator(seed, step), share)
        return loss.existence + loss.classes, {"existence": loss.existence.detach(), "classes": loss.classes.detach()}

    def held_out_loss(index: int) -> Tensor:
        loss = loss_of(held_out.items[index], item_generator(index), None)
        return loss.existence + loss.classes

    forecaster.autoencoder = train(run, "autoencoder", autoencoder, OptimiserSettings.from_config(values), loss_of_step,
                                   samples=values["patches"], unit="patch",
                                   validation=held_out and Validation(held_out, held_out_loss))
    rng = np.random.default_rng(seed)  # the same in every process
    forecaster.autoencoder.calibrate(on_device(*patches.draw(values["patches"], rng))
                                     for _ in range(CALIBRATION_BATCHES))
