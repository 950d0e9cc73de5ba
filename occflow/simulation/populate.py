"""Filling a town: the ego near its middle, vehicles, construction sites and pedestrians about it."""

from __future__ import annotations

import numpy as np

from occflow.simulation.agents import HITCH_M, Agent, Manner, Route, Walk, resampled
from occflow.simulation.boxes import KINDS, TRAILERS
from occflow.simulation.locality import Locality
from occflow.simulation.settings import SimulationSettings
from occflow.simulation.streets import DIRECTIONS, Lane, Streets, right_of
from occflow.simulation.town import Town
from occflow.simulation.traffic import TICK_S, Traffic
from occflow.simulation.walking import walk_on, walkway_point

MAX_PLACINGS = 20  # tries to find a free place; a crowded town gets fewer agents
NEAR_M = 140.0  # agents begin within this distance of the ego
LOTS_M = 160.0  # vehicles are parked beside streets within this distance of the ego
SLOT_M = 6.3  # length of a parking place
FREE_CROSSING_M = 5.0  # no parking about the middle of a street, where people cross
SITE_SHARE = 0.22  # of the parking strips: a construction site
SITE_SLOTS = 3
WARM_UP_S = 4.0  # driven before a scene begins, so that queues have formed
ON_MAIN_SHARE, EGO_LANES = 0.7, 24  # the ego begins on one of the fastest of so many lanes about the middle
FASTEST_M_PER_S = 35.0  # the ego where speeds are allowed: it goes by these
EGO_SIZE_M, EGO_CRUISE_M_PER_S = (4.6, 1.9, 1.6), (7.0, 13.0)
WALKER_GAP_M = 1.5  # between people when a scene begins
OUTER_LANE = ("bus", "truck", "bicycle", "cyclist", "city_bus", "tractor")
BLOCKS = 1.5  # or within so many blocks, where these are large


def populate(town: Town, settings: SimulationSettings, rng: np.random.Generator) -> Traffic:
    """Traffic at the beginning of a scene."""
    streets, lanes, locality = town.streets, _lanes(town.streets), town.locality
    middle = np.array(streets.extent_m) / 2
    by_distance = sorted(lanes, key=lambda lane: float(np.linalg.norm(_middle(streets, lane) - middle)))
    taken: dict[Lane, list[tuple[float, float]]] = {}
    central = by_distance[:8]
    if locality.keenness is not None and rng.random() < ON_MAIN_SHARE:
        central = sorted(by_distance[:EGO_LANES], key=lambda lane: -streets.street(
            lane.i, lane.j, lane.direction).limit_m_per_s)[:EGO_LANES // 3]
    ego = _driver(town, central, "sedan", taken, rng)
    ego.size_m = EGO_SIZE_M
    if locality.keenness is None:
        ego.cruise_m_per_s = float(rng.uniform(*EGO_CRUISE_M_PER_S))
    else:
        ego.cruise_m_per_s = FASTEST_M_PER_S
    here = np.array(ego.place()[:2])
    reach = NEAR_M if locality.keenness is None else max(NEAR_M, BLOCKS * np.mean(locality.gaps_m))
    near = [lane for lane in lanes if np.linalg.norm(_middle(streets, lane) - here) < reach]
    vehicles = round(settings.vehicles * locality.vehicles)
    parked_share = settings.parked_share if locality.parked_share is None else locality.parked_share
    num_parked = int(rng.binomial(vehicles, parked_share))
    agents = [ego]
    for _ in range(vehicles - num_parked):
        kind = str(rng.choice(list(locality.driven), p=_shares(locality.driven)))
        agent = _driver(town, near, kind, taken, rng)
        agents += [agent] if agent is not None else []
    agents += [agent.tows for agent in agents if agent.tows is not None]
    agents += _roadside(streets, near, num_parked, locality, rng)
    agents += _on_lots(town, here, rng)
    walkers: list[Agent] = []
    for _ in range(round(settings.pedestrians * locality.pedestrians)):
        walker = _walker(town, near, walkers, rng)
        walkers += [walker] if walker is not None else []
    agents += walkers
    traffic = Traffic(town, agents)
    traffic.decide(rng)
    for _ in range(round(WARM_UP_S / TICK_S)):
        traffic.step(rng)
    return traffic


def _shares(kinds: dict[str, float]) -> np.ndarray:
    shares = np.array(list(kinds.values()))
    return shares / shares.sum()


def _lanes(streets: Streets) -> list[Lane]:
    """All lanes of the town, in a fixed order."""
    return [Lane(*streets.neighbour(i, j, axis + 2 * back) if not back else (i, j), axis + 2 * back, lane)
            for i, j, axis in sorted(streets.links) for back in (0, 1)
            for lane in range(streets.street(i, j, axis).lanes)]


def _middle(streets: Streets, lane: Lane) -> np.ndarray:
    return np.mean(streets.ends(lane), axis=0)


def _driver(town: Town, lanes: list[Lane], name: str, taken: dict, rng: np.random.Generator) -> Agent | None:
    """A vehicle on one of the lanes, None where no free place is found; `taken` collects centre and half length."""
    kind, streets, locality = KINDS[name], town.streets, town.locality
    size = kind.scaled(rng, locality.spread)
    trailer = _trailer(name, locality, rng) if locality.fine else None
    whole_m = size[0] + (HITCH_M + trailer.size_m[0] if trailer else 0.0)
    for _ in range(MAX_PLACINGS):
        lane = lanes[int(rng.integers(len(lanes)))]
        if name in OUTER_LANE:
            lane = Lane(lane.i, lane.j, lane.direction, streets.street(lane.i, lane.j, lane.direction).lanes - 1)
        start, end = streets.ends(lane)
        length = float(np.linalg.norm(end - start))
        middle = float(rng.uniform(whole_m / 2, length - whole_m / 2))
        if all(abs(middle - other) > half + whole_m / 2 + 5.0 for other, half in taken.get(lane, ())):
            taken.setdefault(lane, []).append((middle, whole_m / 2))
            at = middle + (whole_m - size[0]) / 2
            manner, cruise = _manner(locality, rng), float(rng.uniform(*kind.cruise_m_per_s))
            if locality.keenness is not None and kind.category != "vehicle.bicycle":
                cruise = max(cruise, 0.85 * kind.cruise_m_per_s[1])  # what is allowed is less, but for the slowest
            allowed = manner.keenness * streets.street(lane.i, lane.j, lane.direction).limit_m_per_s
            path = resampled(np.stack([start, end]))
            speed = min(cruise, 0.3 * (length - at), allowed)  # slow where the junction is near
            agent = Agent(name, size, path, at, speed, speed, cruise, route=Route(lane), manner=manner, tows=trailer)
            agent.tow()
            return agent
    return None


def _trailer(name: str, locality: Locality, rng: np.random.Generator) -> Agent | None:
    """What a vehicle of a kind tows, None where that is nothing."""
    draw = rng.random()
    for kind, share in TRAILERS.get(name, ()):
        if draw < share:
            return Agent(kind, KINDS[kind].scaled(rng, locality.spread))
        draw -= share
    return None


def _manner(locality: Locality, rng: np.random.Generator) -> Manner:
    """How a driver of a place drives."""
    if locality.keenness is None:
        return Manner()
    return Manner(*(float(rng.uniform(*limits)) for limits in (locality.accelerations, locality.brakings,
                                                               locality.headways_s, locality.keenness)))


def _roadside(streets: Streets, lanes: list[Lane], num_parked: int, locality: Locality, rng: np.random.Generator
              ) -> list[Agent]:
    """Parked vehicles, and construction sites on some of the parking strips."""
    agents, free = [], []
    for lane in lanes:
        line = streets.street(lane.i, lane.j, lane.direction)
        if lane.lane or not line.parking:
            continue
        slots = _slots(streets, lane)
        runs = [k for k in range(len(slots) - SITE_SLOTS + 1) if np.hypot(
            slots[k + SITE_SLOTS - 1][0] - slots[k][0], slots[k + SITE_SLOTS - 1][1] - slots[k][1])
            < SITE_SLOTS * SLOT_M]  # without a place for people to cross
        if runs and rng.random() < SITE_SHARE:
            first = runs[int(rng.integers(len(runs)))]
            agents += _site(slots[first:first + SITE_SLOTS], rng)
            slots = slots[:max(0, first - 1)] + slots[first + SITE_SLOTS + 1:]
        free += slots
    for index in rng.permutation(len(free))[:num_parked]:
        x, y, yaw = free[index]
        name = str(rng.choice(list(locality.parked), p=_shares(locality.parked)))
        shift = rng.uniform(-0.3, 0.3) * np.array([np.cos(yaw), np.sin(yaw)])
        agents.append(Agent(name, KINDS[name].scaled(rng, locality.spread), parked=(x + shift[0], y + shift[1],
                                                                   yaw + float(rng.normal(0, 0.02)))))
    return agents


def _on_lots(town: Town, here: np.ndarray, rng: np.random.Generator) -> list[Agent]:
    """Vehicles parked on lots and before houses near a place [2]."""
    agents, locality = [], town.locality
    for x, y, yaw in town.lots[np.linalg.norm(town.lots[:, :2] - here, axis=1) < LOTS_M]:
        if rng.random() < locality.lots_filled:
            name = str(rng.choice(list(locality.parked), p=_shares(locality.parked)))
            agents.append(Agent(name, KINDS[name].scaled(rng, locality.spread), parked=(
                x + float(rng.normal(0, 0.1)), y + float(rng.normal(0, 0.1)), yaw + float(rng.normal(0, 0.03)))))
    return agents


def _slots(streets: Streets, lane: Lane) -> list[tuple[float, float, float]]:
    """Parking places (x, y, heading) beside a lane: not at junctions, not where people cross."""
    start, end = streets.ends(lane)
    line, heading = streets.street(lane.i, lane.j, lane.direction), DIRECTIONS[lane.direction]
    aside = right_of(lane.direction) * (line.parking_offset_m - line.lane_offset_m(lane.lane))
    length = float(np.linalg.norm(end - start))
    behind = streets.node(*streets.neighbour(lane.i, lane.j, lane.direction + 2))
    crossing = float(((streets.node(lane.i, lane.j) + behind) / 2 - start) @ heading)
    return [(*(start + heading * along + aside), lane.direction * np.pi / 2)
            for along in np.arange(4 + SLOT_M / 2, length - 4 - SLOT_M / 2, SLOT_M)
            if abs(along - crossing) > FREE_CROSSING_M + SLOT_M / 2]


def _site(slots: list[tuple[float, float, float]], rng: np.random.Generator) -> list[Agent]:
    """A digger behind barriers and cones, and somebody who watches."""
    (x, y, yaw), (x1, y1, _) = slots[0], slots[-1]
    ahead, left = np.array([np.cos(yaw), np.sin(yaw)]), np.array([-np.sin(yaw), np.cos(yaw)])
    first, length = np.array([x, y]) - ahead * SLOT_M / 2, float(np.hypot(x1 - x, y1 - y)) + SLOT_M

    def standing(name: str, along: float, aside: float, turn: float = 0.0) -> Agent:
        place = first + ahead * along + left * aside
        return Agent(name, KINDS[name].size_m, parked=(float(place[0]), float(place[1]), yaw + turn))

    agents = [standing("digger", length / 2, -0.1, np.pi * int(rng.integers(2))),
              standing("worker", length / 2 + 5.0, rng.uniform(-0.4, 0.2), rng.uniform(0, 6)),
              standing("barrier", 2.2, 0.0), standing("barrier", length - 0.8, 0.0)]
    return agents + [standing("cone", along, 1.05 if 2.0 < along else 0.2)
                     for along in np.arange(0.6, length, rng.uniform(2.0, 3.5))]


def _walker(town: Town, lanes: list[Lane], others: list[Agent], rng: np.random.Generator) -> Agent | None:
    """Somebody on a sidewalk, None where no free place is found."""
    streets, locality = town.streets, town.locality
    name = "child" if rng.random() < 0.15 else "passer" if locality.fine else "adult"
    size, cruise = KINDS[name].scaled(rng, locality.spread), float(rng.uniform(*KINDS[name].cruise_m_per_s))
    places = np.array([other.place()[:2] for other in others]).reshape(-1, 2)
    for _ in range(MAX_PLACINGS):
        lane = lanes[int(rng.integers(len(lanes)))]
        walk = Walk(lane.i, lane.j, lane.direction, int(rng.choice((-1, 1))))
        here = walkway_point(streets, walk)
        agent = Agent(name, size, cruise_m_per_s=cruise, walk=walk,
                      path=resampled(np.stack([here, here + DIRECTIONS[walk.direction]])))
        walk_on(streets, agent, rng)
        if not agent.walk.crosses:
            agent.distance_m = float(rng.uniform(0, agent.path.end_m - 0.5))
        if not (np.linalg.norm(places - agent.place()[:2], axis=1) < WALKER_GAP_M).any():
            return agent
    return None
