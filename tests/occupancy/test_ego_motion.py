"""Extrapolated poses: exact where velocity and yaw rate are constant."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from occflow.errors import InputError
from occflow.geometry import planar_pose
from occflow.occupancy.ego_motion import extrapolated_poses

FUTURE_S = np.array([0.5, 1.0, 3.0])


def circle(speed_m_per_s: float, yaw_rad_per_s: float, stamp_s: float) -> np.ndarray:
    """A drive that starts at (3, -2) in the direction 0.4 rad."""
    radius_m, yaw = speed_m_per_s / yaw_rad_per_s, 0.4 + yaw_rad_per_s * stamp_s
    x, y = radius_m * (np.sin(yaw) - np.sin(0.4)), -radius_m * (np.cos(yaw) - np.cos(0.4))
    return planar_pose(3 + x, -2 + y, yaw, 1.0)


@given(st.floats(-5, 30), st.floats(0.001, 0.8), st.sampled_from([-1, 1]), st.integers(2, 5))
def test_a_circle_goes_on(speed, rate, side, num_poses):
    stamps = np.arange(num_poses) * 0.25
    poses = np.stack([circle(speed, side * rate, stamp) for stamp in stamps])
    expected = np.stack([circle(speed, side * rate, stamps[-1] + seconds) for seconds in FUTURE_S])
    assert np.allclose(extrapolated_poses(poses, stamps, FUTURE_S), expected, atol=1e-6)


def test_a_straight_drive_goes_on_and_a_parked_one_stays():
    poses = np.stack([planar_pose(4.0 * t, 3.0 * t, 0.6) for t in (0.0, 0.5)])
    future = extrapolated_poses(poses, np.array([10.0, 10.5]), FUTURE_S)
    assert np.allclose(future[:, :2, 3], [[4.0, 3.0], [6.0, 4.5], [14.0, 10.5]])
    assert np.allclose(future[:, :3, :3], poses[0, :3, :3])
    assert np.allclose(extrapolated_poses(poses[:1], np.zeros(1), FUTURE_S), poses[0])


def test_braking_pitch_is_not_extrapolated():
    pitched = np.eye(4)
    pitched[:3, :3] = [[np.cos(0.03), 0, np.sin(0.03)], [0, 1, 0], [-np.sin(0.03), 0, np.cos(0.03)]]
    future = extrapolated_poses(np.stack([np.eye(4), pitched]), np.array([0.0, 0.1]), FUTURE_S)
    assert np.allclose(future, pitched)


def test_no_pose_or_disorder_is_refused():
    for poses, stamps in ((np.zeros((0, 4, 4)), []), (np.stack([np.eye(4)] * 2), [1.0, 1.0])):
        with pytest.raises(InputError, match="increasing"):
            extrapolated_poses(poses, np.array(stamps), FUTURE_S)
