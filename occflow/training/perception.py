"""The perception network's training: the whole drive's hindsight is the teacher of what a car sees at an instant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from occflow.errors import InputError
from occflow.flow.share import Share
from occflow.geometry import transform
from occflow.grid import FREE, NUM_CLASSES, OTHERS, VoxelGrid
from occflow.logs.protocol import UNLABELLED
from occflow.models.lovasz import lovasz_jaccard
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.sighting import Sighting, cell_grid
from occflow.occupancy.storage.store import OccupancyStore
from occflow.occupancy.warp import regridded_mask, warp
from occflow.perception.network import PerceptionInput, PerceptionNetwork
from occflow.perception.perceive import Perceiver, as_input
from occflow.training.engine import step_rng, train
from occflow.training.fetching import StepFetcher
from occflow.training.optimiser import OptimiserSettings
from occflow.training.processes import own_part, rank, share_of_items, world_size
from occflow.training.run import TrainingRun
from occflow.training.run_log import Figures
from occflow.training.thresholds import threshold_of_best_iou
from occflow.training.validation import HeldOut, Validation

OCCUPANCY_WEIGHT = 4.0  # of its loss beside that of the classes, which starts four times as large
NEGLIGIBLE = 0.01  # probabilities up to it are left out of the Jaccard distances: most voxels are surely free
THINNED, MOST_THINNED = 0.3, 0.6  # share of the sightings that lose cells, and at most what share of these
MIRRORED, REVERSED = 0.5, 0.2  # shares of the sightings that are mirrored left for right, and front for back
AHEAD = 0.5  # share of the sightings that know more than their grid of which a part that lies anywhere is taken
LATER = 8  # frames after a sighting that tell what lies beyond its grid
UNTOLD = 253  # class of a voxel that no frame's grid holds: nothing is learnt of it
THRESHOLDS = np.linspace(0.2, 0.7, 26)


@dataclass(frozen=True)
class PerceptionExample:
    """What a car saw at an instant, and the classes [X, Y, Z] uint8 that hindsight gives: FREE where nothing is,
    UNLABELLED where nobody has said what it is, UNTOLD where there is no hindsight."""

    sighting: Sighting
    classes: np.ndarray


def examples(store: OccupancyStore, split: str) -> list[tuple[str, int]]:
    """Scene and number of every frame of a split, whose sightings the store must hold.

    Raises:
        InputError: none; a store without sightings.
    """
    found = [(scene, index) for scene, frames in store.parts(split) for index in frames]
    if not found:
        raise InputError(f"{store.path}: no frame of split '{split}' to learn to perceive from")
    store.sighting(*found[0])
    return found


def example(store: OccupancyStore, scene: str, index: int) -> PerceptionExample:
    """One of `examples`, on the grid of the store."""
    sighting = store.sighting(scene, index)
    return PerceptionExample(sighting.part(store.grid, store.grid), _frame(store, scene, index).dense(store.grid))


def part_of_example(store: OccupancyStore, scene: str, index: int, place: np.ndarray) -> PerceptionExample:
    """Of one of `examples`, what was seen in a part of its area as large as the grid. What lies there is told by the
    frame itself and, beyond its grid, by those that come: each place as it was when a grid first held it.

    Args:
        place: [2] from 0 to 1, where in the area the part lies along x and y.
    """
    sighting, grid = store.sighting(scene, index), store.grid
    area = sighting.area or grid
    first = np.floor(place * (np.array(area.shape[:2]) - grid.shape[:2] + 1)).astype(int)
    part = replace(grid, origin_m=(*(np.array(area.origin_m[:2]) + first * grid.voxel_size_m), grid.origin_m[2]))
    pose = sighting.world_from_grid.copy()
    pose[:3, 3] = transform(pose, np.array([part.origin_m]) - grid.origin_m)[0]
    classes, untold = np.full(grid.shape, UNTOLD, np.uint8), np.ones(grid.shape, dtype=bool)
    for later in range(index, min(index + LATER + 1, store.num_frames(scene))):
        frame = replace(_frame(store, scene, later), observed=None)  # by its grid, not by its rays
        held = np.unpackbits(regridded_mask(frame, grid, pose), count=grid.num_voxels).astype(bool)
        told = untold & held.reshape(grid.shape)
        classes[told] = warp(frame, grid, pose).dense(grid)[told]
        untold &= ~told
        if not untold.any():
            break
    return PerceptionExample(sighting.part(grid, part), classes)


def _frame(store: OccupancyStore, scene: str, index: int) -> OccupancyFrame:
    """A frame whose labels are UNLABELLED where the log has none."""
    frame = store.frame(scene, index)
    if not (frame.labels != OTHERS).any():
        frame = replace(frame, labels=np.full_like(frame.labels, UNLABELLED))
    return frame


@dataclass(frozen=True)
class Variation:
    """How an example is varied: the cells that it keeps, [M] bool or all, and the axes it is flipped along."""

    kept: np.ndarray | None
    axes: list[int]

    @classmethod
    def drawn(cls, rng: np.random.Generator, num_cells: Callable[[], int]) -> Variation:
        """Of an example with so many cells, which are counted only where it is thinned."""
        kept = rng.random(num_cells()) >= rng.uniform(0, MOST_THINNED) if rng.random() < THINNED else None
        return cls(kept, [axis for axis, share in ((1, MIRRORED), (0, REVERSED)) if rng.random() < share])


def varied(one: PerceptionExample, grid: VoxelGrid, rng: np.random.Generator) -> PerceptionExample:
    """The example as another sensor or another street would have given it: thinner, mirrored, reversed."""
    sighting, classes, variation = one.sighting, one.classes, Variation.drawn(rng, lambda: len(one.sighting.cells))
    if variation.kept is not None:
        sighting = _of_cells(sighting, variation.kept, sighting.cells[variation.kept])
    for axis in variation.axes:
        sighting, classes = _flipped(sighting, grid, axis), np.ascontiguousarray(np.flip(classes, axis))
    return PerceptionExample(sighting, classes)


def _flipped(sighting: Sighting, grid: VoxelGrid, axis: int) -> Sighting:
    cells = cell_grid(grid)
    places = list(np.unravel_index(sighting.cells, cells.shape))
    places[axis] = cells.shape[axis] - 1 - places[axis]
    flat = np.ravel_multi_index(places, cells.shape)
    order = np.argsort(flat)
    flipped = _of_cells(sighting, order, flat[order])
    return replace(flipped, observed=np.packbits(np.flip(sighting.observed_mask(grid), axis)))


def _of_cells(sighting: Sighting, chosen: np.ndarray, cells: np.ndarray) -> Sighting:
    """The sighting with some of its cells, at other places; its voxels are left as they are, and where in its cells
    returns fell, which the network is not shown, is forgotten."""
    return replace(sighting, cells=cells, counts=sighting.counts[chosen],
                   youngest=sighting.youngest[chosen], oldest=sighting.oldest[chosen], spots=None)


@dataclass(frozen=True)
class SightingBatch:
    """Sightings as the network takes them, and their classes [B, X, Y, Z] uint8, as in PerceptionExample."""

    shown: PerceptionInput
    classes: Tensor

    def to(self, device: torch.device) -> SightingBatch:
        return SightingBatch(self.shown.to(device), self.classes.to(device))


@dataclass(frozen=True)
class SightingBatches:
    """The batches of a training's steps, of `size` examples drawn from `keys`, as far as they are those of one of its
    processes."""

    store: OccupancyStore
    keys: list[tuple[str, int]]
    size: int
    seed: int
    process: int = 0
    processes: int = 1

    def __call__(self, step: int) -> SightingBatch:
        """That of a step, on the host. For the examples before this process's own it only draws what they take."""
        rng, drawn, part = step_rng(self.seed, step), [], own_part(self.size, self.process, self.processes)
        for place in range(part.stop):
            key = self.keys[rng.integers(len(self.keys))]
            make = partial(example, self.store, *key)
            if rng.random() < AHEAD:
                make = partial(part_of_example, self.store, *key, rng.random(2))
            if place in part:
                drawn.append(varied(make(), self.store.grid, rng))
            else:
                Variation.drawn(rng, lambda make=make: len(make().sighting.cells))
        return batch_of(drawn, self.store.grid)


def batch_of(examples: Sequence[PerceptionExample], grid: VoxelGrid) -> SightingBatch:
    """Examples as the network takes them, on the host."""
    return SightingBatch(as_input([one.sighting for one in examples], grid),
                         torch.from_numpy(np.stack([one.classes for one in examples])))


@dataclass(frozen=True)
class PerceptionLoss:
    """Cross-entropies of existence over all voxels and of the class over the occupied ones, and the Lovász surrogate
    of the classes' mean Jaccard distance; scalars."""

    existence: Tensor
    classes: Tensor
    jaccard: Tensor

    def total(self, lovasz_weight: float) -> Tensor:
        """What is minimised."""
        return OCCUPANCY_WEIGHT * self.existence + self.classes + lovasz_weight * self.jaccard


def perception_loss(logits: Tensor, classes: Tensor, sightings: Share | None = None) -> PerceptionLoss:
    """The loss; a class's Jaccard distance is that of the probability that a voxel is occupied by it, so that what is
    wrongly filled or missed counts against the class.

    Args:
        logits: [B, X, Y, Z, NUM_CLASSES + 1]; classes: [B, X, Y, Z] int64, as in PerceptionExample.
        sightings: what these are of a batch that several processes share; None: all.
    """
    share, labelled, told = sightings or Share.whole(len(classes)), classes < NUM_CLASSES, classes != UNTOLD
    reduction = "mean" if share.alone else "sum"  # sums are divided by the counts of all processes
    existence = functional.binary_cross_entropy_with_logits(logits[..., FREE], (classes != FREE).float(), told.float(),
                                                            reduction="sum")
    existence = share.ratio(existence, told.sum())
    if not share.summed(labelled.sum()):
        return PerceptionLoss(existence, logits.sum() * 0, logits.sum() * 0)
    kinds = functional.cross_entropy(logits[..., :FREE][labelled], classes[labelled], reduction=reduction)
    if not share.alone:
        kinds = share.ratio(kinds, labelled.sum())
    probability = logits[..., FREE].sigmoid()
    doubted = labelled | ((classes == FREE) & (probability.detach() > NEGLIGIBLE))
    joint = probability[doubted][:, None] * logits[..., :FREE][doubted].softmax(1)
    return PerceptionLoss(existence, kinds, lovasz_jaccard(joint, classes[doubted], NEGLIGIBLE, share))


def train_perception(network: PerceptionNetwork, store: OccupancyStore, values: Mapping, seed: int,
                     run: TrainingRun, held_out: HeldOut | None = None) -> PerceptionNetwork:
    """Fit the network to the training scenes' sightings; the moving average, with its threshold set, is returned. Held
    out are scenes and numbers of frames."""
    keys = examples(store, values["split"])
    share = share_of_items(values["batch"])
    make = SightingBatches(store, keys, values["batch"], seed, rank(), world_size())
    batches = StepFetcher(make, values["steps"], run.feed_workers, network.device)

    def loss_of_step(step: int) -> tuple[Tensor, Figures]:
        batch = batches.get(step).to(network.device)
        loss = perception_loss(network(batch.shown).float(), batch.classes.long(), share)
        return loss.total(values["lovasz_weight"]), {name: part.detach() for name, part in vars(loss).items()}

    def held_out_loss(index: int) -> Tensor:
        batch = batch_of([example(store, *held_out.items[index])], store.grid).to(network.device)
        return perception_loss(network(batch.shown).float(), batch.classes.long()).total(values["lovasz_weight"])

    trained = train(run, "perception", network, OptimiserSettings.from_config(values), loss_of_step,
                    samples=values["batch"], unit="sighting",
                    validation=held_out and Validation(held_out, held_out_loss))
    calibrate(trained, store, some_of(keys, values["calibration_frames"], seed))
    return trained


def some_of(keys: list[tuple[str, int]], count: int, seed: int) -> list[tuple[str, int]]:
    """At most `count` of these frames, drawn: every n-th may be the first of its drive, when nothing has been seen."""
    drawn = np.random.default_rng(seed).choice(len(keys), min(count, len(keys)), replace=False)
    return [keys[index] for index in sorted(drawn)]


def calibrate(network: PerceptionNetwork, store: OccupancyStore, keys: list[tuple[str, int]]) -> None:
    """Set the threshold to the probability from which on taking voxels as occupied has the best IoU on these frames."""
    network.threshold.fill_(threshold_of_best_iou(_judged(Perceiver(network), store, keys), THRESHOLDS))


def _judged(perceiver: Perceiver, store: OccupancyStore, keys: list[tuple[str, int]]
            ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for key in keys:
        one = example(store, *key)
        yield perceiver.perceive(one.sighting).probability.reshape(-1), (one.classes != FREE).reshape(-1)
