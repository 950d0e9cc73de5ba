"""What a forecaster is and what it returns: the one interface that baselines and networks share."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Protocol

from occflow.flow.temperature import AS_LEARNT
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.tasks import Task

TEMPERED = re.compile(r"-at[0-9.]+(e-[0-9]+)?$")
CENTRAL = "central"  # what the name of a checkpoint's one forecast ends in: "student-central"


def is_central(name: str) -> bool:
    """Whether a row of that name is the centre of a checkpoint's futures; else it is a sample of them, or of no
    checkpoint."""
    return name.rpartition("-")[2] == CENTRAL


def tempered_name(name: str, temperature: float) -> str:
    """What the sampler of a name is called at a temperature: "student-1-at0.5"; at 1 what it is called anyway."""
    plain = TEMPERED.sub("", name)
    return plain if temperature == AS_LEARNT else f"{plain}-at{temperature:g}"


def is_tempered(name: str) -> bool:
    """Whether a row of that name has samples of another temperature than 1."""
    return TEMPERED.search(name) is not None


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
