"""Who may enter a junction: ways through it are reserved, and ways that meet are never given out together."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from occflow.simulation.agents import STEP_M, Agent, Crossing, resampled
from occflow.simulation.streets import Streets

DECISION_M, DECISION_S, DECISION_BRAKING = 4.0, 1.0, 3.0  # a turn is decided when it is time to brake for it
FAST_M_PER_S, FAST_DECISION_S = 15.0, 6.0  # above this speed it is decided so much earlier
ASKS_EARLY_S = 6.0  # on a street that has the right of way, which is not to brake for nothing
ASKS_S, ASKS_M = 3.0, 8.0  # it asks for the way when it is this near in time and distance
CLEARANCE_M = 0.7  # between the sides of vehicles whose ways do not conflict
LONG_M, LONG_CLEARANCE_M = 6.0, 0.8  # long vehicles swing out
EXIT_ROOM_M = 4.0  # kept free behind those who stand beyond the junction
LONG_WAIT_S = 6.0  # after it, nobody else is let in before
PATIENCE_M_PER_S = 5.0  # a second of waiting counts like this much less distance
TURN_SHARES = {-1: 0.28, 0: 0.44, 1: 0.28}


def decision_m(agent: Agent) -> float:
    """How far before the stop line a driver must know where to go."""
    speed = agent.speed_m_per_s
    needed = DECISION_M + DECISION_S * speed + speed**2 / (2 * DECISION_BRAKING)
    needed += FAST_DECISION_S * max(0.0, speed - FAST_M_PER_S)
    return needed


def decides_now(agent: Agent) -> bool:
    """Whether a driver is so near to the next stop line that it must know where to go."""
    return agent.route.crossing is None and agent.path.end_m - agent.front_m < decision_m(agent)


def choose_turn(streets: Streets, agent: Agent, rng: np.random.Generator) -> None:
    """Draw the turn of a driver at the junction ahead, and lead its path through it to the next stop line."""
    lane, script = agent.route.lane, agent.script
    built = streets.turns(lane)
    taken = len(agent.route.turns_taken)
    shares = np.array([TURN_SHARES[turn] * (1.0 if turn else streets.straight) for turn in built])
    drawn = built[int(rng.choice(len(built), p=shares / shares.sum()))]
    turn = script.turns[taken] if script is not None and taken < len(script.turns) else drawn
    following, through = streets.following(lane, turn), streets.crossing(lane, turn)
    dense = resampled(through).points
    entry = agent.path.end_m
    agent.path = agent.path.continued(np.concatenate([through[1:], streets.ends(following)[1][None]]),
                                      agent.distance_m)
    has_way = (streets.street(lane.i, lane.j, lane.direction).limit_m_per_s
               > streets.street(lane.i, lane.j, lane.direction + 1).limit_m_per_s)
    agent.route.crossing = Crossing(lane, turn, entry, entry + STEP_M * len(dense), dense, has_way)
    agent.route.granted, agent.route.waited_s = False, 0.0
    agent.route.lane = following
    agent.route.turns_taken.append(turn)


def grant_crossings(drivers: list[Agent], places: np.ndarray, rooms: np.ndarray, seconds: float) -> None:
    """Let drivers enter junctions, the nearest and most patient first; forget junctions that are behind.

    Args:
        places: [M, 2] centres of all vehicles; rooms: [M] half length of those that stand, -inf of those that drive.
        seconds: since the last call.
    """
    held, asking = defaultdict(list), []
    for agent in drivers:
        route = agent.route
        if route.crossing is None:
            continue
        if agent.rear_m > route.crossing.exit_m:
            route.crossing, route.granted = None, False
        elif route.granted:
            held[route.crossing.lane.i, route.crossing.lane.j].append(agent)
        elif route.crossing.entry_m - agent.front_m < _asks_s(agent) * agent.speed_m_per_s + ASKS_M:
            asking.append(agent)
    asking.sort(key=lambda agent: (agent.script is None, not agent.route.crossing.has_way,
                                   agent.route.crossing.entry_m - agent.front_m
                                   - PATIENCE_M_PER_S * agent.route.waited_s))
    blocked = set()
    for agent in asking:
        crossing, holders = agent.route.crossing, held[agent.route.crossing.lane.i, agent.route.crossing.lane.j]
        first, way_free = crossing.lane not in blocked, not any(_conflict(agent, other) for other in holders)
        if agent.script is not None or first and way_free and _has_room(agent, places, rooms):
            agent.route.granted = True  # who repeats a recorded drive does not wait
            holders.append(agent)
        else:
            if first and not way_free and agent.route.waited_s > LONG_WAIT_S:
                holders.append(agent)  # the way is kept free for it
            blocked.add(crossing.lane)
            agent.route.waited_s += seconds if agent.speed_m_per_s < 0.5 else 0.0


def _asks_s(agent: Agent) -> float:
    return ASKS_EARLY_S if agent.route.crossing.has_way else ASKS_S


def _conflict(agent: Agent, other: Agent) -> bool:
    """Whether the ways of two vehicles through one junction come too near to each other."""
    mine, theirs = agent.route.crossing, other.route.crossing
    if mine.lane == theirs.lane:
        return False  # one behind the other
    apart = (agent.size_m[1] + other.size_m[1]) / 2 + CLEARANCE_M
    apart += LONG_CLEARANCE_M * ((agent.size_m[0] > LONG_M) + (other.size_m[0] > LONG_M))
    east, north = (mine.points[:, None, k] - theirs.points[:, k] for k in (0, 1))
    return bool((east**2 + north**2).min() < apart**2)


def _has_room(agent: Agent, places: np.ndarray, rooms: np.ndarray) -> bool:
    """Whether the vehicle would fit behind those who stand beyond the junction."""
    exit_m = agent.route.crossing.exit_m
    beyond = agent.path.at(exit_m + agent.size_m[0] / 2 + EXIT_ROOM_M / 2)[:2]
    near = np.hypot(*(places - np.array(beyond)).T) < rooms + agent.size_m[0] / 2 + EXIT_ROOM_M / 2
    if not near.any():
        return True
    way = agent.path.points[agent.path.indices(exit_m + np.arange(0.0, agent.size_m[0] + EXIT_ROOM_M + 6, 1.0))]
    distances = np.linalg.norm(places[near][:, None] - way[None], axis=-1)  # [K, W]
    return not (distances.min(axis=1) < 1.5).any()
