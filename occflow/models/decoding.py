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
from occflow.sparse.sites import lookup


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

    def at(self, keys: Tensor) -> Tensor:
        """Labels [M] int64 at `keys` [M]; FREE where nothing is."""
        index = lookup(keys, self.keys)
        return torch.cat([self.labels, self.labels.new_full((1,), FREE)])[index]

    def frames(self, like: tuple[OccupancyFrame, ...], num_voxels: int) -> tuple[OccupancyFrame, ...]:
        """As frames with the poses, stamps and tokens of `like`."""
        keys, labels = self.keys.cpu().numpy(), self.labels.cpu().numpy().astype(np.uint8)
        bounds = np.searchsorted(keys, np.arange(len(like) + 1) * num_voxels)
        return tuple(OccupancyFrame(keys[a:b] - i * num_voxels, labels[a:b], frame.world_from_grid, frame.stamp_s,
                                    frame.token)
                     for i, (frame, a, b) in enumerate(zip(like, bounds[:-1], bounds[1:])))


def corrected(decoded: Voxels, decoded_base: Voxels, base: Voxels) -> Voxels:
    """`decoded` where it differs from `decoded_base`, and the base itself everywhere else.

    Voxels of the base without a label take what was decoded there.
    """
    keys = torch.unique(torch.cat([decoded.keys, base.keys]))  # elsewhere the state says free, and so does the base
    found, coded, true = decoded.at(keys), decoded_base.at(keys), base.at(keys)
    labels = torch.where((found == coded) & (true != UNLABELLED), true, found)
    kept = labels != FREE
    return Voxels(keys[kept], labels[kept])
