"""What moves: vehicles that follow lanes and each other, pedestrians on sidewalks, parked vehicles, the ego.

The whole state is in Traffic; a deep copy can be stepped on with another random generator, which is how
branching futures are made from one present.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occflow.simulation.boxes import CATEGORIES, Boxes
from occflow.simulation.paths import DIRECTIONS, Path, random_path, resampled, right_of
from occflow.simulation.settings import SimulationSettings
from occflow.simulation.town import KERB_M, PARKING_OFFSET_M, ROAD_HALF_M

# category, share, length, width, height (metres), cruise speed from and to (m/s)
VEHICLES = (
    ("vehicle.car", 0.70, 4.5, 1.9, 1.65, 4.0, 10.0),
    ("vehicle.truck", 0.10, 7.5, 2.4, 3.0, 4.0, 8.0),
    ("vehicle.bus.rigid", 0.06, 11.0, 2.7, 3.2, 4.0, 8.0),
    ("vehicle.motorcycle", 0.07, 2.1, 0.8, 1.6, 5.0, 10.0),
    ("vehicle.bicycle", 0.07, 1.8, 0.7, 1.7, 2.5, 5.0),
)
PARKED_KINDS = 2  # only cars and trucks park
PEDESTRIAN = ("human.pedestrian.adult", 0.0, 0.7, 0.7, 1.75, 0.8, 1.8)
EGO_SIZE_M = (4.6, 1.9, 1.6)

MAX_ACCELERATION, COMFORT_BRAKING, MAX_BRAKING = 1.5, 2.0, 6.0  # m/s^2
HEADWAY_S, STANDSTILL_GAP_M = 1.2, 2.5
LOOK_AHEAD_M, CORRIDOR_M = 35.0, 1.7  # a leader is this near ahead, and within this of the own axis
MAX_PLACINGS = 20  # tries to find a free place for a vehicle; a crowded town gets fewer
BRAKING_RATE_HZ, BRAKING_S = 0.012, 3.0  # a driver brakes now and then, for no visible reason


@dataclass
class Agent:
    """One mover or parked vehicle.

    Args:
        category: index of CATEGORIES; size_m: length, width, height.
        path: what it follows; None for a parked one, which stays at `parked` (x, y, heading).
        distance_m, speed_m_per_s: along the path; cruise_m_per_s: what it would like to drive.
        braking_s: seconds that it goes on braking.
    """

    category: int
    size_m: tuple[float, float, float]
    path: Path | None
    distance_m: float = 0.0
    speed_m_per_s: float = 0.0
    cruise_m_per_s: float = 0.0
    braking_s: float = 0.0
    parked: tuple[float, float, float] = (0.0, 0.0, 0.0)
    ground_m: float = 0.0

    @property
    def moves(self) -> bool:
        return self.path is not None

    @property
    def pedestrian(self) -> bool:
        return CATEGORIES[self.category].startswith("human")

    def pose(self) -> tuple[float, float, float]:
        """x, y (metres) and heading (radians) in the world."""
        return self.path.at(self.distance_m) if self.path is not None else self.parked


class Traffic:
    """All agents; agent 0 is the ego."""

    def __init__(self, agents: list[Agent]) -> None:
        self.agents = agents

    @property
    def ego(self) -> Agent:
        return self.agents[0]

    def poses(self) -> np.ndarray:
        """[N, 3] x, y, heading of every agent."""
        return np.array([agent.pose() for agent in self.agents])

    def step(self, seconds: float, rng: np.random.Generator) -> None:
        """Advance all movers by the intelligent driver model (Treiber et al., 2000, eqs. 2 and 3)."""
        poses = self.poses()
        speeds = np.array([agent.speed_m_per_s for agent in self.agents])
        lengths = np.array([agent.size_m[0] for agent in self.agents])
        gaps, closing = leaders(poses, speeds, lengths)
        for index, agent in enumerate(self.agents):
            if not agent.moves:
                continue
            if agent.pedestrian:
                agent.distance_m += seconds * agent.speed_m_per_s
                continue
            if agent.braking_s <= 0 and index and rng.random() < BRAKING_RATE_HZ * seconds:
                agent.braking_s = BRAKING_S
            speed = agent.speed_m_per_s
            wanted = max(0.3 * agent.cruise_m_per_s, 0.5) if agent.braking_s > 0 else self._wanted(agent)
            gap = STANDSTILL_GAP_M + max(0.0, speed * HEADWAY_S + speed * closing[index]
                                         / (2 * (MAX_ACCELERATION * COMFORT_BRAKING) ** 0.5))
            drive = MAX_ACCELERATION * (1 - (speed / wanted) ** 4 - (gap / max(gaps[index], 0.3)) ** 2)
            agent.speed_m_per_s = max(0.0, speed + seconds * float(np.clip(drive, -MAX_BRAKING, MAX_ACCELERATION)))
            agent.distance_m += seconds * agent.speed_m_per_s
            agent.braking_s -= seconds

    @staticmethod
    def _wanted(agent: Agent) -> float:
        """Cruise speed, lowered where the path bends within the next metres."""
        here, ahead = agent.path.at(agent.distance_m)[2], agent.path.at(agent.distance_m + 8.0)[2]
        return min(agent.cruise_m_per_s, 4.0) if abs(ahead - here) > 0.3 else agent.cruise_m_per_s


def leaders(poses: np.ndarray, speeds: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gap [N] to the nearest agent ahead (large where none is) and the closing speed [N] towards it.

    Of two that cross each other's way the one with the lower index goes first, so that nobody waits for ever.
    """
    offset = poses[None, :, :2] - poses[:, None, :2]  # [N, N, 2], from row to column
    cos, sin = np.cos(poses[:, 2])[:, None], np.sin(poses[:, 2])[:, None]
    ahead = cos * offset[..., 0] + sin * offset[..., 1]
    aside = -sin * offset[..., 0] + cos * offset[..., 1]
    turned = np.cos(poses[None, :, 2] - poses[:, None, 2])
    seen = (ahead > 0.5) & (ahead < LOOK_AHEAD_M) & (np.abs(aside) < CORRIDOR_M)
    index = np.arange(len(poses))
    seen &= (turned > 0.5) | (index[None, :] < index[:, None]) | (speeds[None, :] < 0.1)
    distance = np.where(seen, ahead - (lengths[None, :] + lengths[:, None]) / 2, 1e3)
    nearest = distance.argmin(axis=1)
    return distance[index, nearest], speeds - speeds[nearest] * turned[index, nearest]


def populate(spacing_m: float, settings: SimulationSettings, rng: np.random.Generator) -> Traffic:
    """The ego near the town's centre and agents about it."""
    agents = [_ego(spacing_m, settings, rng)]
    taken = [(*agents[0].pose()[:2], agents[0].size_m[0] / 2)]  # x, y, half length
    for _ in range(settings.vehicles):
        parks = rng.random() < settings.parked_share
        for _ in range(MAX_PLACINGS):
            agent = _parked(spacing_m, rng) if parks else _driver(spacing_m, settings, rng)
            x, y, _ = agent.pose()
            room = 0.5 + agent.size_m[0] / 2
            if all(np.hypot(x - other[0], y - other[1]) > room + other[2] for other in taken):
                agents.append(agent)
                taken.append((x, y, agent.size_m[0] / 2))
                break
    agents += [_walker(spacing_m, settings, rng) for _ in range(settings.pedestrians)]
    return Traffic(agents)


def _ego(spacing_m: float, settings: SimulationSettings, rng: np.random.Generator) -> Agent:
    direction, cruise = int(rng.integers(4)), float(rng.uniform(3.5, 8.5))
    start = -DIRECTIONS[direction] * rng.uniform(0.1, 0.9) * spacing_m
    path = random_path(spacing_m, start, direction, int(rng.integers(2)), settings.duration_s * 9 + 40, 0.3, rng)
    return Agent(CATEGORIES.index("vehicle.car"), EGO_SIZE_M, path, 0.0, cruise * rng.uniform(0.5, 1.0), cruise)


def _street_place(spacing_m: float, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """A place [2] on the centre line of a street near the town's centre, and a driving direction."""
    direction = int(rng.integers(4))
    along, street = rng.uniform(-1.7, 1.7) * spacing_m, int(rng.integers(-1, 2)) * spacing_m
    return np.array([along, street] if direction % 2 == 0 else [street, along]), direction


def _kind(rng: np.random.Generator, kinds: int) -> tuple:
    shares = np.array([kind[1] for kind in VEHICLES[:kinds]])
    return VEHICLES[int(rng.choice(kinds, p=shares / shares.sum()))]


def _scaled(kind: tuple, rng: np.random.Generator) -> tuple[float, float, float]:
    return tuple(float(value * rng.uniform(0.92, 1.08)) for value in kind[2:5])


def _driver(spacing_m: float, settings: SimulationSettings, rng: np.random.Generator) -> Agent:
    kind = _kind(rng, len(VEHICLES))
    start, direction = _street_place(spacing_m, rng)
    cruise = float(rng.uniform(kind[5], kind[6]))
    lane = 1 if kind[0] in ("vehicle.bicycle", "vehicle.bus.rigid") else int(rng.integers(2))
    path = random_path(spacing_m, start, direction, lane, settings.duration_s * kind[6] + 40, 0.25, rng)
    return Agent(CATEGORIES.index(kind[0]), _scaled(kind, rng), path, 0.0, cruise * rng.uniform(0.6, 1.0), cruise)


def _parked(spacing_m: float, rng: np.random.Generator) -> Agent:
    kind = _kind(rng, PARKED_KINDS)
    place, direction = _street_place(spacing_m, rng)
    along = 0 if direction % 2 == 0 else 1
    junction = np.round(place[along] / spacing_m) * spacing_m
    if abs(place[along] - junction) < ROAD_HALF_M + 6:  # not in a junction
        place[along] = junction + np.sign(place[along] - junction + 1e-9) * (ROAD_HALF_M + 6)
    x, y = place + right_of(direction) * PARKING_OFFSET_M
    return Agent(CATEGORIES.index(kind[0]), _scaled(kind, rng), None, parked=(x, y, direction * np.pi / 2))


def _walker(spacing_m: float, settings: SimulationSettings, rng: np.random.Generator) -> Agent:
    place, direction = _street_place(spacing_m, rng)
    speed, side = float(rng.uniform(*PEDESTRIAN[5:7])), ROAD_HALF_M + rng.uniform(0.8, 2.4)
    heading = DIRECTIONS[direction]
    start = place + right_of(direction) * side
    points = [start, start + heading * (settings.duration_s * speed + 5)]
    if rng.random() < 0.25:  # crosses the street on the way
        crossing = start + heading * rng.uniform(2, 12)
        points = [start, crossing, crossing - 2 * right_of(direction) * side,
                  crossing - 2 * right_of(direction) * side + heading * 40]
    return Agent(CATEGORIES.index(PEDESTRIAN[0]), _scaled(PEDESTRIAN, rng), resampled(np.array(points)), 0.0, speed,
                 speed, ground_m=KERB_M)


def traffic_boxes(traffic: Traffic) -> Boxes:
    """The shapes that the sensor sees, of all agents but the ego; owners are agent indices.

    Motor vehicles are a body and a smaller cabin or a full-height load; the others a single box.
    """
    rows = []
    for index, agent in enumerate(traffic.agents[1:], start=1):
        (x, y, yaw), (length, width, height) = agent.pose(), agent.size_m
        cabin = 0.55 if CATEGORIES[agent.category] == "vehicle.car" else 0.0
        body_top = height * (0.55 if cabin else 1.0)
        rows.append((x, y, agent.ground_m, length, width, body_top, yaw, agent.category, index, 0.15))
        if cabin:
            back = -0.08 * length
            rows.append((x + back * np.cos(yaw), y + back * np.sin(yaw), agent.ground_m, cabin * length, 0.9 * width,
                         height, yaw, agent.category, index, body_top))
    table = np.array(rows, dtype=np.float64).reshape(-1, 10)
    bottom, top = table[:, 2] + table[:, 9], table[:, 2] + table[:, 5]
    return Boxes(np.stack([table[:, 0], table[:, 1], (bottom + top) / 2], axis=1),
                 np.stack([table[:, 3], table[:, 4], top - bottom], axis=1), table[:, 6],
                 table[:, 7].astype(np.int64), table[:, 8].astype(np.int64))
