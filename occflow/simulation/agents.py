"""The state of what moves or could move: drivers, walkers, parked vehicles, barriers and cones."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from occflow.simulation.bodies import KINDS
from occflow.simulation.paths import Path
from occflow.simulation.streets import Lane


@dataclass(frozen=True)
class Crossing:
    """A junction that a driver is going to cross.

    Args:
        lane: where it comes from; turn: -1 right, 0 straight, 1 left.
        entry_m, exit_m: distances along the driver's path; points: [K, 2] the way through, metres.
    """

    lane: Lane
    turn: int
    entry_m: float
    exit_m: float
    points: np.ndarray

    def __deepcopy__(self, memo: dict) -> Crossing:
        return self  # never changes


@dataclass
class Route:
    """Where a driver is on the street plan: its lane, and the junction ahead once its turn is decided."""

    lane: Lane
    crossing: Crossing | None = None
    granted: bool = False  # it may enter the junction
    waited_s: float = 0.0
    turns_taken: list[int] = field(default_factory=list)


@dataclass
class Walk:
    """Where a walker is: it walks towards junction (i, j) with its block to the right (side 1) or left (-1)."""

    i: int
    j: int
    direction: int
    side: int
    stands_s: float = 0.0
    crosses: bool = False  # on its way over the street, or waiting for it
    clear: bool = False  # the street was free: it has started


@dataclass(frozen=True)
class Script:
    """A recorded drive that an agent repeats: speed of every tick from `first_tick` on, and turns in their order."""

    first_tick: int
    speeds_m_per_s: tuple[float, ...]
    turns: tuple[int, ...]


@dataclass
class Agent:
    """One mover or standing object.

    Args:
        kind: a name of KINDS; size_m: length, width, height.
        path: what it follows; None for what never moves and stays at `parked` (x, y, heading).
        distance_m, speed_m_per_s: along the path; arrived_m_per_s: speed of the tick before.
        cruise_m_per_s: what it would like to go; mood: share of that which it likes just now; braking_s: seconds that
            it goes on braking.
        route: of a driver; walk: of a walker; script: of a driver that repeats what it did before.
    """

    kind: str
    size_m: tuple[float, float, float]
    path: Path | None = None
    distance_m: float = 0.0
    speed_m_per_s: float = 0.0
    arrived_m_per_s: float = 0.0
    cruise_m_per_s: float = 0.0
    mood: float = 1.0
    braking_s: float = 0.0
    parked: tuple[float, float, float] = (0.0, 0.0, 0.0)
    route: Route | None = None
    walk: Walk | None = None
    script: Script | None = None

    @property
    def category(self) -> str:
        return KINDS[self.kind].category

    @property
    def moves(self) -> bool:
        return self.path is not None

    @property
    def front_m(self) -> float:
        return self.distance_m + self.size_m[0] / 2

    @property
    def rear_m(self) -> float:
        return self.distance_m - self.size_m[0] / 2

    def place(self, seconds: float = 0.0) -> tuple[float, float, float]:
        """x, y (metres) and heading (radians) in the world, `seconds` after (or before) the last tick."""
        if self.path is None:
            return self.parked
        return self.path.at(self.distance_m + seconds * (self.speed_m_per_s if seconds >= 0 else self.arrived_m_per_s))
