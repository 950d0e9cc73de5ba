"""The state of what moves or could move, drivers, walkers, parked vehicles, barriers and cones, and their paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from occflow.simulation.boxes import KINDS
from occflow.simulation.streets import Lane

STEP_M = 0.5  # distance between the points of a path
MAX_ACCELERATION, COMFORT_BRAKING = 1.6, 2.0  # m/s^2
HEADWAY_S = 1.2
HITCH_M = 0.6  # between a vehicle and its trailer
KEPT_M = 15.0  # of what lies behind, when a path goes on


@dataclass(frozen=True)
class Path:
    """A polyline, measured by the distance along it.

    Points [K, 2] every STEP_M metres with headings [K] (unwrapped, radians); the first is at `start_m`.
    """

    points: np.ndarray
    headings: np.ndarray
    start_m: float = 0.0

    def __deepcopy__(self, memo: dict) -> Path:
        return self  # never changes

    @property
    def end_m(self) -> float:
        return self.start_m + STEP_M * (len(self.points) - 1)

    def at(self, distance_m: float) -> tuple[float, float, float]:
        """x, y, heading at a distance along the path; its ends are extended straight."""
        wanted = (distance_m - self.start_m) / STEP_M
        position = min(max(wanted, 0.0), len(self.points) - 1.001)
        index = int(position)
        fraction = position - index
        (x0, y0), (x1, y1) = self.points[index], self.points[index + 1]
        heading = (1 - fraction) * self.headings[index] + fraction * self.headings[index + 1]
        beyond = (wanted - position) * STEP_M
        return (x0 + fraction * (x1 - x0) + np.cos(heading) * beyond,
                y0 + fraction * (y1 - y0) + np.sin(heading) * beyond, heading)

    def indices(self, distances_m: np.ndarray) -> np.ndarray:
        """Nearest points of the path to distances along it."""
        nearest = np.rint((distances_m - self.start_m) / STEP_M).astype(np.int64)
        return np.clip(nearest, 0, len(self.points) - 1)

    def continued(self, points: np.ndarray, distance_m: float) -> Path:
        """This path, going on through a polyline [K, 2] that begins at its end; forgets what is far behind."""
        first = max(0, int((distance_m - KEPT_M - self.start_m) / STEP_M))
        whole = resampled(np.concatenate([self.points[-1:], points]))
        return _with_headings(np.concatenate([self.points[first:-1], whole.points]), self.start_m + first * STEP_M,
                              self.headings[first])

    def redirected(self, distance_m: float, points: np.ndarray) -> Path:
        """This path up to its last point before a distance, then a polyline [K, 2] that begins beyond it."""
        last = min(max(0, int((distance_m - self.start_m) / STEP_M)), len(self.points) - 1)
        kept = Path(self.points[:last + 1], self.headings[:last + 1], self.start_m)
        return kept.continued(points, distance_m)


def places_along(paths: Sequence[Path], distances_m: np.ndarray) -> np.ndarray:
    """Path.at of every path at a distance [N] of its own: [N, 3]."""
    if not paths:
        return np.zeros((0, 3))
    lasts = np.array([len(path.points) for path in paths]) - 1.001
    wanted = (distances_m - np.array([path.start_m for path in paths])) / STEP_M
    position = np.minimum(np.maximum(wanted, 0.0), lasts)
    index = position.astype(np.int64)
    fraction, beyond = position - index, (wanted - position) * STEP_M
    spans = [(path, slice(first, first + 2)) for path, first in zip(paths, index.tolist())]
    (x0, y0), (x1, y1) = np.array([path.points[span] for path, span in spans]).transpose(1, 2, 0)
    before, after = np.array([path.headings[span] for path, span in spans]).T
    heading = (1 - fraction) * before + fraction * after
    return np.stack([x0 + fraction * (x1 - x0) + np.cos(heading) * beyond,
                     y0 + fraction * (y1 - y0) + np.sin(heading) * beyond, heading], axis=1)


def nearest_along(paths: Sequence[Path], distances_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points [N, K, 2] and headings [N, K] at Path.indices of every path, at distances [N, K]."""
    lengths = np.array([len(path.points) for path in paths])
    starts_m = np.array([path.start_m for path in paths])
    nearest = np.rint((distances_m - starts_m[:, None]) / STEP_M).astype(np.int64)
    rows = np.clip(nearest, 0, lengths[:, None] - 1) + (np.cumsum(lengths) - lengths)[:, None]
    points, headings = (np.concatenate([getattr(path, name) for path in paths]) for name in ("points", "headings"))
    return points[rows], headings[rows]


def _with_headings(points: np.ndarray, start_m: float, near_heading: float = 0.0) -> Path:
    steps = np.diff(points, axis=0)
    headings = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
    headings = headings + 2 * np.pi * np.rint((near_heading - headings[0]) / (2 * np.pi))
    return Path(points, np.append(headings, headings[-1]), start_m)


def resampled(points: np.ndarray) -> Path:
    """A path through a polyline [K, 2]; shorter than it by less than STEP_M."""
    distance = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    keep = np.concatenate([[True], np.diff(distance) > 1e-6])
    wanted = np.arange(0, max(distance[-1] + 1e-9, 1.5 * STEP_M), STEP_M)
    return _with_headings(np.stack([np.interp(wanted, distance[keep], points[keep, k]) for k in range(2)], axis=1), 0.0)


@dataclass(frozen=True)
class Crossing:
    """A junction that a driver is going to cross.

    Args:
        lane: where it comes from; turn: -1 right, 0 straight, 1 left.
        entry_m, exit_m: distances along the driver's path; points: [K, 2] the way through, metres.
        has_way: it comes from a faster street than the one it meets there, which lets it go first.
    """

    lane: Lane
    turn: int
    entry_m: float
    exit_m: float
    points: np.ndarray
    has_way: bool = False

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


@dataclass(frozen=True)
class Manner:
    """How somebody drives: accelerations in m/s^2, the time kept to who is ahead, the share of the allowed speed that
    it likes."""

    acceleration: float = MAX_ACCELERATION
    braking: float = COMFORT_BRAKING
    headway_s: float = HEADWAY_S
    keenness: float = 1.0

    def __deepcopy__(self, memo: dict) -> Manner:
        return self  # never changes


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
        manner: of a driver; tows: the trailer behind it, which is where its path was.
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
    manner: Manner = Manner()
    tows: Agent | None = None

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
        trailer = 0.0 if self.tows is None else HITCH_M + self.tows.size_m[0]
        return self.distance_m - self.size_m[0] / 2 - trailer

    def tow(self) -> None:
        """Bring the trailer to where it is behind this agent."""
        if self.tows is not None:
            self.tows.path, self.tows.speed_m_per_s = self.path, self.speed_m_per_s
            self.tows.arrived_m_per_s = self.arrived_m_per_s
            self.tows.distance_m = self.distance_m - (self.size_m[0] + self.tows.size_m[0]) / 2 - HITCH_M

    def place(self, seconds: float = 0.0) -> tuple[float, float, float]:
        """x, y (metres) and heading (radians) in the world, `seconds` after (or before) the last tick."""
        return self.parked if self.path is None else self.path.at(self.distance_after_m(seconds))

    def distance_after_m(self, seconds: float) -> float:
        """Distance along the path `seconds` after (or before) the last tick."""
        return self.distance_m + seconds * (self.speed_m_per_s if seconds >= 0 else self.arrived_m_per_s)
