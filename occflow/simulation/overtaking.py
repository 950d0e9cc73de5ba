"""Lane changes: a driver goes over to the lane beside its own where that is free."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from occflow.simulation.agents import Agent
from occflow.simulation.junctions import decision_m
from occflow.simulation.streets import DIRECTIONS, Lane, Streets, right_of

CHANGE_S, CHANGE_M = 3.0, 14.0  # a change takes so long, but no less than so many metres
ROOM_S, ROOM_M = 0.9, 5.0  # kept free before and behind, in time and beside the length of both
SLOWEST_M_PER_S = 3.0  # nobody changes at a walk


def change_lanes(streets: Streets, drivers: list[Agent], share: float, rng: np.random.Generator) -> None:
    """Let a share of the drivers change lanes whose streets have several, far from junctions."""
    on_lane = defaultdict(list)
    for agent in drivers:
        on_lane[agent.route.lane].append(agent)
    for agent in [driver for driver, draw in zip(drivers, rng.random(len(drivers))) if draw < share]:
        lane, length = agent.route.lane, max(CHANGE_M, CHANGE_S * agent.speed_m_per_s)
        lanes = streets.street(lane.i, lane.j, lane.direction).lanes
        beside = [k for k in (lane.lane - 1, lane.lane + 1) if 0 <= k < lanes]
        start = streets.ends(lane)[0]
        driven = (np.array(agent.path.at(agent.rear_m)[:2]) - start) @ DIRECTIONS[lane.direction]
        if not beside or agent.route.crossing is not None or agent.script is not None or driven < 0:
            continue
        if agent.speed_m_per_s < SLOWEST_M_PER_S or agent.path.end_m - agent.front_m < length + decision_m(agent):
            continue
        target = Lane(lane.i, lane.j, lane.direction, beside[int(rng.integers(len(beside)))])
        if all(_apart(agent, other, lane.direction) for other in on_lane[target]):
            on_lane[lane].remove(agent)
            on_lane[target].append(agent)
            agent.route.lane = target
            agent.path = agent.path.redirected(agent.distance_m, _way_over(streets, agent, target, length))


def _apart(agent: Agent, other: Agent, direction: int) -> bool:
    """Whether there is room between two vehicles, measured along the street."""
    middle, theirs = ((vehicle.front_m + vehicle.rear_m) / 2 for vehicle in (agent, other))
    offset = np.array(agent.path.at(middle)[:2]) - np.array(other.path.at(theirs)[:2])
    half = (agent.front_m - agent.rear_m + other.front_m - other.rear_m) / 2
    speeds = agent.speed_m_per_s + 2 * abs(agent.speed_m_per_s - other.speed_m_per_s)
    return abs(float(offset @ DIRECTIONS[direction])) > half + ROOM_M + ROOM_S * speeds


def _way_over(streets: Streets, agent: Agent, target: Lane, length: float) -> np.ndarray:
    """Points [K, 2] from beyond the agent's place to the end of the lane beside, bent as a half cosine."""
    here, end = np.array(agent.path.at(agent.distance_m)[:2]), streets.ends(target)[1]
    ahead, aside = DIRECTIONS[target.direction], right_of(target.direction)
    share = np.linspace(0, 1, 20)[1:, None]
    over = float((end - here) @ aside)
    return np.concatenate([here + ahead * length * share + aside * over * (1 - np.cos(np.pi * share)) / 2, end[None]])
