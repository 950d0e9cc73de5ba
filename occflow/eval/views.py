"""IoU beside the main table's: within parts of the target grid, and of all frames in the present ego grid."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from functools import partial

import numpy as np

from occflow.eval.counts import SceneCounts, merge_rows, numbers
from occflow.eval.intervals import Span, intervals
from occflow.eval.iou import IoUCounts, LabelPairs
from occflow.eval.protocols import PROTOCOLS, Protocol
from occflow.forecasting.forecast import Forecast
from occflow.grid import VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.warp import regridded
from occflow.occupancy.windows import Window

BANDS_M = ((0.0, 20.0), (20.0, 40.0))  # horizontal distance of a voxel's centre from the grid's own frame (the ego)
OBSERVED = "observed"
STRICT = PROTOCOLS["occworld-strict"]  # its rule for absent classes


class ViewScores:
    """Counts the forecasts of every window it watches, by view; a view without a mask anywhere is not reported."""

    def __init__(self, grid: VoxelGrid, protocol: Protocol, frames: list[int]) -> None:
        self.grid, self.protocol, self.frames = grid, protocol, frames
        self.bands = distance_bands(grid)
        self.counts: dict[str, dict[str, IoUCounts]] = defaultdict(dict)

    def __getstate__(self) -> dict:
        """For another process, which merges what was counted."""
        return {**vars(self), "bands": {}}

    def merge(self, other: ViewScores) -> None:
        """Add what was counted of other windows."""
        for view, rows in other.counts.items():
            for name, counts in rows.items():
                self.counts[view].setdefault(name, IoUCounts(counts.num_horizon)).merge(counts)

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


class PresentScores:
    """Counts forecasts and truth in the grid of the present: what leaves it is lost to both.

    A forecast is made in the targets' own grids, so what the two know of a place is the same and only the place where
    it is compared differs.
    """

    def __init__(self, grid: VoxelGrid, frames: list[int], seed: int = 0) -> None:
        self.grid, self.frames, self.seed = grid, frames, seed
        self.counts: dict[str, SceneCounts[IoUCounts]] = {}

    def watch(self, window: Window, forecasts: dict[str, Forecast]) -> None:
        truths = [self._at_present(frame, window) for frame in window.truth]
        for name, forecast in forecasts.items():
            rows = self.counts.setdefault(name, SceneCounts(partial(IoUCounts, len(truths))))
            counts = rows.of(window.key.scene)
            for index, (frame, truth) in enumerate(zip(forecast.frames, truths)):
                counts.add(index, self._at_present(frame, window), truth)

    def merge(self, other: PresentScores) -> None:
        """Add what was counted of other windows."""
        merge_rows(self.counts, other.counts)

    def _at_present(self, frame: OccupancyFrame, window: Window) -> OccupancyFrame:
        return regridded(replace(frame, observed=None), self.grid, window.present.world_from_grid)

    def report(self) -> list[dict]:
        """[{"name", "iou", ..., "iou_all", ..., "intervals"}]: [3] at 1, 2, 3 s, and of all forecast frames together.

        "intervals" are of the latter.
        """
        rows = []
        for name, scenes in self.counts.items():
            counts = scenes.total()
            single = {score: numbers(values[self.frames]) for score, values in STRICT.scores(counts).items()}
            together = STRICT.scores(counts.accumulated())
            rows.append({"name": name, **single, **{f"{score}_all": numbers(values)[0]
                                                    for score, values in together.items()},
                         "intervals": self._intervals(list(scenes.by_scene.values()))})
        return rows

    def _intervals(self, scenes: list[IoUCounts]) -> dict[str, Span]:
        confusion = np.stack([one.accumulated().confusion for one in scenes])
        return {f"{score}_all": spans[0] for score, spans in intervals(confusion, STRICT, self.seed).items()}
