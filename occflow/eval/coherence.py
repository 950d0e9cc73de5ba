"""Does a forecast agree with itself over time? Label-free measures: no truth is read (after UniOcc, 2025)."""

from __future__ import annotations

import numpy as np

from occflow.eval.counts import MeanCounts, SceneCounts
from occflow.eval.intervals import mean_row
from occflow.forecasting.forecast import Forecast
from occflow.geometry import invert, transform
from occflow.grid import MOVABLE_CLASSES, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.motion import Cluster, clusters, match
from occflow.occupancy.warp import warp
from occflow.occupancy.windows import Window

LEAST_VOXELS = 4  # a smaller object comes and goes with the rounding of voxels
MARGIN_M = 4.0  # an object this near the border of the next grid may have left it
SCORES = ("background_iou", "size_change", "flicker")
TRUTH = "truth"  # row of what really happened: the floor of the measures


class CoherenceScores:
    """Static background, sizes and presence of objects from each forecast frame to the next."""

    def __init__(self, grid: VoxelGrid, seed: int = 0) -> None:
        self.grid, self.seed = grid, seed
        self.counts: dict[str, SceneCounts[MeanCounts]] = {}

    def watch(self, window: Window, forecasts: dict[str, Forecast]) -> None:
        for name, frames in [(TRUTH, window.truth), *((name, one.frames) for name, one in forecasts.items())]:
            counts = self.counts.setdefault(name, SceneCounts(MeanCounts)).of(window.key.scene)
            now = followable(frames[0], self.grid)
            for frame, later in zip(frames, frames[1:]):
                common, union = background_overlap(frame, later, self.grid).tolist()
                counts.add("background_iou", 1.0, common)
                counts.add("background_iou", 0.0, union - common)
                then = followable(later, self.grid)
                count_objects(counts, now, then, later, later.stamp_s - frame.stamp_s, self.grid)
                now = then

    def report(self) -> list[dict]:
        """[{"name", "background_iou", "size_change", "flicker", "intervals"}], see docs/scores.md."""
        return [mean_row(name, counts, SCORES, self.seed) for name, counts in self.counts.items()]


def background_overlap(frame: OccupancyFrame, later: OccupancyFrame, grid: VoxelGrid) -> np.ndarray:
    """[intersection, union] int64 of what is not movable: a frame moved by the ego motion, and the next frame.

    Only where both grids reach, so that what comes into view does not count.
    """
    still, then = (one.flat[~np.isin(one.labels, MOVABLE_CLASSES)]
                   for one in (warp(frame, grid, later.world_from_grid), later))
    earlier_from_later = invert(frame.world_from_grid) @ later.world_from_grid
    then = then[grid.indices(transform(earlier_from_later, grid.centres(grid.unflatten(then))))[1]]
    common = np.isin(still, then, assume_unique=True).sum()
    return np.array([common, len(still) + len(then) - common], dtype=np.int64)


def followable(frame: OccupancyFrame, grid: VoxelGrid) -> list[Cluster]:
    return [one for one in clusters(frame, grid) if len(one.slots) >= LEAST_VOXELS]


def count_objects(counts: MeanCounts, now: list[Cluster], then: list[Cluster], later: OccupancyFrame, seconds: float,
                  grid: VoxelGrid) -> None:
    """Size change (octaves: 1 is twice or half as large) of objects that go on; flicker, those that do not.

    An object flickers where the next frame has none of its class near, though it cannot have left the grid.
    """
    pairs = match(now, then, seconds)
    for index, place in pairs.items():
        counts.add("size_change", abs(np.log2(len(then[place].slots) / len(now[index].slots))))
    if not now:
        return
    places = transform(invert(later.world_from_grid), np.array([one.centre_m for one in now])) - grid.origin_m
    length = np.array(grid.shape[:2]) * grid.voxel_size_m
    stays = ((places[:, :2] > MARGIN_M) & (places[:, :2] < length - MARGIN_M)).all(axis=1)
    for index in np.flatnonzero(stays):
        counts.add("flicker", float(int(index) not in pairs))
