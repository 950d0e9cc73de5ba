"""What a report measures beside its main table, gathered while the windows stream by."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol as Interface

from occflow.eval.coherence import CoherenceScores
from occflow.eval.protocols import Protocol
from occflow.eval.ray_scores import RayScores
from occflow.eval.rays import LogRays
from occflow.eval.views import PresentScores, ViewScores
from occflow.forecasting.forecast import Forecast
from occflow.grid import VoxelGrid
from occflow.logs.protocol import DrivingLog
from occflow.occupancy.windows import Window, WindowKey


class Measure(Interface):
    """Sees windows with their forecasts by name, and reports plain values at the end; what was counted of other windows
    adds up, also in another process."""

    def watch(self, window: Window, forecasts: dict[str, Forecast]) -> None: ...

    def merge(self, other) -> None: ...

    def report(self) -> object: ...


class Thinned:
    """A measure that sees some of the windows only, since it takes long."""

    def __init__(self, measure: Measure, keys: Collection[WindowKey]) -> None:
        self.measure, self.keys, self.used = measure, frozenset(keys), 0

    def watch(self, window: Window, forecasts: dict[str, Forecast]) -> None:
        if window.key in self.keys:
            self.measure.watch(window, forecasts)
            self.used += 1

    def merge(self, other: Thinned) -> None:
        """Add what was counted of other windows."""
        self.measure.merge(other.measure)
        self.used += other.used

    def report(self) -> dict:
        found = self.measure.report()
        return {"windows": self.used, **(found if isinstance(found, dict) else {"rows": found})}


def configured_measures(settings: Mapping, grid: VoxelGrid, protocol: Protocol, frames: list[int],
                        log: DrivingLog | None, thinned: Collection[WindowKey], seed: int = 0) -> dict[str, Measure]:
    """The measures that the settings of evaluation ask for, by their names in the report; rays need the log.

    Args:
        thinned: the windows that those see which take long.
    """
    measures: dict[str, Measure] = {}
    if settings["views"]:
        measures["views"] = ViewScores(grid, protocol, frames)
    if settings["present"]:
        measures["present"] = Thinned(PresentScores(grid, frames, seed), thinned)
    if settings["coherence"]:
        measures["coherence"] = Thinned(CoherenceScores(grid, seed), thinned)
    if log is not None:
        measures["rays"] = Thinned(RayScores(grid, LogRays(log, grid, settings["ray_every"]).rays, seed), thinned)
    return measures
