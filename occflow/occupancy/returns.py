"""Sweeps of a scene -> usable returns in the world: not of the own vehicle, not absurdly far."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from occflow.errors import InputError
from occflow.geometry import invert, is_rigid
from occflow.logs.protocol import UNLABELLED, DrivingLog, Sweep
from occflow.occupancy.settings import OccupancySettings

MAX_RETURN_M = 500.0  # no LiDAR reaches farther: such a point is an error of the file


@dataclass(frozen=True)
class Returns:
    """What one sweep met, world frame, metres.

    Args:
        stamp_s: time of the sweep, seconds.
        ego_m, sensor_m: [3] where the ego vehicle and its sensor were.
        ends: [3, N] where rays ended (points in columns).
        near: [M] int64, which of them lie within `max_range_m`: only these are believed as matter.
        labels: [M] uint8 classes of the near ones, UNLABELLED where unknown.
    """

    stamp_s: float
    ego_m: np.ndarray
    sensor_m: np.ndarray
    ends: np.ndarray
    near: np.ndarray
    labels: np.ndarray

    def points(self) -> np.ndarray:
        """The near returns, [M, 3]."""
        return np.ascontiguousarray(self.ends[:, self.near].T)


def scene_returns(log: DrivingLog, scene: str, settings: OccupancySettings) -> Iterator[Returns]:
    """Stream the returns of a scene, one sweep in memory at a time.

    Returns beyond any sensor's reach are left out with one counted warning a scene.

    Raises:
        InputError: no sweeps, or a pose that is not rigid.
    """
    sweeps, absurd, first_path = 0, 0, None
    for sweep in log.sweeps(scene):
        if not (is_rigid(sweep.world_from_sensor) and is_rigid(sweep.world_from_ego)):
            raise InputError(f"{sweep.path}: pose of the sweep is not finite and rigid; repair the log")
        sweeps += 1
        returns, num_absurd = _returns(sweep, settings)
        absurd, first_path = absurd + num_absurd, first_path or (sweep.path if num_absurd else None)
        yield returns
    if not sweeps:
        raise InputError(f"{log.name}: scene {scene} has no sweeps; leave it out of the log")
    if absurd:
        warnings.warn(f"scene {scene}: left out {absurd} points more than {MAX_RETURN_M:.0f} m from the sensor or not "
                      f"finite, first in {first_path}", stacklevel=2)


def _returns(sweep: Sweep, settings: OccupancySettings) -> tuple[Returns, int]:
    """The usable returns of a sweep, and the number of absurd ones."""
    points = np.ascontiguousarray(sweep.points_sensor.T, dtype=np.float64)  # [3, N]: columns are fast
    square_range = np.einsum("ij,ij->j", points, points)
    sane = square_range <= MAX_RETURN_M ** 2  # not nan either
    ego_from_sensor = invert(sweep.world_from_ego) @ sweep.world_from_sensor
    x, y = ego_from_sensor[:2, :3] @ points + ego_from_sensor[:2, 3:]
    x_from, y_from, x_to, y_to = settings.ego_box_m
    own = (x >= x_from) & (x <= x_to) & (y >= y_from) & (y <= y_to)
    kept = np.flatnonzero(sane & ~own)
    ends = sweep.world_from_sensor[:3, :3] @ points[:, kept] + sweep.world_from_sensor[:3, 3:]
    near = np.flatnonzero(square_range[kept] <= settings.max_range_m ** 2)
    if sweep.labels is None:
        labels = np.full(len(near), UNLABELLED, dtype=np.uint8)
    else:
        labels = sweep.labels[kept[near]]
    return Returns(sweep.stamp_s, sweep.world_from_ego[:3, 3].copy(), sweep.world_from_sensor[:3, 3].copy(), ends,
                   near, labels), int(len(sane) - sane.sum())
