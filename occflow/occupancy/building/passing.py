"""What moves, told by rays alone: of a drive without boxes nobody says it, and accumulated it would leave a trail.

A place that rays went through at any time is not of what stands (the free-space test of Removert, Kim and Kim, IROS
2020, and of DUFOMap, Duberg et al., RA-L 2024): whatever was met there is shown only in the frames of the instants at
which it was met. Rays are compared in images of ranges about the sensor, where a neighbourhood of pixels has to look
past a place: a ray that grazes the road, or misses a thin post, has neighbours that end there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import minimum_filter

from occflow.logs.protocol import SAME_STAMP_S, Keyframe
from occflow.occupancy.building.cells import CellCounter, Cells, in_order
from occflow.occupancy.building.returns import Returns

AZIMUTHS, ELEVATIONS = 360, 180  # pixels of one degree
BEAM_GAP = 3  # empty pixels above or below one with a ray: beams up to four degrees apart
NEIGHBOURS = 3  # pixels each way whose rays have to go past a place
NEAREST_M = 1.0  # from the sensor: a pixel is a centimetre there, and no place is so near


class RangeImage:
    """How far rays of a sweep went, about the sensor and along the world's axes.

    Args:
        sensor_m: [3] where they began.
        ends_m: [3, N] where they ended (points in columns), same frame, metres.
    """

    def __init__(self, sensor_m: np.ndarray, ends_m: np.ndarray) -> None:
        self._sensor_m = sensor_m
        ranges_m, pixels = _pixels(ends_m - sensor_m[:, None])
        nearest_m = np.full(AZIMUTHS * ELEVATIONS, np.inf)
        np.minimum.at(nearest_m, pixels, ranges_m)
        nearest_m = _between_beams(nearest_m.reshape(AZIMUTHS, ELEVATIONS))
        least_m = minimum_filter(nearest_m, size=NEIGHBOURS, mode=("wrap", "nearest"))
        self._free_m = np.where(np.isfinite(nearest_m), least_m, 0.0).reshape(-1)  # all rays about a pixel go so far

    def went_past(self, places_m: np.ndarray, margin_m: float) -> np.ndarray:
        """[M] bool: places [M, 3] that all rays about them went past, by more than a margin; none where no ray tells.
        """
        ranges_m, pixels = _pixels(places_m.T - self._sensor_m[:, None])
        return (self._free_m[pixels] > ranges_m + margin_m) & (ranges_m > NEAREST_M)


def _between_beams(nearest_m: np.ndarray) -> np.ndarray:
    """An image [AZIMUTHS, ELEVATIONS], inf where no ray went, whose empty pixels between two beams have the shorter of
    both: on a level road a far beam and a near one are neighbours."""
    below, above = nearest_m, nearest_m
    for _ in range(BEAM_GAP):
        below = np.where(np.isfinite(below), below, np.pad(below, ((0, 0), (1, 0)), constant_values=np.inf)[:, :-1])
        above = np.where(np.isfinite(above), above, np.pad(above, ((0, 0), (0, 1)), constant_values=np.inf)[:, 1:])
    between = np.where(np.isfinite(below) & np.isfinite(above), np.minimum(below, above), np.inf)
    return np.where(np.isfinite(nearest_m), nearest_m, between)


def _pixels(ways_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths [N] of ways [3, N] and the pixels [N] that they go through."""
    x, y, z = ways_m
    level_m = np.hypot(x, y)
    azimuth = ((np.arctan2(y, x) / (2 * np.pi) + 0.5) * AZIMUTHS).astype(np.int64) % AZIMUTHS
    elevation = ((np.arctan2(z, level_m) / np.pi + 0.5) * ELEVATIONS).astype(np.int64)
    return np.hypot(level_m, z), azimuth * ELEVATIONS + elevation.clip(0, ELEVATIONS - 1)


@dataclass(frozen=True)
class Passing:
    """Which cells of a drive are of what moves.

    Args:
        through: [M] bool, those that rays went through at some time.
        met: by the number of a keyframe, the numbers of those of them that were met about then [K].
    """

    through: np.ndarray
    met: list[np.ndarray]

    def there(self, keyframe: int, cells: np.ndarray) -> np.ndarray:
        """Of cells by their numbers [N] those that a keyframe shows."""
        met = np.zeros(len(self.through), dtype=bool)
        met[self.met[keyframe]] = True
        return cells[~self.through[cells] | met[cells]]


@dataclass(frozen=True)
class _Evidence:
    """Of one sweep: its time and the numbers of the cells that it met, and of those that its rays went past."""

    stamp_s: float
    met: np.ndarray
    past: np.ndarray


@dataclass
class PassingFinder:
    """Takes the sweeps of a scene once more, in the order of time, when all that they met is known.

    Args:
        cells: what they met, each cell once, frame of the anchor.
        anchor_m: [3] in the world.
        lattice: that the cells were counted by.
        keyframes: in the order of time.
        window_s: sweeps at most so long before or after a keyframe tell what is there then.
        reach_m: places farther from the sensor are not judged.
        margin_m: rays that end nearer behind a place have not gone past it.
    """

    cells: Cells
    anchor_m: np.ndarray
    lattice: CellCounter
    keyframes: list[Keyframe]
    window_s: float
    reach_m: float
    margin_m: float
    _through: np.ndarray = field(init=False)
    _kept: list[_Evidence] = field(init=False, default_factory=list)
    _met: list[np.ndarray] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._through = np.zeros(len(self.cells.cell_ids), dtype=bool)

    def find(self, sweeps: Iterable[Returns]) -> Passing:
        """What moves, by all sweeps of the scene."""
        for returns in sweeps:
            while len(self._met) < len(self.keyframes) and returns.stamp_s > self._last_s():
                self._close()
            one = self._evidence(returns)
            self._through[one.past] = True
            self._kept.append(one)
            earliest_s = self._last_s() - 2 * self.window_s if len(self._met) < len(self.keyframes) else np.inf
            self._kept = [kept for kept in self._kept if kept.stamp_s >= earliest_s - 2 * SAME_STAMP_S]
        while len(self._met) < len(self.keyframes):
            self._close()
        return Passing(self._through, self._met)

    def _last_s(self) -> float:
        """Until when sweeps tell of the keyframe whose turn it is."""
        return self.keyframes[len(self._met)].stamp_s + self.window_s + SAME_STAMP_S

    def _evidence(self, returns: Returns) -> _Evidence:
        sensor_m, x_m = returns.sensor_m - self.anchor_m, self.cells.places_m[:, 0]
        first, last = np.searchsorted(x_m, (sensor_m[0] - self.reach_m, sensor_m[0] + self.reach_m))  # to within a cell
        image = RangeImage(sensor_m, returns.ends - self.anchor_m[:, None])
        near = first + np.flatnonzero(np.abs(self.cells.places_m[first:last, 1] - sensor_m[1]) <= self.reach_m)
        past = near[image.went_past(self.cells.places_m[near], self.margin_m)]
        ids = self.lattice.cell_ids(returns.points() - self.anchor_m)
        ids = ids[in_order(ids)]
        met = np.searchsorted(self.cells.cell_ids, ids[np.diff(ids, prepend=-1) != 0])
        return _Evidence(returns.stamp_s, met, np.setdiff1d(past, met, assume_unique=True))

    def _close(self) -> None:
        """What is there at the keyframe whose turn it is: met within the window, not passed since or until then."""
        at_s = self.keyframes[len(self._met)].stamp_s
        about = [one for one in self._kept if abs(one.stamp_s - at_s) <= self.window_s + SAME_STAMP_S]
        before = [one for one in about if one.stamp_s <= at_s + SAME_STAMP_S]
        after = [one for one in about if one.stamp_s >= at_s - SAME_STAMP_S]
        there = np.zeros(len(self._through), dtype=bool)
        found = [np.zeros(0, dtype=np.int64)]
        for side in (before, after[::-1]):  # towards the keyframe
            there[:] = False
            for one in side:
                there[one.past] = False
                there[one.met] = True
            found.append(np.flatnonzero(there))
        self._met.append(np.unique(np.concatenate(found)))
