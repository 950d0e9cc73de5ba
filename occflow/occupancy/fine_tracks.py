"""Bodies followed by the returns that met them, far below the size of a voxel.

A frame that was perceived of sweeps knows where in its voxels the last one met matter (WideFrame.places_m). Those of a
body are laid over the earlier frames' for every velocity that its class may have; the one that agrees best is the
body's, unless that it stands explains them as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from occflow.geometry import invert, transform
from occflow.grid import IS_MOVABLE, VoxelGrid
from occflow.occupancy.frame import Frames, OccupancyFrame
from occflow.occupancy.motion import MAX_SPEED_M_PER_S, Cluster
from occflow.occupancy.tracks import ages, all_about

CELL_M = 0.2
SPREAD_M = 0.25  # standard deviation of how far a return may be from where the one before was
REACH = 3  # cells, beyond which nothing is left of that
NEAR_S, FAR_S = 0.5, 1.0  # ages of the frames that are looked at
OLDEST_S = 2.0  # what is older tells nothing of a velocity now, and would ask for planes as wide as a town
FASTEST_M_PER_S = {7: 3.5, 2: 9.0}  # pedestrians, bicycles; others: MAX_SPEED_M_PER_S
FEWEST = 3  # returns, of fewer nothing is said
MOST, MOST_AT_FIRST = 80, 32  # that are looked at, and of every velocity
STEPS_M_PER_S = (0.8, 0.4, 0.2, 0.1)  # of the search, coarse to fine
ABOUT = np.array(list(np.ndindex(3, 3))) - 1.0  # a velocity and its neighbours, in steps
KEPT = (6, 4)  # velocities that are looked at more finely, after the first step and after others
STATIC_WEIGHT = 0.4  # by which a return counts less for a moving body where the present has one as well
SPEED_COST_S_PER_M = 0.012  # of agreement: of two velocities that agree as well, the slower one
SURELY_STANDS = 0.85  # agreement with the frames before at rest, from which on nothing else is looked at
WORTH = 0.2  # of agreement, that a velocity must bring over standing
LEAST_AGREEMENT = 0.65  # below it a body was not found


@dataclass(frozen=True)
class FineMotions:
    """Of B clusters of a present, in its grid's plane.

    Args:
        found: [B] bool, those whose velocity is told by enough returns that agree well enough.
        velocity_m_per_s: [B, 2], constant over the frames that were looked at; zero of what stands.
        agreement: [B], 0 to 1, of the returns with the earlier frames'; gain: [B], over standing.
        returns: [B] how many.
    """

    found: np.ndarray
    velocity_m_per_s: np.ndarray
    agreement: np.ndarray
    gain: np.ndarray
    returns: np.ndarray


def fine_motions(clusters: Sequence[Cluster], history: Frames, grid: VoxelGrid,
                 guesses_m_per_s: np.ndarray) -> FineMotions | None:
    """How clusters of the present move by their returns; None where the frames hold none, or are too old.

    Args:
        guesses_m_per_s: [B, 2] velocities that are looked at besides.
    """
    present, ages_s = history[-1], ages(history)
    chosen = sorted({int(np.abs(ages_s - age).argmin()) for age in (NEAR_S, FAR_S)}) if len(ages_s) else []
    chosen = [frame for frame in chosen if ages_s[frame] <= OLDEST_S]
    if not chosen or any(history[frame].wide is None or not len(history[frame].wide.owners) for frame in (*chosen, -1)):
        return None
    margin_m = (MAX_SPEED_M_PER_S + 2 * sum(STEPS_M_PER_S)) * ages_s[chosen].max() + 2 * REACH * CELL_M
    low_m = np.array(grid.origin_m[:2]) - margin_m
    shape = tuple(np.ceil((np.array(grid.shape[:2]) * grid.voxel_size_m + 2 * margin_m) / CELL_M).astype(int))
    now = _lately_m(present, present)
    there = Plane.of(now, np.ones(len(now)), low_m, shape)
    moving, standing = [], []
    for frame in chosen:
        places = _lately_m(history[frame], present)
        standing.append(Plane.of(places, np.ones(len(places)), low_m, shape))
        moving.append(Plane.of(places, 1 - STATIC_WEIGHT * there.at(places), low_m, shape))
    owners, places_m = places_in(present, grid, np.concatenate([one.slots for one in clusters]))
    bodies = np.repeat(np.arange(len(clusters)), [len(one.slots) for one in clusters])[owners]
    order = np.argsort(bodies, kind="stable")
    parts = np.split(places_m[:2, order].T.astype(np.float64),
                     np.searchsorted(bodies[order], np.arange(1, len(clusters))))
    search = _Search(moving, standing, ages_s[chosen])
    found = [search.motion(part, one.label, guess) for part, one, guess in zip(parts, clusters, guesses_m_per_s)]
    velocity, agreement, gain = (np.array(part) for part in zip(*found))
    returns = np.array([len(part) for part in parts])
    return FineMotions((returns >= FEWEST) & ((agreement >= LEAST_AGREEMENT) | (gain < WORTH)),
                       np.where((gain < WORTH)[:, None], 0.0, velocity), agreement, gain, returns)


def places_in(frame: OccupancyFrame, grid: VoxelGrid, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the last sweep of a frame met matter in some of its voxels, given by their places [N] in its arrays: which
    of these each [M] is in, and where it is [3, M], metres in the frame's grid."""
    wide = frame.wide
    which = np.full(wide.grid.num_voxels, -1, dtype=np.int32)
    which[grid.renumbered(frame.flat[slots], wide.grid)[0]] = np.arange(len(slots))
    met = which[wide.flat][wide.owners]
    kept = (met >= 0) & wide.lately
    return met[kept], wide.places_m[:, kept]


def _lately_m(frame: OccupancyFrame, present: OccupancyFrame) -> np.ndarray:
    """Where the last sweep of a frame met what may move, [N, 2], metres in the plane of the present's grid."""
    wide = frame.wide
    chosen = wide.lately & IS_MOVABLE[wide.labels[wide.owners]]
    return transform(invert(present.world_from_grid) @ frame.world_from_grid,
                     wide.places_m[:, chosen].T.astype(np.float64))[:, :2]


@dataclass(frozen=True)
class Plane:
    """How near the closest of some places is, as a map: values [X, Y] float32, 1 at one of full weight, and where its
    first cell begins, metres."""

    values: np.ndarray
    low_m: np.ndarray

    @classmethod
    def of(cls, places_m: np.ndarray, weights: np.ndarray, low_m: np.ndarray, shape: tuple[int, int]) -> Plane:
        """Of places [N, 2] of weights [N]: each spreads as a Gaussian, of several the highest stays."""
        values = np.zeros(shape, dtype=np.float32)
        index = np.floor((places_m - low_m) / CELL_M).astype(np.int64)
        inside = ((index >= REACH) & (index < np.array(shape) - REACH)).all(axis=1)
        flat, weights, every = index[inside] @ (shape[1], 1), weights[inside].astype(np.float32), values.reshape(-1)
        np.maximum.at(every, flat, weights)
        flat = np.unique(flat)
        weights = every[flat]
        for x, y in np.ndindex(2 * REACH + 1, 2 * REACH + 1):  # no two of them meet in one step
            step_m = CELL_M * np.hypot(x - REACH, y - REACH)
            there = flat + (x - REACH) * shape[1] + y - REACH
            every[there] = np.maximum(every[there], weights * np.float32(np.exp(-0.5 * (step_m / SPREAD_M) ** 2)))
        return cls(values, low_m)

    def at(self, places_m: np.ndarray) -> np.ndarray:
        """Values [...] at places [..., 2]; 0 outside."""
        x, y = np.moveaxis(np.floor((places_m - self.low_m) / CELL_M).astype(np.int64), -1, 0)
        inside = (x >= 0) & (x < self.values.shape[0]) & (y >= 0) & (y < self.values.shape[1])
        return np.where(inside, self.values[np.where(inside, x, 0), np.where(inside, y, 0)], 0)


@cache
def _velocities(fastest_m_per_s: float) -> np.ndarray:
    """[H, 2] up to a speed, as the search begins with."""
    return all_about(fastest_m_per_s, STEPS_M_PER_S[0])


class _Search:
    """For the velocity of one body after the other, in the same earlier frames."""

    def __init__(self, moving: list[Plane], standing: list[Plane], ages_s: np.ndarray) -> None:
        self.moving, self.standing, self.ages_s = moving, standing, ages_s

    def motion(self, places_m: np.ndarray, label: int, guess_m_per_s: np.ndarray
               ) -> tuple[np.ndarray, float, float]:
        """Velocity [2], agreement and gain over standing of a body of returns at places [N, 2]."""
        if len(places_m) < FEWEST:
            return np.zeros(2), 0.0, 0.0
        places_m = places_m[::-(-len(places_m) // MOST)]
        rest = float(np.mean([plane.at(places_m).mean() for plane in self.standing]))
        if rest >= SURELY_STANDS:
            return np.zeros(2), rest, 0.0
        options = _velocities(FASTEST_M_PER_S.get(label, MAX_SPEED_M_PER_S))
        worth = self._worth(places_m[::-(-len(places_m) // MOST_AT_FIRST)], options)
        kept = options[np.argpartition(-worth, KEPT[0])[:KEPT[0]]]
        if guess_m_per_s.any():
            kept = np.concatenate([kept, guess_m_per_s[None]])
        for step in STEPS_M_PER_S[1:]:
            options = (kept[:, None] + step * ABOUT).reshape(-1, 2)
            worth = self._worth(places_m, options)
            kept = options[np.argsort(-worth, kind="stable")[:KEPT[1]]]
        agreement = float(worth.max() + SPEED_COST_S_PER_M * np.hypot(*kept[0]))
        return kept[0], agreement, agreement - rest

    def _worth(self, places_m: np.ndarray, options: np.ndarray) -> np.ndarray:
        """[H] agreement of places [N, 2], moved back by velocities [H, 2], with the earlier frames, less what speed
        costs."""
        found = -SPEED_COST_S_PER_M * np.hypot(*options.T)
        for plane, age_s in zip(self.moving, self.ages_s):
            x, y = ((places_m - plane.low_m) / CELL_M).astype(np.float32).T
            back_x, back_y = (options * (age_s / CELL_M)).astype(np.float32).T[:, :, None]
            # Never below 0 or outside: the planes have margins for the fastest of all. So a cast is a floor.
            flat = (x - back_x).astype(np.int32) * np.int32(plane.values.shape[1]) + (y - back_y).astype(np.int32)
            found += plane.values.reshape(-1).take(flat).mean(axis=1) / len(self.moving)
        return found
