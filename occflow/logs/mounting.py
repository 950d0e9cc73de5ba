"""Where a sensor sits on a vehicle: as it is told, and how high over the road, as its own scans say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from numbers import Real

import numpy as np
from scipy.spatial.transform import Rotation

from occflow.errors import InputError
from occflow.geometry import transform

NEAR_M = (3.0, 15.0)  # from the sensor, along the road: nearer lies the own car, farther the road may rise
HEIGHTS_M = (0.2, 5.0)  # of sensors on vehicles
STEP_M = 0.02
ROAD_M = 0.1  # returns of a road lie within it
PLACE_M = 0.5  # columns, of which the lowest return counts
LEAST_RETURNS = 50  # that a road is told from
HEIGHT_SCANS = 10  # of a drive, which tell how high its sensor is

TURNED_DEG = 45.0  # between a vehicle's x and where it goes, from which on something is wrong
LEAST_WAY_M = 3.0  # that tells where a vehicle goes


def mount_matrix(mount: Sequence[float], key: str = "log.mount") -> np.ndarray:
    """Pose vehicle_from_sensor [4, 4] of x, y, z (metres), roll, pitch, yaw (degrees; turned about x, then y, then z).

    Raises:
        InputError: anything but six finite numbers.
    """
    if len(mount) != 6 or not all(isinstance(value, Real) and np.isfinite(value) for value in mount):
        raise InputError(f"{key}: needs six numbers, x, y, z of the sensor in the vehicle (metres), roll, pitch, yaw "
                         "(degrees), such as [0.8,0,1.9,0,0,90]")
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", mount[3:], degrees=True).as_matrix()
    pose[:3, 3] = mount[:3]
    return pose


def on_the_road(vehicle_from_sensor: np.ndarray, height_m: float) -> np.ndarray:
    """Pose ego_from_sensor [4, 4]: the vehicle's axes, their origin at the height of the road."""
    pose = vehicle_from_sensor.copy()
    pose[2, 3] = height_m
    return pose


def yaw_of_way_deg(world_from_vehicle: Sequence[np.ndarray]) -> float | None:
    """How far, degrees to the left, the way of a vehicle leads off its x axis; None where it hardly goes anywhere.

    Args:
        world_from_vehicle: its poses [N, 4, 4], N >= 1, in the order of time.
    """
    poses = np.stack(world_from_vehicle)
    steps_m = np.einsum("nji,nj->ni", poses[:-1, :3, :3], np.diff(poses[:, :3, 3], axis=0)).sum(axis=0)  # its own axes
    if np.linalg.norm(steps_m[:2]) <= LEAST_WAY_M:
        return None
    return float(np.degrees(np.arctan2(steps_m[1], steps_m[0])))


def height_by_scans_m(what: str, count: int, points: Callable[[int], np.ndarray],
                      vehicle_from_sensor: np.ndarray) -> float:
    """As `height_over_road_m`, by some of the `count` scans of a drive, from all over it; `points` gives those of a
    scan by its number.

    Raises:
        InputError: likewise; `what` says of which drive.
    """
    numbers = range(0, count, max(1, count // HEIGHT_SCANS))
    try:
        return height_over_road_m(map(points, numbers), vehicle_from_sensor)
    except InputError as error:
        raise InputError(f"{what}: {error}") from None


def height_over_road_m(clouds: Iterable[np.ndarray], vehicle_from_sensor: np.ndarray) -> float:
    """How high a sensor is over the road, by the level at which most of what is near lies.

    Of each column of half a metre the lowest return counts, so that walls and cars weigh no more than the road; what
    else is level and large, such as a pavement, is not far above it. Within 15 cm on the real drives at hand.

    Args:
        clouds: points [N, 3] of some scans, sensor frame.

    Raises:
        InputError: no road is seen.
    """
    turn = vehicle_from_sensor.copy()
    turn[:3, 3] = 0
    edges = np.arange(-HEIGHTS_M[1], -HEIGHTS_M[0] + STEP_M, STEP_M)
    weights = np.zeros(len(edges) - 1)
    for points in clouds:
        level = transform(turn, points[np.isfinite(points).all(axis=1)])
        distance_m = np.linalg.norm(level[:, :2], axis=1)
        level = level[(distance_m > NEAR_M[0]) & (distance_m < NEAR_M[1]) & (level[:, 2] > edges[0])]
        _, place_of = np.unique(np.floor(level[:, :2] / PLACE_M), axis=0, return_inverse=True)
        lowest = np.full(place_of.max(initial=-1) + 1, np.inf)
        np.minimum.at(lowest, place_of, level[:, 2])
        weights += np.histogram(lowest, edges)[0]
    if weights.sum() < LEAST_RETURNS:
        raise InputError("no road is seen below the sensor; set log.height_m, its height over the road, and see "
                         "whether its z axis points up (log.mount turns it)")
    width = int(2 * ROAD_M / STEP_M)
    summed = np.convolve(weights, np.ones(width), mode="valid")
    first = int(summed.argmax())
    middles = (edges[:-1] + STEP_M / 2)[first:first + width]
    return round(-float(np.average(middles, weights=weights[first:first + width])), 2)
