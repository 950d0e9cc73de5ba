"""The points of one scan as a sensor gave them, when each was measured, and where they were at one instant."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from occflow.geometry import invert
from occflow.logs.trajectory import Trajectory

TIME_FIELDS = ("t", "time", "timestamp", "offset", "time_offset", "offset_time", "timestamp_offset", "offset_ns",
               "time_stamp", "t_offset")  # of points, by what drivers and data sets call it
UNITS_S = (1.0, 1e-3, 1e-6, 1e-9)  # in which times are written: which one, their spread over a revolution tells
REVOLUTION_S = (0.005, 1.0)  # from the fastest to the slowest sensor
SAME_CLOCK_S = 1.0  # absolute times farther from the scan's stamp are those of another clock
STEP_S = 5e-4  # points measured within it are moved by one pose: 1.5 cm at 110 km/h


@dataclass(frozen=True)
class Cloud:
    """Points [N, 3] float32, metres, sensor frame; `offsets_s` [N], when each was measured after the scan's stamp, None
    where that is not known, or where the points are corrected for the motion already."""

    points: np.ndarray
    offsets_s: np.ndarray | None = None


def time_field(names: Iterable[str]) -> str | None:
    """The name of the field that has the points' times, None where there is none."""
    by_name = {name.lower(): name for name in names}
    return next((by_name[name] for name in TIME_FIELDS if name in by_name), None)


def time_unit_s(spread: float) -> float | None:
    """The unit in which something that spans some milliseconds up to a second has this spread; None where there is
    none."""
    return next((unit for unit in UNITS_S if REVOLUTION_S[0] <= spread * unit <= REVOLUTION_S[1]), None)


def point_offsets_s(times: np.ndarray, stamp_s: float) -> np.ndarray | None:
    """When points were measured after the stamp of their scan, seconds.

    Args:
        times: [N] in whatever unit, after the stamp (or before: negative) or absolute.

    Returns:
        [N] float64; None where the times do not span a revolution, so that nothing can be made of them.
    """
    known = times[np.isfinite(times)] if times.dtype.kind == "f" else times
    if not len(known):
        return None
    first = known.min()
    since_first = np.where(np.isfinite(times), times, first) - first if times.dtype.kind == "f" else times - first
    since_first = since_first.astype(np.float64)
    unit_s = time_unit_s(float(since_first.max()))
    if unit_s is None:
        return None
    start_s = float(first) * unit_s
    if abs(start_s) > SAME_CLOCK_S:  # absolute
        start_s -= stamp_s
        start_s = start_s if abs(start_s) <= SAME_CLOCK_S else 0.0  # of another clock: the stamp is the first point's
    return start_s + since_first * unit_s


def corrected_for_motion(cloud: Cloud, stamp_s: float, sensor: Trajectory) -> np.ndarray:
    """The points [N, 3] float32 of a scan, where they were in the sensor's frame of its stamp; as they are where they
    do not know their times.

    Args:
        sensor: where the sensor was; what is measured is taken to have stood still meanwhile.
    """
    if cloud.offsets_s is None or len(sensor.stamps_s) < 2 or not len(cloud.points):
        return cloud.points
    steps, step_of = np.unique(np.round(cloud.offsets_s / STEP_S), return_inverse=True)
    poses = invert(sensor.at(np.array([stamp_s]))[0]) @ sensor.at(stamp_s + steps * STEP_S)  # [S, 4, 4]
    with np.errstate(invalid="ignore"):  # points that are not finite are dropped, and counted, later
        turned = np.einsum("nij,nj->ni", poses[step_of, :3, :3].astype(np.float32), cloud.points)
        return turned + poses[step_of, :3, 3].astype(np.float32)
