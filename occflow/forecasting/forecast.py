"""What a forecaster is and what it returns: the one interface that baselines and networks share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.tasks import Task

CENTRAL = "central"  # what the name of a checkpoint's one forecast ends in: "student-central"


def is_central(name: str) -> bool:
    """Whether a row of that name is the centre of a checkpoint's futures; else it is a sample of them, or of no
    checkpoint."""
    return name.rpartition("-")[2] == CENTRAL


@dataclass(frozen=True)
class Forecast:
    """One forecast of the future: a centre, a sample, whatever a rule gives.

    Args:
        frames: F occupancy frames at the task's targets.
        ms: wall milliseconds by stage ("encode", "flow", "decode"); empty where not measured.
    """

    frames: tuple[OccupancyFrame, ...]
    ms: dict[str, float] = field(default_factory=dict)


class Forecaster(Protocol):
    """Forecasts frames at the targets of a task from its history; the truth is not in its hands.

    Attributes:
        name: row name in reports ("persistence", "student-central", "teacher-10", "student-1", ...).
        nfe: network evaluations of the flow a forecast; 0 without a network.
    """

    name: str
    nfe: int

    def forecast(self, task: Task, seed: int) -> Forecast:
        """One forecast; the same seed gives the same forecast."""

    def samples(self, task: Task, seeds: list[int]) -> list[Forecast]:
        """The forecasts of several seeds; what they share is computed once (timings are of the first)."""
