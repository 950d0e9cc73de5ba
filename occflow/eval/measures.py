"""What a report measures beside its main table, gathered while the windows stream by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol as Interface

from occflow.eval.coherence import CoherenceScores
from occflow.eval.protocols import Protocol
from occflow.eval.ray_scores import RayScores
from occflow.eval.rays import LogRays
from occflow.eval.views import PresentScores, ViewScores
from occflow.forecasting.forecast import Forecast
from occflow.grid import VoxelGrid
from occflow.logs.protocol import DrivingLog
from occflow.occupancy.windows import Window


class Measure(Interface):
    """Sees every window with its forecasts by name, and reports plain values at the end."""

    def watch(self, window: Window, forecasts: dict[str, Forecast]) -> None: ...

    def report(self) -> object: ...


class Thinned:
    """A measure that sees every n-th window only, since it takes long."""

    def __init__(self, measure: Measure, every: int) -> None:
        self.measure, self.every, self.seen, self.used = measure, every, 0, 0

    def watch(self, window: Window, forecasts: dict[str, Forecast]) -> None:
        if self.seen % self.every == 0:
            self.measure.watch(window, forecasts)
            self.used += 1
        self.seen += 1

    def report(self) -> dict:
        found = self.measure.report()
        return {"windows": self.used, **(found if isinstance(found, dict) else {"rows": found})}


def configured_measures(settings: Mapping, grid: VoxelGrid, protocol: Protocol, frames: list[int],
                        log: DrivingLog | None, seed: int = 0) -> dict[str, Measure]:
    """The measures that the settings of evaluation ask for, by their names in the report; rays need the log."""
    measures: dict[str, Measure] = {}
    if settings["views"]:
        measures["views"] = ViewScores(grid, protocol, frames)
    if settings["present"]:
        measures["present"] = Thinned(PresentScores(grid, frames, seed), settings["sample_every"])
    if settings["coherence"]:
        measures["coherence"] = Thinned(CoherenceScores(grid, seed), settings["sample_every"])
    if log is not None:
        measures["rays"] = Thinned(RayScores(grid, LogRays(log, grid, settings["ray_every"]).rays, seed),
                                   settings["sample_every"])
    return measures
