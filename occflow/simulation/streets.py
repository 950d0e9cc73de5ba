"""The plan of the streets: lines of different width, links of which some are missing, lanes and turns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occflow.simulation.locality import PLAIN, Locality

LANE_M = 3.5
PARKING_M = 2.5  # width of a parking strip
CORNER_M = 2.5  # junctions are this much larger than the crossing streets: their corners are cut
DIRECTIONS = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])  # east, north, west, south
STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
LINES = 5  # streets in each direction
MARGIN_M = 45.0  # of land about the outermost streets


def right_of(direction: int) -> np.ndarray:
    return DIRECTIONS[(direction - 1) % 4]


@dataclass(frozen=True)
class Line:
    """A street's centre line at x or y = `at_m`, with `lanes` a direction, maybe parking strips, maybe a strip of
    `median_m` between the directions; drivers take `limit_m_per_s` for allowed."""

    at_m: float
    lanes: int
    parking: bool
    median_m: float = 0.0
    limit_m_per_s: float = np.inf

    @property
    def half_m(self) -> float:
        return self.median_m / 2 + LANE_M * self.lanes + PARKING_M * self.parking

    def lane_offset_m(self, lane: int) -> float:
        """From the street's middle to the middle of a lane."""
        return LANE_M * (lane + 0.5) + self.median_m / 2

    @property
    def parking_offset_m(self) -> float:
        return self.median_m / 2 + LANE_M * self.lanes + PARKING_M / 2


@dataclass(frozen=True)
class Lane:
    """A lane towards junction (i, j) in a direction; lane 0 is the inner one."""

    i: int
    j: int
    direction: int
    lane: int


@dataclass(frozen=True)
class Streets:
    """Lines along y (`lines[0]`, at x) and along x (`lines[1]`, at y); a link is (i, j, 0: east or 1: north).

    Between kerbs and sidewalks are `verge_m`; drivers go straight on `straight` times as often as in the plain place.
    """

    lines: tuple[tuple[Line, ...], tuple[Line, ...]]
    links: frozenset[tuple[int, int, int]]
    extent_m: tuple[float, float]
    verge_m: float = 0.0
    straight: float = 1.0

    def __deepcopy__(self, memo: dict) -> Streets:
        return self  # never changes

    def node(self, i: int, j: int) -> np.ndarray:
        return np.array([self.lines[0][i].at_m, self.lines[1][j].at_m])

    def street(self, i: int, j: int, direction: int) -> Line:
        """The line that runs through junction (i, j) in a direction."""
        return self.lines[0][i] if direction % 2 else self.lines[1][j]

    def linked(self, i: int, j: int, direction: int) -> bool:
        step = STEPS[direction % 4]
        return (i + min(step[0], 0), j + min(step[1], 0), direction % 2) in self.links

    def neighbour(self, i: int, j: int, direction: int) -> tuple[int, int]:
        return i + STEPS[direction % 4][0], j + STEPS[direction % 4][1]

    def reach_m(self, i: int, j: int, direction: int) -> float:
        """From the centre of a junction to its stop line, for traffic in a direction."""
        return self.street(i, j, direction + 1).half_m + CORNER_M

    def ends(self, lane: Lane) -> tuple[np.ndarray, np.ndarray]:
        """Where a lane begins and ends [2], between its junctions."""
        heading, aside = DIRECTIONS[lane.direction], right_of(lane.direction) * self.street(
            lane.i, lane.j, lane.direction).lane_offset_m(lane.lane)
        i, j = self.neighbour(lane.i, lane.j, lane.direction + 2)
        return (self.node(i, j) + aside + heading * self.reach_m(i, j, lane.direction),
                self.node(lane.i, lane.j) + aside - heading * self.reach_m(lane.i, lane.j, lane.direction))

    def turns(self, lane: Lane) -> list[int]:
        """Ways on at the end of a lane: -1 right, 0 straight, 1 left; turns leave from the outer and the inner lane."""
        built = [turn for turn in (-1, 0, 1) if self.linked(lane.i, lane.j, lane.direction + turn)]
        last = self.street(lane.i, lane.j, lane.direction).lanes - 1
        fitting = [turn for turn in built if turn == 0 or lane.lane == (0 if turn == 1 else last)]
        return fitting or built

    def following(self, lane: Lane, turn: int) -> Lane:
        """The lane that a turn leads to."""
        direction = (lane.direction + turn) % 4
        last = self.street(lane.i, lane.j, direction).lanes - 1
        return Lane(*self.neighbour(lane.i, lane.j, direction), direction,
                    (last, min(lane.lane, last), 0)[turn + 1])

    def crossing(self, lane: Lane, turn: int) -> np.ndarray:
        """Polyline [K, 2] through the junction, from the lane's end to the beginning of the next."""
        after = self.following(lane, turn)
        entry, leave = self.ends(lane)[1], self.ends(after)[0]
        if not turn:
            return np.stack([entry, leave])
        ahead, aside = DIRECTIONS[lane.direction], DIRECTIONS[after.direction]
        corner = entry + ahead * float((leave - entry) @ ahead)
        radius = min(np.linalg.norm(corner - entry), np.linalg.norm(leave - corner))
        angles = np.linspace(0, np.pi / 2, 10)[:, None]
        arc = corner + radius * (ahead * (np.sin(angles) - 1) + aside * (1 - np.cos(angles)))
        return np.concatenate([entry[None], arc, leave[None]])


def random_streets(rng: np.random.Generator, locality: Locality = PLAIN) -> Streets:
    """Five by five streets; every junction keeps at least two links."""
    lines, profiles = [], locality.profiles
    for _ in range(2):
        gaps = np.round(rng.uniform(*locality.gaps_m, LINES - 1) * 2) / 2
        places = MARGIN_M + np.concatenate([[0.0], np.cumsum(gaps)])
        kinds = rng.choice(len(profiles), LINES, p=[profile.share for profile in profiles])
        factors = rng.uniform(0.85, 1.15, LINES) if locality.fine else np.ones(LINES)  # no two streets are alike
        lines.append(tuple(Line(float(at), profiles[kind].lanes, profiles[kind].parking, profiles[kind].median_m,
                                profiles[kind].limit_m_per_s * factor)
                           for at, kind, factor in zip(places, kinds, factors)))
    links = {(i, j, axis) for i in range(LINES) for j in range(LINES) for axis in (0, 1)
             if (i, j)[axis] < LINES - 1}
    degree = np.array([[sum((0 < i, i < LINES - 1, 0 < j, j < LINES - 1)) for j in range(LINES)]
                       for i in range(LINES)])
    for link in [sorted(links)[k] for k in rng.permutation(len(links))[:round(locality.lost_links * len(links))]]:
        ends = (link[:2], (link[0] + (link[2] == 0), link[1] + (link[2] == 1)))
        if all(degree[end] > 2 for end in ends):
            links.remove(link)
            for end in ends:
                degree[end] -= 1
    return Streets(tuple(lines), frozenset(links), tuple(line[-1].at_m + MARGIN_M for line in lines), locality.verge_m,
                   locality.straight)
