"""Paths: polylines with a point every STEP_M metres, measured by the distance along them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STEP_M = 0.5  # distance between the points of a path
KEPT_M = 15.0  # of what lies behind, when a path goes on


@dataclass(frozen=True)
class Path:
    """Points [K, 2] every STEP_M metres with headings [K] (unwrapped, radians); the first is at `start_m`."""

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
