"""Sweeps of a scene -> usable returns in the world: not of the own vehicle, not absurdly far."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from occflow.errors import InputError
from occflow.geometry import invert, is_rigid
from occflow.logs.protocol import UNLABELLED, DrivingLog, Sweep
from occflow.occupancy.settings import OccupancySettings

PARTS = 4  # of a revolution: a car at 10 m/s goes 0.13 m in one
MAX_RETURN_M = 500.0  # no LiDAR reaches farther: such a point is an error of the file


@dataclass(frozen=True)
class Returns:
    """What one sweep met, world frame, metres.

    Args:
        stamp_s: time of the sweep, seconds.
        world_from_ego: pose [4, 4] of the ego vehicle.
        sensor_m: [3] where its sensor was.
        ends: [3, N] where rays ended (points in columns).
        near: [M] int64, which of them lie within `max_range_m`: only these are believed as matter.
        labels: [M] uint8 classes of the near ones, UNLABELLED where unknown.
        moving: [M] bool, which of the near ones belong to something that moves; None where only the class may tell.
        keyframe: token of the keyframe that the sweep is, None for a sweep between keyframes.
        late_s: [M] float64, when the near ones were met, seconds after the stamp (<= 0); None: all at the stamp.
    """

    stamp_s: float
    world_from_ego: np.ndarray
    sensor_m: np.ndarray
    ends: np.ndarray
    near: np.ndarray
    labels: np.ndarray
    moving: np.ndarray | None = None
    keyframe: str | None = None
    late_s: np.ndarray | None = None

    def points(self) -> np.ndarray:
        """The near returns, [M, 3]."""
        return np.ascontiguousarray(self.ends[:, self.near].T)


def in_turn(returns: Returns) -> list[Returns]:
    """The returns of a sweep in parts of a revolution, each with the time of its middle; one part without motion."""
    if returns.late_s is None or not len(returns.late_s):
        return [returns]
    edges = np.linspace(returns.late_s.min(), 0.0, PARTS + 1)
    number = np.clip(np.searchsorted(edges, returns.late_s, side="right") - 1, 0, PARTS - 1)
    return [replace(returns, stamp_s=returns.stamp_s + (edges[k] + edges[k + 1]) / 2, near=returns.near[number == k],
                    labels=returns.labels[number == k],
                    moving=None if returns.moving is None else returns.moving[number == k], late_s=None)
            for k in range(PARTS)]


def scene_returns(log: DrivingLog, scene: str, settings: OccupancySettings) -> Iterator[Returns]:
    """Stream the returns of a scene, one sweep in memory at a time.

    Returns beyond any sensor's reach are left out with one counted warning a scene.

    Raises:
        InputError: no sweeps, or a pose that is not rigid.
    """
    sweeps, absurd, first_path = 0, 0, None
    for sweep, begin in _with_begins(log.sweeps(scene), settings.revolution_s):
        if not (is_rigid(sweep.world_from_sensor) and is_rigid(sweep.world_from_ego)):
            raise InputError(f"{sweep.path}: pose of the sweep is not finite and rigid; repair the log")
        sweeps += 1
        returns, num_absurd = sweep_returns(sweep, settings, begin)
        absurd, first_path = absurd + num_absurd, first_path or (sweep.path if num_absurd else None)
        yield returns
    if not sweeps:
        raise InputError(f"{log.name}: scene {scene} has no sweeps; leave it out of the log")
    if absurd:
        warnings.warn(f"scene {scene}: left out {absurd} points more than {MAX_RETURN_M:.0f} m from the sensor or not "
                      f"finite, first in {first_path}", stacklevel=2)


def _with_begins(sweeps: Iterator[Sweep], revolution_s: float) -> Iterator[tuple[Sweep, np.ndarray | None]]:
    """Every sweep with `world_from_sensor` [4, 4] at the begin of its revolution; None where that does not matter.

    The vehicle is taken to move as it did since the sweep before (for the first one: until the sweep after).
    """
    before, waiting = None, None
    for sweep in sweeps:
        if revolution_s == 0 or not is_rigid(sweep.world_from_sensor):
            yield sweep, None
        elif before is None and waiting is None:
            waiting = sweep  # until its motion is known
        else:
            if waiting is not None:
                yield waiting, revolution_begin(waiting, waiting, sweep, revolution_s)
                before, waiting = waiting, None
            yield sweep, revolution_begin(sweep, before, sweep, revolution_s)
            before = sweep
    if waiting is not None:
        yield waiting, waiting.world_from_sensor


def revolution_begin(sweep: Sweep, earlier: Sweep, later: Sweep, revolution_s: float) -> np.ndarray:
    """The sensor's pose [4, 4] a revolution before a sweep's stamp, by the motion from one sweep to another."""
    fraction = revolution_s / (later.stamp_s - earlier.stamp_s)
    motion = earlier.world_from_sensor @ invert(later.world_from_sensor)  # back in the world
    turn = Rotation.from_matrix(motion[:3, :3]).as_rotvec() * fraction
    begin = np.eye(4)
    begin[:3, :3] = Rotation.from_rotvec(turn).as_matrix() @ sweep.world_from_sensor[:3, :3]
    begin[:3, 3] = sweep.world_from_sensor[:3, 3] + fraction * (earlier.world_from_sensor
                                                                - later.world_from_sensor)[:3, 3]
    return begin


def sweep_returns(sweep: Sweep, settings: OccupancySettings, begin: np.ndarray | None = None) -> tuple[Returns, int]:
    """The usable returns of a sweep, and the number of absurd ones.

    `begin` is `world_from_sensor` [4, 4] when the sweep's revolution began; None: all was met at the stamp.
    """
    points = np.ascontiguousarray(sweep.points_sensor.T, dtype=np.float64)  # [3, N]: columns are fast
    square_range = np.einsum("ij,ij->j", points, points)
    sane = square_range <= MAX_RETURN_M ** 2  # not nan either
    ego_from_sensor = invert(sweep.world_from_ego) @ sweep.world_from_sensor
    x, y = ego_from_sensor[:2, :3] @ points + ego_from_sensor[:2, 3:]
    x_from, y_from, x_to, y_to = settings.ego_box_m
    own = (x >= x_from) & (x <= x_to) & (y >= y_from) & (y <= y_to)
    kept = np.flatnonzero(sane & ~own)
    ends = sweep.world_from_sensor[:3, :3] @ points[:, kept] + sweep.world_from_sensor[:3, 3:]
    late = None
    if begin is not None:
        late = 1 - np.mod(-np.pi / 2 - np.arctan2(points[1, kept], points[0, kept]), 2 * np.pi) / (2 * np.pi)
        ends += late * (begin[:3, :3] @ points[:, kept] + begin[:3, 3:] - ends)
    near = np.flatnonzero(square_range[kept] <= settings.max_range_m ** 2)
    if sweep.labels is None:
        labels = np.full(len(near), UNLABELLED, dtype=np.uint8)
    else:
        labels = sweep.labels[kept[near]]
    moving = None if sweep.moving is None else sweep.moving[kept[near]]
    late_s = None if late is None else -settings.revolution_s * late[near]
    return Returns(sweep.stamp_s, sweep.world_from_ego, sweep.world_from_sensor[:3, 3].copy(), ends,
                   near, labels, moving, sweep.keyframe, late_s), int(len(sane) - sane.sum())
