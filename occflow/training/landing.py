"""The training of the network that moves a present into later grids: later frames of a drive say where matter is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from occflow.flow.sending import sent
from occflow.geometry import invert
from occflow.grid import IS_MOVABLE, VoxelGrid
from occflow.models.landing import FallInput, LandingNetwork, Matter, VoxelInput
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.parts import (
    FILLED_THERE,
    FREE_THERE,
    NOT_KNOWN,
    PARTS,
    parts_fallen,
    parts_seen,
    states_there,
    voxel_states,
)
from occflow.occupancy.true_motion import voxels_of_boxes
from occflow.occupancy.warp import landings
from occflow.occupancy.windows import Window
from occflow.training.engine import train
from occflow.training.feeding import WholeWindowFeed, WholeWindows
from occflow.training.optimiser import OptimiserSettings
from occflow.training.processes import share_of_items
from occflow.training.run import TrainingRun
from occflow.training.run_log import Figures
from occflow.training.thresholds import threshold_of_best_iou
from occflow.training.validation import HeldOut, Validation, evenly

TARGETS = 3  # later frames of a window that it falls into
STANDS_M = 0.3  # a box that is within this of where it was stands
BYTES_A_VOXEL = 1500  # of a present: its features, and where its parts fall
THRESHOLDS = np.linspace(0.3, 0.6, 31)


@dataclass(frozen=True)
class LaterFrame:
    """Where a present may fall in a later frame, and what truly is there.

    Args:
        chosen: [K] int64 those of the present's parts that stay until then.
        filled: [M] float32, 1 where something is; tells: [M] bool, not where something moved to or is still to come.
    """

    chosen: Tensor
    falls: FallInput
    filled: Tensor
    tells: Tensor

    def to(self, device: torch.device) -> LaterFrame:
        return LaterFrame(sent(self.chosen, device), self.falls.to(device), sent(self.filled, device),
                          sent(self.tells, device))


@dataclass(frozen=True)
class FallenWindow:
    """A present, and what later frames tell of it.

    Args:
        later: some of them.
        never_free: [N, PARTS] float32, 1 where no later frame has a part free, or matter is known to be; seen_later:
            [N, PARTS] bool, where that tells.
    """

    shown: VoxelInput
    later: tuple[LaterFrame, ...]
    never_free: Tensor
    seen_later: Tensor

    def to(self, device: torch.device) -> FallenWindow:
        return FallenWindow(self.shown.to(device), tuple(one.to(device) for one in self.later),
                            *(sent(part, device) for part in (self.never_free, self.seen_later)))


class LandingPreparation(WholeWindows):
    """The windows of a training, some of them perceived, as the network learns from them."""

    def __call__(self, index: int) -> FallenWindow:
        """That of a window, on the host."""
        (rng, window), grid = self.read(index), self.windows.store.grid
        targets = rng.choice(len(window.truth), min(TARGETS, len(window.truth)), replace=False)
        item = fallen_window(window, grid, sorted(targets.tolist()))
        told = self.windows.present_parts(self.keys[index])
        return item if told is None else with_parts(item, window.present, *told, grid)


def fallen_window(window: Window, grid: VoxelGrid, targets: list[int]) -> FallenWindow:
    """A window as the network learns from it.

    Args:
        targets: the later frames that it falls into; of its parts all of them tell.
    """
    present, poses = window.present, window.task.poses
    seen, landed = parts_seen(window.history, grid), landings(present, grid, poses[targets])
    every, later = np.arange(len(seen.flat) * PARTS), []
    free, known = np.zeros((2, len(seen.flat), PARTS), dtype=bool)
    for index, (truth, pose) in enumerate(zip(window.truth, poses, strict=True)):
        target_from_source = invert(pose) @ present.world_from_grid
        gone, doubtful = moved_between(window, truth, grid)
        stays = np.ones(len(seen.flat) + 1, dtype=bool)
        stays[landed[0].own[gone]] = False
        states = voxel_states(truth, grid)
        states[doubtful] = NOT_KNOWN
        there = states_there(seen.flat, seen.grid, target_from_source, states, grid)
        free |= there == FREE_THERE
        known |= (there != NOT_KNOWN) & stays[:-1, None]
        if index in targets:
            one, chosen = landed[targets.index(index)], every[np.repeat(stays[:-1], PARTS)]
            fallen = parts_fallen(seen, chosen, grid, target_from_source, one)
            truly = states[fallen.voxels]
            later.append(LaterFrame(torch.from_numpy(chosen), FallInput.of(fallen),
                                    torch.from_numpy((truly == FILLED_THERE).astype(np.float32)),
                                    torch.from_numpy(truly != NOT_KNOWN)))
    return FallenWindow(VoxelInput.of(seen), tuple(later), torch.from_numpy((~free).astype(np.float32)),
                        torch.from_numpy(known))


def with_parts(item: FallenWindow, present: OccupancyFrame, truth: OccupancyFrame, parts: np.ndarray, grid: VoxelGrid
               ) -> FallenWindow:
    """The same, where it is known in which parts [N, PARTS] bool of its true voxels the matter of a present is: what is
    seen of it in its grid is told by that alone."""
    there = np.zeros((grid.num_voxels, PARTS), np.float32)
    there[truth.flat] = parts
    flat, inside = present.flat, np.ones(len(present.flat), dtype=bool)
    if present.wide is not None:
        flat, inside = present.wide.grid.renumbered(present.wide.flat, grid)
    filled, known = item.never_free.numpy().copy(), item.seen_later.numpy().copy()
    filled[inside], known[inside] = there[flat[inside]], True
    return replace(item, never_free=torch.from_numpy(filled), seen_later=torch.from_numpy(known))


def moved_between(window: Window, truth: OccupancyFrame, grid: VoxelGrid) -> tuple[np.ndarray, np.ndarray]:
    """What does not stay where it is between a window's present and a later frame, by the boxes of both: places of the
    present's voxels, and voxels [V] bool of the later grid. Of logs without boxes all that may move does not."""
    present, boxes = window.present, window.boxes
    doubtful = np.zeros(grid.num_voxels, dtype=bool)
    if not boxes and not truth.boxes:
        doubtful[truth.flat[IS_MOVABLE[truth.labels]]] = True
        return np.flatnonzero(IS_MOVABLE[present.labels]), doubtful
    before, after = ({box.track: box for box in some} for some in (boxes, truth.boxes))

    def stands(track: str) -> bool:
        return bool(track) and track in before and track in after and np.linalg.norm(
            before[track].world_from_box[:3, 3] - after[track].world_from_box[:3, 3]) <= STANDS_M

    leaving, coming = ([box for box in some if not stands(box.track)] for some in (boxes, truth.boxes))
    gone = np.concatenate([np.zeros(0, np.int64), *voxels_of_boxes(present, grid, leaving)])
    for slots in voxels_of_boxes(truth, grid, coming):
        doubtful[truth.flat[slots]] = True
    return gone, doubtful


class LandingFeed(WholeWindowFeed):
    """Windows with some later frames, on a device."""

    made_by, item_bytes = LandingPreparation, BYTES_A_VOXEL

    def make(self, index: int) -> tuple[FallenWindow, int]:
        item = self.fetcher.get(index)
        return item.to(self.device), len(item.shown.flat) if any(bool(one.tells.any()) for one in item.later) else 0


def landing_loss(network: LandingNetwork, item: FallenWindow) -> Tensor:
    """Mean cross-entropy over the later voxels that tell, and over the parts that later frames tell of."""
    part_logits = network.part_logits(item.shown)
    probability = network.probability(part_logits, item.shown)
    logits = torch.cat([network(Matter.of(probability, item.shown, one.chosen), one.falls) for one in item.later])
    filled, tells = (torch.cat([getattr(one, name) for one in item.later]) for name in ("filled", "tells"))
    told = ((logits, filled, tells), (part_logits, item.never_free, item.seen_later))
    return sum(functional.binary_cross_entropy_with_logits(values, true, tells.to(values), reduction="sum")
               / tells.to(values).sum().clamp(min=1.0) for values, true, tells in told)


def train_landing(network: LandingNetwork, feed: LandingFeed, values: Mapping, run: TrainingRun,
                  held_out: HeldOut | None = None) -> None:
    """Learn where a present lands, then set the threshold to what has the best IoU on windows that were learnt from.
    Held out are items of a feed of the same kind."""
    windows = values["windows"]

    def loss_of_step(step: int) -> tuple[Tensor, Figures]:
        samples = share_of_items(windows)
        return samples.mean(torch.stack([landing_loss(network, item) for item in feed.draw(windows)])), {}

    average = train(run, "landing", network, OptimiserSettings.from_config(values), loss_of_step, feed=feed,
                    samples=windows, validation=held_out and Validation(held_out, lambda index: landing_loss(
                        network, held_out.items.get(index))))
    network.load_state_dict(average.state_dict())
    places = evenly(range(feed.count), values["calibration_windows"], "train.landing")
    calibrate(network, [feed.get(place) for place in places])
    network.eval().requires_grad_(False)


@torch.no_grad()
def calibrate(network: LandingNetwork, items: list[FallenWindow]) -> None:
    """Set the threshold to the probability from which on filling voxels has the best IoU with the truth."""
    network.threshold.fill_(threshold_of_best_iou(_judged(network, items), THRESHOLDS))


def _judged(network: LandingNetwork, items: list[FallenWindow]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for item in items:
        parts = network.parts(item.shown)
        for one in item.later:
            logits = network(Matter.of(parts, item.shown, one.chosen), one.falls)
            probability, filled = (part[one.tells].cpu().numpy() for part in (logits.sigmoid(), one.filled))
            yield probability, filled > 0
