"""A perception network of a few hundred weights, and sightings of the small world to run it on."""

import torch
from small_forecaster import GRID

from occflow.grid import VoxelGrid
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
