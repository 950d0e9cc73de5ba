"""What a forecaster is and what it returns: the one interface that baselines and networks share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.windows import Window


@dataclass(frozen=True)
class Forecast:
    """One sample of the future.

    Args:
        frames: F occupancy frames at the grid poses of the window's horizon.
        ms: wall milliseconds by stage ("encode", "flow", "decode"); empty where not measured.
    """

    frames: tuple[OccupancyFrame, ...]
    ms: dict[str, float] = field(default_factory=dict)


class Forecaster(Protocol):
    """Forecasts the horizon of a window from its history and the grid poses of its horizon.

    A forecaster never reads the labels of the horizon.

    Attributes:
        name: row name in reports ("persistence", "teacher-10", "student-1", ...).
        nfe: network evaluations of the flow a forecast; 0 without a network.
    """

    name: str
    nfe: int

    def forecast(self, window: Window, seed: int) -> Forecast:
        """One forecast; the same seed gives the same forecast."""

    def samples(self, window: Window, seeds: list[int]) -> list[Forecast]:
        """The forecasts of several seeds; what they share is computed once (timings are of the first)."""
