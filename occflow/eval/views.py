"""IoU within parts of the target grid: what a sensor could judge, and what is near or far."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from occflow.eval.iou import IoUCounts, LabelPairs
from occflow.eval.numbers import numbers
from occflow.eval.protocols import Protocol
from occflow.forecasting.forecast import Forecast
from occflow.grid import VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.windows import Window

BANDS_M = ((0.0, 20.0), (20.0, 40.0))  # horizontal distance of a voxel's centre from the grid's own frame (the ego)
OBSERVED = "observed"


class ViewScores:
    """Counts the forecasts of every window it watches, by view; a view without a mask anywhere is not reported."""

    def __init__(self, grid: VoxelGrid, protocol: Protocol, frames: list[int]) -> None:
        self.grid, self.protocol, self.frames = grid, protocol, frames
        self.bands = distance_bands(grid)
        self.counts: dict[str, dict[str, IoUCounts]] = defaultdict(dict)

    def watch(self, window: Window, forecasts: dict[str, Forecast]) -> None:
        for index, truth in enumerate(window.truth):
            masks = {**self.bands, **observed_view(truth, self.grid)}
            for name, forecast in forecasts.items():
                pairs = LabelPairs.of(forecast.frames[index], truth)
                for view, mask in masks.items():
                    counts = self.counts[view].setdefault(name, IoUCounts(len(window.truth)))
                    counts.add_pairs(index, pairs, mask)

    def report(self) -> dict:
        """{view: [{"name", "iou", "miou", "movable_iou", "movable_miou"}]}, each score [3] at 1, 2 and 3 s."""
        return {view: [{"name": name, **{score: numbers(values[self.frames]) for score, values
                                         in self.protocol.scores(counts).items()}} for name, counts in rows.items()]
                for view, rows in self.counts.items()}


def distance_bands(grid: VoxelGrid) -> dict[str, np.ndarray]:
    """Masks [V] bool of the voxels in each band, by a name such as "0-20 m"."""
    x, y, _ = (grid.origin_m[axis] + (np.arange(grid.shape[axis]) + 0.5) * grid.voxel_size_m for axis in range(3))
    distance = np.repeat(np.hypot(x[:, None], y[None, :]).reshape(-1), grid.shape[2])
    return {f"{low:g}-{high:g} m": (distance >= low) & (distance < high) for low, high in BANDS_M}


def observed_view(truth: OccupancyFrame, grid: VoxelGrid) -> dict[str, np.ndarray]:
    """The view of the observed voxels; none where a frame does not say which were."""
    return {} if truth.observed is None else {OBSERVED: truth.observed_mask(grid).reshape(-1)}
