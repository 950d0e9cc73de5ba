"""Depth errors, Chamfer distances and RayIoU of forecasts along measured rays (docs/scores.md, "Rays")."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial import cKDTree

from occflow.eval.counts import MeanCounts, SceneCounts, merge_rows, number, numbers
from occflow.eval.intervals import mean_intervals
from occflow.eval.iou import nan_mean, ratio
from occflow.eval.rays import Rays, RayWalk, ray_walk
from occflow.forecasting.forecast import Forecast
from occflow.grid import FREE, NUM_CLASSES, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.windows import Window

RAY_IOU_M = (1.0, 2.0, 4.0)
TRUTH = "truth"  # row of the true occupancy: what the voxels alone cost
MEANS = tuple(f"{part}{score}" for part in ("", "foreground_", "background_") for score in ("l1_m", "absrel"))
CHAMFER = ("chamfer_m2", "near_chamfer_m2")


@dataclass
class RayCounts:
    """Sums over frames: errors of depth (a frame's mean is one measurement), and RayIoU's counts of rays [., 17]."""

    means: MeanCounts = field(default_factory=MeanCounts)
    agreed: np.ndarray = field(default_factory=lambda: np.zeros((len(RAY_IOU_M), NUM_CLASSES), dtype=np.int64))
    forecast: np.ndarray = field(default_factory=lambda: np.zeros(NUM_CLASSES, dtype=np.int64))
    measured: np.ndarray = field(default_factory=lambda: np.zeros(NUM_CLASSES, dtype=np.int64))

    def add(self, frame: OccupancyFrame, walk: RayWalk, grid: VoxelGrid) -> None:
        """Count the rays of one frame."""
        hits = walk.first_hits(frame.flat, grid.num_voxels)
        depths, inside = walk.depths_of(hits), walk.measured_inside
        if not inside.any():
            return
        error = np.abs(depths - walk.rays.depths_m)
        self._add_errors("", error, walk, inside)
        if walk.rays.foreground is not None:
            self._add_errors("foreground_", error, walk, inside & walk.rays.foreground)
            self._add_errors("background_", error, walk, inside & ~walk.rays.foreground)
        self._add_chamfer(depths, hits >= 0, walk)
        volume = frame.dense(grid).reshape(-1)
        self._add_classes(np.where(hits >= 0, volume[walk.flat[hits]], FREE), error, walk.rays.labels, inside)

    def _add_errors(self, part: str, error: np.ndarray, walk: RayWalk, chosen: np.ndarray) -> None:
        if chosen.any():
            self.means.add(f"{part}l1_m", error[chosen].mean())
            self.means.add(f"{part}absrel", (error[chosen] / walk.rays.depths_m[chosen]).mean())

    def _add_chamfer(self, depths: np.ndarray, hit: np.ndarray, walk: RayWalk) -> None:
        ways, measured = walk.rays.directions, np.minimum(walk.rays.depths_m, walk.leave_m)
        self.means.add("chamfer_m2", chamfer_m2(ways * depths[:, None], ways * measured[:, None]))
        inside = walk.measured_inside
        self.means.add("near_chamfer_m2", chamfer_m2((ways * depths[:, None])[hit], (ways * measured[:, None])[inside]))

    def _add_classes(self, ours: np.ndarray, error: np.ndarray, theirs: np.ndarray, inside: np.ndarray) -> None:
        known = inside & (theirs < FREE)
        ours, theirs, error = ours[known], theirs[known], error[known]
        self.forecast += np.bincount(ours, minlength=FREE + 1)[:FREE]
        self.measured += np.bincount(theirs, minlength=FREE + 1)[:FREE]
        for row, limit_m in enumerate(RAY_IOU_M):
            self.agreed[row] += np.bincount(theirs[(ours == theirs) & (error < limit_m)], minlength=FREE + 1)[:FREE]

    def merge(self, other: RayCounts) -> None:
        """Add the counts of another shard."""
        self.means.merge(other.means)
        self.agreed += other.agreed
        self.forecast += other.forecast
        self.measured += other.measured

    def ray_iou(self) -> np.ndarray:
        """[3] at 1, 2 and 4 m: mean over the classes that occur."""
        return nan_mean(ratio(self.agreed, self.forecast + self.measured - self.agreed))


def chamfer_m2(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Half the sum of the two mean squared distances to the nearest point, m^2; nan where one cloud is empty."""
    if not len(ours) or not len(theirs):
        return float("nan")
    there, back = cKDTree(theirs).query(ours)[0], cKDTree(ours).query(theirs)[0]
    return float((there ** 2).mean() + (back ** 2).mean()) / 2


class RayScores:
    """Casts the log's rays at every horizon frame into the truth and into every forecast."""

    def __init__(self, grid: VoxelGrid, source: Callable[[str, OccupancyFrame], Rays | None], seed: int = 0) -> None:
        self.grid, self.source, self.seed = grid, source, seed
        self.counts: dict[str, SceneCounts[RayCounts]] = {}
        self.frames = self.rays = 0

    def __getstate__(self) -> dict:
        """For another process, which merges what was counted."""
        return {**vars(self), "source": None}

    def merge(self, other: RayScores) -> None:
        """Add what was counted of other windows."""
        self.frames, self.rays = self.frames + other.frames, self.rays + other.rays
        merge_rows(self.counts, other.counts)

    def watch(self, window: Window, forecasts: dict[str, Forecast]) -> None:
        for index, truth in enumerate(window.truth):
            rays = self.source(window.key.scene, truth)
            if rays is None:
                continue
            walk = ray_walk(rays, self.grid)
            self.frames, self.rays = self.frames + 1, self.rays + int(walk.measured_inside.sum())
            for name, frame in [(TRUTH, truth), *((name, one.frames[index]) for name, one in forecasts.items())]:
                counts = self.counts.setdefault(name, SceneCounts(RayCounts)).of(window.key.scene)
                counts.add(frame, walk, self.grid)

    def report(self) -> dict:
        """{"frames", "rays", "rows": [{"name", "l1_m", "absrel", ..., "ray_iou": [3], "intervals"}]}."""
        return {"frames": self.frames, "rays": self.rays,
                "rows": [self._row(name, counts) for name, counts in self.counts.items()]}

    def _row(self, name: str, counts: SceneCounts[RayCounts]) -> dict:
        total, spans = counts.total(), mean_intervals([one.means for one in counts.by_scene.values()], self.seed)
        return {"name": name, **{key: number(total.means.mean(key)) for key in (*MEANS, *CHAMFER)},
                "ray_iou": numbers(total.ray_iou()), "intervals": spans}
