"""States to voxels, relative to the base: what decodes as the base does is the base, voxel by voxel.

The autoencoder errs alike on a state and on the base that it hardly differs from. Decoding the difference takes
that error out where nothing changes: a forecast that leaves the base as it is equals it exactly, in any code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from occflow.grid import FREE
from occflow.logs.protocol import UNLABELLED
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.tasks import Target


@dataclass(frozen=True)
class Voxels:
    """Occupied voxels of F frames: sorted keys [V] int64 (frame * voxels of the grid + place), labels [V] int64."""

    keys: Tensor
    labels: Tensor

    @classmethod
    def of(cls, frames: tuple[OccupancyFrame, ...], num_voxels: int, device: torch.device) -> Voxels:
        keys = np.concatenate([frame.flat + i * num_voxels for i, frame in enumerate(frames)])
        labels = np.concatenate([frame.labels for frame in frames]).astype(np.int64)
        return cls(torch.from_numpy(keys).to(device), torch.from_numpy(labels).to(device))

    def volume(self, size: int) -> Tensor:
        """Labels [size] uint8 at the keys 0, 1, ...; FREE where nothing is."""
        volume = torch.full((size,), FREE, dtype=torch.uint8, device=self.keys.device)
        return volume.index_copy_(0, self.keys, self.labels.to(torch.uint8))

    def frames(self, targets: tuple[Target, ...], num_voxels: int) -> tuple[OccupancyFrame, ...]:
        """As frames at the targets, whose voxels are numbered one frame after the other."""
        keys, labels = self.keys.cpu().numpy(), self.labels.cpu().numpy().astype(np.uint8)
        bounds = np.searchsorted(keys, np.arange(len(targets) + 1) * num_voxels)
        return tuple(OccupancyFrame(keys[a:b] - i * num_voxels, labels[a:b], target.world_from_grid, target.stamp_s)
                     for i, (target, a, b) in enumerate(zip(targets, bounds[:-1], bounds[1:])))


def corrected(decoded: Voxels, decoded_base: Voxels, base: Voxels) -> Voxels:
    """`decoded` where it differs from `decoded_base`, and the base itself everywhere else.

    Voxels of the base without a label take what was decoded there.
    """
    size = max(int(one.keys[-1]) + 1 if len(one.keys) else 0 for one in (decoded, decoded_base, base))
    found, coded, true = (one.volume(size) for one in (decoded, decoded_base, base))
    labels = torch.where((found == coded) & (true != UNLABELLED), true, found)
    keys = (labels != FREE).nonzero()[:, 0]
    return Voxels(keys, labels[keys].long())
