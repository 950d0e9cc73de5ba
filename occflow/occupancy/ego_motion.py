"""Where the ego vehicle will be, guessed from where it was: constant velocity and yaw rate."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from occflow.errors import InputError

STRAIGHT_RAD = 1e-6  # below this turn an arc is a straight line


def extrapolated_poses(poses: np.ndarray, stamps_s: np.ndarray, future_s: np.ndarray) -> np.ndarray:
    """The poses that go on as from the first to the last one, on an arc in the vehicle's own plane.

    Pitch and roll stay those of the last pose: their rates are the road's and do not last.

    Args:
        poses: [P, 4, 4] world_from_ego; a single one stays where it is.
        stamps_s: [P] their times, seconds, increasing.
        future_s: [F] seconds after the last pose.

    Returns:
        [F, 4, 4] world_from_ego.

    Raises:
        InputError: no pose, or times that do not increase.
    """
    poses, stamps_s = np.asarray(poses, dtype=np.float64), np.asarray(stamps_s, dtype=np.float64)
    if not len(poses) or len(poses) != len(stamps_s) or not (np.diff(stamps_s) > 0).all():
        raise InputError(f"ego motion: needs poses at increasing times, got {len(poses)} at {stamps_s.tolist()} s")
    last = poses[-1]
    velocity_m_per_s, yaw_rad_per_s = planar_motion(poses[0], last, stamps_s[-1] - stamps_s[0])
    future = np.tile(last, (len(future_s), 1, 1))
    for pose, seconds in zip(future, future_s):
        turn_rad = yaw_rad_per_s * seconds
        pose[:3, 3] += last[:3, :3] @ (_arc(turn_rad) @ velocity_m_per_s * seconds)
        pose[:3, :3] = last[:3, :3] @ Rotation.from_rotvec([0.0, 0.0, turn_rad]).as_matrix()
    return future


def planar_motion(first: np.ndarray, last: np.ndarray, seconds: float) -> tuple[np.ndarray, float]:
    """Velocity [3], m/s, in the vehicle's own frame, and yaw rate, rad/s, that lead from one pose [4, 4] to another."""
    if seconds <= 0:
        return np.zeros(3), 0.0
    turn_rad = Rotation.from_matrix(first[:3, :3].T @ last[:3, :3]).as_rotvec()[2]
    moved_m = first[:3, :3].T @ (last[:3, 3] - first[:3, 3])
    return np.linalg.solve(_arc(turn_rad), moved_m) / seconds, turn_rad / seconds


def _arc(turn_rad: float) -> np.ndarray:
    """Mean rotation [3, 3] along an arc: what a constant own velocity becomes in the frame of the arc's start."""
    if abs(turn_rad) < STRAIGHT_RAD:
        return np.eye(3)
    sine, versine = np.sin(turn_rad) / turn_rad, (1 - np.cos(turn_rad)) / turn_rad
    return np.array([[sine, -versine, 0.0], [versine, sine, 0.0], [0.0, 0.0, 1.0]])
