"""Perceiving: what sweeps have shown until an instant -> the labelled, completed occupancy of that instant."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from occflow.errors import InputError
from occflow.grid import VoxelGrid
from occflow.occupancy.frame import OccupancyFrame, View, WideFrame
from occflow.occupancy.sighting import TICK_S, Sighting, voxels_of_cells
from occflow.perception.network import (
    RECENT_S,
    PerceptionInference,
    PerceptionInput,
    PerceptionNetwork,
    cell_features,
)

LEAST = 1e-6  # no probability is told as nearer to 0 or 1
KEPT_BYTES = 2 << 30  # of what was perceived: trainings come back to it


@dataclass(frozen=True)
class Perceived:
    """What is perceived of an instant.

    Args:
        frame: the voxels that are taken as occupied, with their classes.
        probability: [X, Y, Z] float32, of every voxel being occupied.
        classes: [X, Y, Z] uint8, what every voxel most probably is if it is.
    """

    frame: OccupancyFrame
    probability: np.ndarray
    classes: np.ndarray

    @property
    def confidence(self) -> np.ndarray:
        """[N] float32: of the frame's voxels, how probably each is occupied."""
        return self.probability.reshape(-1)[self.frame.flat]


def as_input(sightings: Sequence[Sighting], grid: VoxelGrid) -> PerceptionInput:
    """Sightings on one grid, or of areas of one shape, as the network takes them."""
    shown = sightings[0].area or grid
    places = [voxels_of_cells(one.cells, shown) for one in sightings]
    flat = torch.from_numpy(np.concatenate([voxels + number * shown.num_voxels
                                            for number, (voxels, _) in enumerate(places)]))
    held = torch.zeros(len(sightings) * shown.num_voxels, dtype=torch.bool).index_fill_(0, flat, True)
    voxels, numbers = held.nonzero()[:, 0], torch.empty(len(held), dtype=torch.int64)
    numbers[voxels] = torch.arange(len(voxels))
    counts, youngest, oldest = (torch.from_numpy(np.concatenate([getattr(one, name) for one in sightings]))
                                for name in ("counts", "youngest", "oldest"))
    observed = np.stack([one.passed_mask(grid) for one in sightings]).astype(np.float32)
    return PerceptionInput(voxels, numbers[flat], torch.from_numpy(np.concatenate([slots for _, slots in places])),
                           cell_features(counts, youngest, oldest), torch.from_numpy(observed))


class Perceiver:
    """A trained network that perceives one instant at a time."""

    def __init__(self, network: PerceptionNetwork) -> None:
        self.network, self.grid = network.eval(), network.settings.grid
        self._inference = PerceptionInference(network)

    @torch.inference_mode()
    def perceive(self, sighting: Sighting) -> Perceived:
        """What a sighting shows, on its own grid; its frame has what is perceived of the whole area as `wide`, and
        where in the voxels returns were met."""
        seen, hidden, probability, occupied = self._looked_at(sighting)
        classes = self._inference.classes(hidden.flatten(0, 1)).view(probability.shape)
        frame = self._frame(sighting, seen, occupied, classes[occupied])
        own = self.grid.slices_in(sighting.area or self.grid)
        probability, classes = (np.ascontiguousarray(one.cpu().numpy()[own]) for one in (probability, classes.byte()))
        return Perceived(frame, probability, classes)

    @torch.inference_mode()
    def frame(self, sighting: Sighting) -> OccupancyFrame:
        """The frame of `perceive`: columns that hold nothing are not asked for classes."""
        seen, hidden, _, occupied = self._looked_at(sighting)
        columns = occupied.any(dim=2)
        classes = self._inference.classes(hidden[columns])
        return self._frame(sighting, seen, occupied, classes[occupied[columns]])

    @torch.inference_mode()
    def view(self, sighting: Sighting) -> View:
        """What a sighting of no more than its grid (`Sighting.moved`) shows there, voxels that are taken as free
        included. Nobody asks where in them returns were met."""
        _, hidden, probability, occupied = self._looked_at(sighting)
        classes = self._inference.classes(hidden.flatten(0, 1)).byte().flatten().cpu().numpy()
        odds = probability.cpu().logit(LEAST) - self.network.threshold.cpu().logit(LEAST)
        flat = np.flatnonzero(occupied.cpu().numpy())
        return View(flat, classes[flat], sighting.world_from_grid, sighting.stamp_s, sighting.token,
                    observed=sighting.observed, odds=odds.flatten().numpy().astype(np.float16), classes=classes)

    def _looked_at(self, sighting: Sighting) -> tuple[PerceptionInput, Tensor, Tensor, Tensor]:
        """A sighting as the network takes it, what is known of every column [X, Y, C], and of every voxel of the area
        [X, Y, Z] how probably it is occupied and whether it is taken as that."""
        seen = as_input([sighting], self.grid)
        hidden, logits = self._inference(seen.to(self.network.device))
        probability = logits.float().sigmoid()
        return seen, hidden, probability, probability > self.network.threshold

    def _frame(self, sighting: Sighting, seen: PerceptionInput, occupied: Tensor, classes: Tensor) -> OccupancyFrame:
        """The frame of voxels [X, Y, Z] bool of the area, with the classes [N] of these."""
        area, occupied, labels = sighting.area or self.grid, occupied.cpu().numpy(), classes.byte().cpu().numpy()
        flat, at = np.flatnonzero(occupied), (sighting.world_from_grid, sighting.stamp_s, sighting.token)
        wide = _placed(WideFrame(flat, labels, *at, grid=area), sighting, seen)
        if sighting.area is not None:
            numbers, inside = area.renumbered(flat, self.grid)
            flat, labels = numbers[inside], labels[inside]
        return OccupancyFrame(flat, labels, *at, observed=sighting.observed, wide=wide)


def _placed(frame: WideFrame, sighting: Sighting, seen: PerceptionInput) -> WideFrame:
    """A frame of the sighting's area with the places where returns were met in its voxels.

    Args:
        seen: the sighting, as the network took it.
    """
    slots = np.full(frame.grid.num_voxels, -1)
    slots[frame.flat] = np.arange(len(frame.flat))
    owners = slots[seen.voxels.numpy()][seen.parents.numpy()]
    within = owners >= 0
    return replace(frame, places_m=sighting.places(frame.grid, within), owners=owners[within],
                   lately=sighting.youngest[within] * TICK_S < RECENT_S[1])


class PerceivedFrames:
    """Sightings -> frames, by a network that is loaded when the first one is asked for; what was perceived is kept.

    Args:
        anew: the present is also perceived in every grid of a forecast (`towards`).
    """

    def __init__(self, load: Callable[[], PerceptionNetwork], anew: bool = False) -> None:
        self._load, self._perceiver, self.anew = load, None, anew
        self._kept: OrderedDict[bytes, OccupancyFrame] = OrderedDict()
        self._kept_bytes = 0

    def __getstate__(self) -> dict:
        """For another process, which loads the network itself."""
        return {**vars(self), "_perceiver": None}

    @property
    def network(self) -> PerceptionNetwork:
        """The network, loaded where it is not yet."""
        self._perceiver = self._perceiver or Perceiver(self._load())
        return self._perceiver.network

    def __call__(self, sighting: Sighting, grid: VoxelGrid) -> OccupancyFrame:
        """What is perceived of a sighting on a grid.

        Raises:
            InputError: a grid that the network does not perceive on; whatever loading it raises.
        """
        return self._once(_digest(sighting), grid, lambda perceiver: perceiver.frame(sighting))

    def towards(self, sighting: Sighting, grid: VoxelGrid, poses: Sequence[np.ndarray]) -> OccupancyFrame:
        """As a call; where this is wanted, with what is perceived in grids at other poses [4, 4], too
        (`WideFrame.views`)."""
        if not self.anew:
            return self(sighting, grid)

        def seen(perceiver: Perceiver) -> OccupancyFrame:
            frame = perceiver.frame(sighting)
            views = tuple(perceiver.view(sighting.moved(grid, pose)) for pose in poses)
            return replace(frame, wide=replace(frame.wide, views=views))

        return self._once(b"towards" + _digest(sighting) + np.stack(poses).tobytes(), grid, seen)

    def named(self, frame: OccupancyFrame, sighting: Sighting, grid: VoxelGrid) -> OccupancyFrame:
        """An unlabelled frame with the classes that are perceived of the same instant's sighting, voxel by voxel.

        Raises:
            InputError: as a call.
        """
        def named(perceiver: Perceiver) -> OccupancyFrame:
            return replace(frame, labels=perceiver.perceive(sighting).classes.reshape(-1)[frame.flat])

        return self._once(b"named" + _digest(sighting), grid, named)

    def _once(self, key: bytes, grid: VoxelGrid, make: Callable[[Perceiver], OccupancyFrame]) -> OccupancyFrame:
        own = self.network.settings.grid
        if grid != own:
            raise InputError(f"the network perceives on grid {own.to_dict()}, the sighting is on "
                             f"{grid.to_dict()}; take a network and a store of one grid")
        if key not in self._kept:
            self._kept[key] = make(self._perceiver)
            self._kept_bytes += self._kept[key].num_bytes
            while self._kept_bytes > KEPT_BYTES and len(self._kept) > 1:
                self._kept_bytes -= self._kept.popitem(last=False)[1].num_bytes
        self._kept.move_to_end(key)
        return self._kept[key]


def _digest(sighting: Sighting) -> bytes:
    """Of all that a sighting holds: stamps, names and poses alone may be those of another drive."""
    digest = hashlib.blake2b(repr((sighting.token, sighting.stamp_s, sighting.area)).encode())
    for part in (sighting.world_from_grid, sighting.cells, sighting.counts, sighting.youngest, sighting.oldest,
                 sighting.spots, sighting.observed, sighting.passed):
        digest.update(b"" if part is None else np.ascontiguousarray(part))
    return digest.digest()
