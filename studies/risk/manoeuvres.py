"""The fan of paths that a planner might weigh: each from where the vehicle is and how it moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occflow.forecasting.planned_path import PlannedPath
from occflow.occupancy.ego_motion import planar_motion
from occflow.occupancy.tasks import Task

STEP_S = 0.05  # of the integration
STANDING_M_PER_S = 0.5  # what is slower cannot brake
START_M_PER_S = 3.0  # the least speed of a turn or a change of lane: who stands, starts
SIDEWAYS_M_PER_S2 = 3.0  # the most acceleration across
LANE_M = 3.5


@dataclass(frozen=True)
class Manoeuvre:
    """What the vehicle does from now on.

    Args:
        acceleration_m_per_s2: along; it stands where it has braked to a stand.
        yaw_rate_rad_per_s: in place of the present one, as far as SIDEWAYS_M_PER_S2 allows; None: the present one.
        lane_m: to the left, by which it shifts until the end.
        starts: at START_M_PER_S at least.
    """

    acceleration_m_per_s2: float = 0.0
    yaw_rate_rad_per_s: float | None = None
    lane_m: float = 0.0
    starts: bool = False


FAN = {
    "keep on": Manoeuvre(),
    "brake": Manoeuvre(-3.0),
    "brake hard": Manoeuvre(-6.0),
    "faster": Manoeuvre(2.0, starts=True),
    "much faster": Manoeuvre(4.0, starts=True),
    "turn left": Manoeuvre(yaw_rate_rad_per_s=0.35, starts=True),
    "turn right": Manoeuvre(yaw_rate_rad_per_s=-0.35, starts=True),
    "lane to the left": Manoeuvre(lane_m=LANE_M, starts=True),
    "lane to the right": Manoeuvre(lane_m=-LANE_M, starts=True),
    "overtake": Manoeuvre(3.0, lane_m=LANE_M, starts=True)}


def fan(task: Task) -> dict[str, PlannedPath]:
    """Paths of the manoeuvres that are different ones, at the instants of the task's targets."""
    before, present = task.history[-2], task.present
    velocity, yaw_rate = planar_motion(before.world_from_grid, present.world_from_grid,
                                       present.stamp_s - before.stamp_s)
    speed = max(float(velocity[0]), 0.0)
    return {name: PlannedPath.from_present(present, places(one, speed, yaw_rate, task.seconds), task.seconds)
            for name, one in FAN.items() if speed > STANDING_M_PER_S or one.acceleration_m_per_s2 >= 0}


def places(one: Manoeuvre, speed_m_per_s: float, yaw_rate_rad_per_s: float, seconds: np.ndarray) -> np.ndarray:
    """x, y and heading [T, 3] in the frame of the present, of a vehicle that drives where it looks."""
    end_s = float(seconds[-1])
    times = np.arange(0.0, end_s + STEP_S / 2, STEP_S)
    start = max(speed_m_per_s, START_M_PER_S) if one.starts else speed_m_per_s
    speeds = np.maximum(start + one.acceleration_m_per_s2 * times, 0.0)
    wanted = yaw_rate_rad_per_s if one.yaw_rate_rad_per_s is None else one.yaw_rate_rad_per_s
    most = SIDEWAYS_M_PER_S2 / np.maximum(speeds, 1.0)
    rates = np.clip(wanted, -most, most) * (speeds > 0)
    middle = (speeds[1:] + speeds[:-1]) / 2
    headings = np.concatenate([[0.0], np.cumsum((rates[1:] + rates[:-1]) / 2 * STEP_S)])
    if one.lane_m:  # the shift is half a cosine long, and steered by the heading
        sideways = one.lane_m * np.pi / (2 * end_s) * np.sin(np.pi * times / end_s)
        headings = headings + np.arcsin(np.clip(sideways / np.maximum(speeds, START_M_PER_S), -0.9, 0.9))
    turned = (headings[1:] + headings[:-1]) / 2
    x, y = (np.concatenate([[0.0], np.cumsum(middle * part * STEP_S)]) for part in (np.cos(turned), np.sin(turned)))
    return np.stack([np.interp(seconds, times, values) for values in (x, y, headings)], axis=-1)
