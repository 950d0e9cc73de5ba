"""The risk of going on: at every instant the path of constant velocity and turn that the stream guesses anyway, against
sampled futures (occflow.forecasting.risk); what was found is kept for the report."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from occflow.atomic import atomic_file
from occflow.eval.counts import number, numbers
from occflow.forecasting.planned_path import Footprint, PlannedPath
from occflow.forecasting.risk import Risk, path_risk
from occflow.grid import VoxelGrid
from occflow.occupancy.frame import Frames, OccupancyFrame
from occflow.occupancy.tasks import Task
from occflow.viewing.risk_map import draw_risk

KEPT = 3_600  # instants: half an hour at 2 Hz, so that a stream's own record does not grow without bound


class RiskRecord:
    """Risks of the guessed path, instant by instant; the last ones and the highest.

    Args:
        samples: futures of each instant.
    """

    def __init__(self, grid: VoxelGrid, samples: int, footprint: Footprint | None = None) -> None:
        self.grid, self.samples, self.footprint = grid, samples, footprint or Footprint()
        self.paths, self._last = 0, deque(maxlen=KEPT)
        self._highest: dict | None = None
        self.highest: tuple[OccupancyFrame, Risk] | None = None  # the present of the highest, to draw it

    def weigh(self, task: Task, futures: Sequence[Frames]) -> Risk:
        """Note the risk of driving to where the grids of the targets were guessed to be."""
        path = PlannedPath(task.poses, np.array([target.stamp_s for target in task.targets]),
                           task.present.world_from_grid)
        risk = path_risk(path, futures, self.grid, self.footprint, task.history)
        entry = {"scene": task.scene, "stamp_s": task.present.stamp_s, "probability": number(risk.probability),
                 "interval": numbers(risk.interval), "until": numbers(risk.any.until), "causes": risk.causes,
                 "complete": risk.complete, "unseen": numbers(risk.unseen)}
        self.paths += 1
        self._last.append(entry)
        if self._highest is None or (entry["probability"] or 0.0) > (self._highest["probability"] or 0.0):
            self._highest, self.highest = entry, (task.present, risk)
        return risk

    def summary(self) -> dict:
        """For JSON: the number of paths, the mean of their probabilities, the highest, and the last ones."""
        known = [one["probability"] for one in self._last if one["probability"] is not None]
        return {"samples": self.samples, "paths": self.paths, "mean": number(np.mean(known)) if known else None,
                "highest": self._highest, "last": list(self._last)}

    @property
    def line(self) -> str:
        """In one line."""
        if not self.paths:
            return "Risk of the guessed path: no instant had samples."
        found = self.summary()
        mean = "unknown" if found["mean"] is None else f"{found['mean']:.1%} in the mean"
        return (f"Risk of the guessed path (constant velocity and turn, {self.samples} samples): {mean} of "
                f"{self.paths} instants; highest at {self._highest['stamp_s']:.2f} s: {self.highest[1].line}.")

    def draw(self, path: Path) -> Path | None:
        """Write a picture of the highest risk; None without one."""
        if self.highest is None:
            return None
        present, risk = self.highest
        title = f"{self._highest['scene']}, {self._highest['stamp_s']:.2f} s: the path of constant velocity and turn"
        with atomic_file(path) as partial:
            draw_risk(present, self.grid, {"guessed path": risk}, title).save(partial, format="PNG")
        return path
