"""Perceiving: what sweeps have shown until an instant -> the labelled, completed occupancy of that instant."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from occflow.errors import InputError
from occflow.grid import FREE, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame, WideFrame
from occflow.occupancy.sighting import TICK_S, Sighting, cell_grid, voxels_of_cells
from occflow.perception.network import RECENT_S, PerceptionInput, PerceptionNetwork, cell_features

KEPT_BYTES = 512 << 20  # of what was perceived: trainings come back to it


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
    voxels, parents = torch.unique(flat, return_inverse=True)
    counts, youngest, oldest = (torch.from_numpy(np.concatenate([getattr(one, name) for one in sightings]))
                                for name in ("counts", "youngest", "oldest"))
    observed = np.stack([one.passed_mask(grid) for one in sightings]).astype(np.float32)
    return PerceptionInput(voxels, parents, torch.from_numpy(np.concatenate([slots for _, slots in places])),
                           cell_features(counts, youngest, oldest), torch.from_numpy(observed))


class Perceiver:
    """A trained network that perceives one instant at a time."""

    def __init__(self, network: PerceptionNetwork) -> None:
        self.network, self.grid = network.eval(), network.settings.grid

    @torch.inference_mode()
    def perceive(self, sighting: Sighting) -> Perceived:
        """What a sighting shows, on its own grid; its frame has what is perceived of the whole area as `wide`, and
        where in the voxels returns were met."""
        logits = self.network(as_input([sighting], self.grid).to(self.network.device))[0].float()
        probability = logits[..., FREE].sigmoid()
        occupied = probability > self.network.threshold
        classes = logits[..., :FREE].argmax(dim=-1).cpu().numpy().astype(np.uint8)
        occupied, probability = occupied.cpu().numpy(), probability.cpu().numpy()

        def known(mask: np.ndarray, labels: np.ndarray) -> tuple:
            flat = np.flatnonzero(mask)
            return flat, labels.reshape(-1)[flat], sighting.world_from_grid, sighting.stamp_s, sighting.token

        area = sighting.area or self.grid
        wide = _placed(WideFrame(*known(occupied, classes), grid=area), sighting)
        if sighting.area is not None:
            own = self.grid.slices_in(area)
            occupied, probability, classes = (np.ascontiguousarray(one[own])
                                              for one in (occupied, probability, classes))
        frame = OccupancyFrame(*known(occupied, classes), observed=sighting.observed, wide=wide)
        return Perceived(frame, probability, classes)


def _placed(frame: WideFrame, sighting: Sighting) -> WideFrame:
    """A frame of the sighting's area with the places of the cells that lie in its voxels."""
    cells = cell_grid(frame.grid)
    slots = np.full(frame.grid.num_voxels, -1)
    slots[frame.flat] = np.arange(len(frame.flat))
    owners = slots[voxels_of_cells(sighting.cells, frame.grid)[0]]
    within = owners >= 0
    places_m = cells.centres(cells.unflatten(sighting.cells[within])).T
    return replace(frame, places_m=np.ascontiguousarray(places_m, dtype=np.float32), owners=owners[within],
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
        return self._once(_digest(sighting), grid, lambda perceiver: perceiver.perceive(sighting).frame)

    def towards(self, sighting: Sighting, grid: VoxelGrid, poses: Sequence[np.ndarray]) -> OccupancyFrame:
        """As a call; where this is wanted, with what is perceived in grids at other poses [4, 4], too
        (`WideFrame.views`)."""
        if not self.anew:
            return self(sighting, grid)

        def seen(perceiver: Perceiver) -> OccupancyFrame:
            frame = perceiver.perceive(sighting).frame
            views = tuple(replace(perceiver.perceive(sighting.moved(grid, pose)).frame, wide=None) for pose in poses)
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
                 sighting.observed, sighting.passed):
        digest.update(b"" if part is None else np.ascontiguousarray(part))
    return digest.digest()
