"""A perception network of a few hundred weights, and the small world as sightings in memory."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from small_forecaster import GRID, street_frame
from small_sightings import sighting_of

from occflow.grid import OTHERS, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.sighting import Sighting
from occflow.perception.network import PerceptionNetwork, PerceptionSettings


def small_perception(grid: VoxelGrid = GRID, widths: tuple[int, ...] = (8, 12), seed: int = 0) -> PerceptionNetwork:
    """Untrained, but with what batches leave in a network."""
    torch.manual_seed(seed)
    network = PerceptionNetwork(PerceptionSettings(grid, 8, 4, widths, 12))
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            torch.nn.init.normal_(buffer, std=0.1)
        elif name.endswith("running_var"):
            torch.nn.init.uniform_(buffer, 0.5, 1.5)
    return network.eval()


@dataclass
class SightedStreet:
    """A store in memory: of every second voxel of the street a car has seen something. `labelled`: its classes are
    known."""

    num: int = 5
    labelled: bool = True
    grid: VoxelGrid = GRID
    path: Path = Path("memory")

    def scenes(self, split: str | None) -> list[str]:
        return ["street"]

    def num_frames(self, scene: str) -> int:
        return self.num

    def parts(self, split: str | None) -> list[tuple[str, range]]:
        return [(scene, range(self.num)) for scene in self.scenes(split)]

    def frame(self, scene: str, index: int) -> OccupancyFrame:
        frame = street_frame(index)
        return frame if self.labelled else replace(frame, labels=np.full_like(frame.labels, OTHERS))

    def sighting(self, scene: str, index: int) -> Sighting:
        frame = street_frame(index)
        seen = frame.within((np.arange(self.grid.num_voxels) + index) % 2 == 0)
        return sighting_of(replace(seen, observed=np.packbits(np.arange(self.grid.num_voxels) % 3 > 0)), self.grid)
