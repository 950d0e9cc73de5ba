"""Paths along the streets: lane-following polylines that turn at junctions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occflow.simulation.town import LANE_OFFSETS_M, ROAD_HALF_M

STEP_M = 0.5  # distance between the points of a path
DIRECTIONS = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])  # east, north, west, south


@dataclass(frozen=True)
class Path:
    """Points [K, 2] every STEP_M metres, with headings [K] (unwrapped), radians."""

    points: np.ndarray
    headings: np.ndarray

    @property
    def length_m(self) -> float:
        return STEP_M * (len(self.points) - 1)

    def at(self, distance_m: float) -> tuple[float, float, float]:
        """x, y, heading at a distance along the path; its ends are extended straight."""
        position = np.clip(distance_m / STEP_M, 0, len(self.points) - 1.001)
        index = int(position)
        fraction = position - index
        x, y = (1 - fraction) * self.points[index] + fraction * self.points[index + 1]
        heading = (1 - fraction) * self.headings[index] + fraction * self.headings[index + 1]
        beyond = distance_m - position * STEP_M
        return x + np.cos(heading) * beyond, y + np.sin(heading) * beyond, heading


def resampled(points: np.ndarray) -> Path:
    """A path through a polyline [K, 2]."""
    distance = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    keep = np.concatenate([[True], np.diff(distance) > 1e-6])
    wanted = np.arange(0, distance[-1], STEP_M)
    even = np.stack([np.interp(wanted, distance[keep], points[keep, k]) for k in range(2)], axis=1)
    steps = np.diff(even, axis=0)
    headings = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
    return Path(even, np.append(headings, headings[-1]))


def right_of(direction: int) -> np.ndarray:
    return DIRECTIONS[(direction - 1) % 4]


def junction_turn(entry: np.ndarray, direction: int, exit_point: np.ndarray, new_direction: int) -> np.ndarray:
    """A quadratic curve [12, 2] between a lane's end and another lane's beginning."""
    heading = DIRECTIONS[direction]
    corner = entry + heading * float((exit_point - entry) @ heading)
    if direction == new_direction:
        corner = (entry + exit_point) / 2
    weight = np.linspace(0, 1, 12)[:, None]
    return (1 - weight) ** 2 * entry + 2 * weight * (1 - weight) * corner + weight**2 * exit_point


def random_path(spacing_m: float, start: np.ndarray, direction: int, lane: int, length_m: float,
                turn_share: float, rng: np.random.Generator) -> Path:
    """A path of at least `length_m` from `start` [2] on the centre line of a street, turning at random.

    Args:
        direction: index into DIRECTIONS; lane: 0 inner, 1 outer (right turns leave from the outer lane).
        turn_share: probability of leaving the street at a junction.
    """
    offset = LANE_OFFSETS_M[lane]
    points, position, travelled = [start + right_of(direction) * offset], start.copy(), 0.0
    while travelled < length_m:
        heading = DIRECTIONS[direction]
        along = float(position @ heading) / spacing_m
        junction = position + heading * spacing_m * (np.floor(along + 1e-6) + 1 - along)
        turn = (-1 if lane else 1) if rng.random() < turn_share else 0
        new_direction = (direction + turn) % 4
        margin = ROAD_HALF_M if turn else 0.0
        entry = junction - heading * margin + right_of(direction) * offset
        leave = junction + DIRECTIONS[new_direction] * margin + right_of(new_direction) * offset
        points += [entry[None], junction_turn(entry, direction, leave, new_direction)] if turn else [entry[None]]
        travelled += float(np.abs(junction - position).sum())
        position, direction = junction.copy(), new_direction
    points[0] = points[0][None]
    return resampled(np.concatenate(points))
