"""What speaks against a sweep taken by itself: such a sweep is told, counted and not used."""

from __future__ import annotations

import math

import numpy as np

from occflow.geometry import is_rigid
from occflow.logs.protocol import Sweep

MAX_STAMP_S = 1e10  # the year 2286, where seconds since 1970 still tell microseconds apart; nanoseconds are far beyond
MAX_POSE_M = 1e8    # from the origin of any map: the earth's centre is 6.4e6 away


def refusal(sweep: Sweep) -> tuple[str, str] | None:
    """The kind of fault and what there is to say about it; None where nothing speaks against the sweep."""
    if not (math.isfinite(sweep.stamp_s) and abs(sweep.stamp_s) <= MAX_STAMP_S):
        return "bad stamp", f"{sweep.path}: {sweep.stamp_s:g} s is no time in seconds; the sweep is left out"
    if not all(is_rigid(pose) and (np.abs(pose[:3, 3]) <= MAX_POSE_M).all()
               for pose in (sweep.world_from_sensor, sweep.world_from_ego)):
        return "bad pose", f"{sweep.path}: pose is not finite and rigid, or off the earth; the sweep is left out"
    if not len(sweep.points_sensor):
        return "empty sweep", f"{sweep.path}: no point in it; the sweep is left out"
    return None
