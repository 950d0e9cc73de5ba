"""Protocol `present`: all frames in the present ego grid (docs/scores.md, "Intersection over union")."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from occflow.eval.intervals import Span, intervals
from occflow.eval.iou import IoUCounts
from occflow.eval.numbers import numbers
from occflow.eval.protocols import PROTOCOLS
from occflow.eval.scene_counts import SceneCounts
from occflow.forecasting.forecast import Forecast
from occflow.grid import VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.regrid import regridded
from occflow.occupancy.windows import Window

STRICT = PROTOCOLS["occworld-strict"]  # its rule for absent classes


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
            rows = self.counts.setdefault(name, SceneCounts(lambda: IoUCounts(len(truths))))
            counts = rows.of(window.key.scene)
            for index, (frame, truth) in enumerate(zip(forecast.frames, truths)):
                counts.add(index, self._at_present(frame, window), truth)

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
