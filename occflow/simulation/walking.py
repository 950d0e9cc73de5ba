"""Pedestrians: they walk round blocks, stop for a while, and cross the streets when these are free."""

from __future__ import annotations

import numpy as np

from occflow.simulation.agents import Agent, Walk, resampled
from occflow.simulation.streets import DIRECTIONS, Streets, right_of

WALKWAY_M = {1: 1.45, -1: 2.5}  # from the kerb, by the side of the block: the two ways do not meet
CORNER_CUT_M = 3.2  # where people leave the straight line at corners
CROSSING_SHARE, STANDING_SHARE, TURNING_SHARE = 0.35, 0.15, 0.1  # of the decisions in the middle of a street
FREE_S, FREE_M = 4.5, 12.0  # a street is free where no vehicle comes within this time and distance
FREE_ASIDE_M = 2.8
WIDEST_CROSSED_M = 10.0  # from the middle: nobody crosses wider streets between junctions
PERSONAL_M = 1.1  # between walkers of one direction


def walkway_point(streets: Streets, walk: Walk, along_m: float | None = None) -> np.ndarray:
    """A place [2] on the walkway of a walk: the middle of its street, or `along_m` before the junction ahead."""
    ahead = streets.node(walk.i, walk.j)
    centre = (ahead + streets.node(*streets.neighbour(walk.i, walk.j, walk.direction + 2))) / 2
    if along_m is not None:
        centre = ahead - DIRECTIONS[walk.direction] * along_m
    aside = streets.street(walk.i, walk.j, walk.direction).half_m + streets.verge_m + WALKWAY_M[walk.side]
    return centre + right_of(walk.direction) * walk.side * aside


def _along_corner(streets: Streets, walk: Walk) -> float:
    """From the junction's centre to where the corner is cut, along the street of a walk."""
    return streets.street(walk.i, walk.j, walk.direction + 1).half_m + streets.verge_m + CORNER_CUT_M


def walk_on(streets: Streets, agent: Agent, rng: np.random.Generator) -> None:
    """The next leg of a walker who has come to the end of one, in the middle of a street."""
    walk, here, draw = agent.walk, np.array(agent.path.at(agent.distance_m)[:2]), rng.random()
    crossed = walk.crosses
    agent.walk = walk = Walk(walk.i, walk.j, walk.direction, walk.side)
    if not crossed and draw < CROSSING_SHARE and _crossable(streets, walk):
        walk.crosses, walk.side = True, -walk.side
        points = _over_the_street(here, walkway_point(streets, walk))
    else:
        if draw > 1 - STANDING_SHARE:
            walk.stands_s = rng.uniform(3, 12)
        elif draw > 1 - STANDING_SHARE - TURNING_SHARE and not crossed:
            _turn_back(streets, walk)
        points = np.concatenate([here[None], _round_the_corner(streets, walk)])
    agent.path, agent.distance_m = resampled(points), 0.0


def _crossable(streets: Streets, walk: Walk) -> bool:
    return streets.street(walk.i, walk.j, walk.direction).half_m <= WIDEST_CROSSED_M


def _over_the_street(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Points [4, 2] straight across, a step to the right of the middle, so that people who meet pass each other."""
    across = (there - here) / np.linalg.norm(there - here)
    aside = 0.6 * np.array([across[1], -across[0]])
    return np.stack([here, here + 0.8 * across + aside, there - 0.8 * across + aside, there])


def _round_the_corner(streets: Streets, walk: Walk) -> np.ndarray:
    """Points [K, 2] to the middle of the next street; changes `walk` to it."""
    turned = (walk.direction - walk.side) % 4
    first = walkway_point(streets, walk, _along_corner(streets, walk))
    if streets.linked(walk.i, walk.j, turned):
        walk.i, walk.j = streets.neighbour(walk.i, walk.j, turned)
        walk.direction = turned
    else:
        _turn_back(streets, walk)
    behind = streets.neighbour(walk.i, walk.j, walk.direction + 2)
    length = np.abs(streets.node(walk.i, walk.j) - streets.node(*behind)).sum()
    other = walkway_point(streets, walk, length - streets.street(*behind, walk.direction + 1).half_m
                          - streets.verge_m - CORNER_CUT_M)
    return np.stack([first, other, walkway_point(streets, walk)])


def _turn_back(streets: Streets, walk: Walk) -> None:
    walk.i, walk.j = streets.neighbour(walk.i, walk.j, walk.direction + 2)
    walk.direction, walk.side = (walk.direction + 2) % 4, -walk.side


def street_is_free(agent: Agent, ways: np.ndarray, ways_m: np.ndarray, speeds: np.ndarray) -> bool:
    """Whether no driver comes to a walker's crossing soon.

    Args:
        ways: [D, K, 2] places ahead of the drivers, `ways_m` [K] metres ahead; speeds: [D] m/s.
    """
    start, end = agent.path.points[0], agent.path.points[-1]
    length = np.linalg.norm(end - start)
    axis = (end - start) / length
    offset = ways - start
    along, aside = offset @ axis, np.abs(offset @ np.array([-axis[1], axis[0]]))
    soon = ways_m[None, :] <= np.maximum(FREE_M, FREE_S * speeds)[:, None]
    return not (soon & (aside < FREE_ASIDE_M) & (along > -1) & (along < length + 1)).any()


def walking_speeds(walkers: list[Agent], places: np.ndarray) -> np.ndarray:
    """Speeds [W] of walkers at places [W, 3]: theirs, or less behind somebody who is in the way."""
    wanted = np.array([0.0 if walker.walk.stands_s > 0 or walker.walk.crosses and not walker.walk.clear
                       else walker.cruise_m_per_s * walker.mood for walker in walkers])
    offset = places[None, :, :2] - places[:, None, :2]
    cos, sin = np.cos(places[:, 2])[:, None], np.sin(places[:, 2])[:, None]
    ahead, aside = cos * offset[..., 0] + sin * offset[..., 1], np.abs(cos * offset[..., 1] - sin * offset[..., 0])
    first = np.arange(len(walkers))[None, :] < np.arange(len(walkers))[:, None]
    same = (np.cos(places[None, :, 2] - places[:, None, 2]) > 0.5) | first
    blocked = (ahead > 0.0) & (ahead < PERSONAL_M) & (aside < 0.75) & same
    return np.where(blocked.any(axis=1), 0.0, wanted)
