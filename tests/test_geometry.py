"""Rigid transforms: there and back is where one was, distances stay, and between two poses lies a pose."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from occflow.geometry import (
    all_rigid,
    interpolate,
    invert,
    is_rigid,
    planar_pose,
    pose_matrix,
    quaternion_wxyz,
    transform,
)


@st.composite
def poses(draw) -> np.ndarray:
    """Any rigid pose within 10 km."""
    rng = np.random.default_rng(draw(st.integers(0, 2 ** 32 - 1)))
    quaternion = rng.normal(size=4)
    return pose_matrix(rng.uniform(-1e4, 1e4, 3), quaternion / np.linalg.norm(quaternion))


POINTS = np.random.default_rng(0).uniform(-100, 100, (20, 3))


@given(poses())
def test_there_and_back(pose):
    assert is_rigid(pose) and is_rigid(invert(pose))
    assert np.allclose(transform(invert(pose), transform(pose, POINTS)), POINTS, atol=1e-9)
    assert np.allclose(invert(invert(pose)), pose, atol=1e-11)
    assert np.allclose(pose @ invert(pose), np.eye(4), atol=1e-9)


@given(poses(), poses())
def test_one_after_the_other_is_their_product(a_from_b, b_from_c):
    assert np.allclose(transform(a_from_b, transform(b_from_c, POINTS)), transform(a_from_b @ b_from_c, POINTS),
                       atol=1e-8)


@given(poses())
def test_distances_stay(pose):
    moved = transform(pose, POINTS)
    assert np.allclose(np.linalg.norm(moved - moved[0], axis=1), np.linalg.norm(POINTS - POINTS[0], axis=1), atol=1e-8)


@given(poses())
def test_a_quaternion_is_the_rotation(pose):
    assert np.allclose(pose_matrix(pose[:3, 3], quaternion_wxyz(pose)), pose, atol=1e-12)
    assert np.allclose(quaternion_wxyz(np.stack([np.eye(4), pose]))[1], quaternion_wxyz(pose), atol=1e-12)


@given(poses(), poses(), st.floats(0, 1))
def test_between_two_poses_lies_a_pose(first, second, fraction):
    pair = (first[None], second[None])
    [between] = interpolate(*pair, fraction)
    assert is_rigid(between)
    assert np.allclose(between[:3, 3], first[:3, 3] + fraction * (second[:3, 3] - first[:3, 3]), atol=1e-8)
    assert np.allclose(interpolate(*pair, 0.0), first) and np.allclose(interpolate(*pair, 1.0), second)


@given(poses())
def test_what_is_not_rigid_is_told(pose):
    mirrored, scaled, broken = pose.copy(), pose.copy(), pose.copy()
    mirrored[:3, 0] *= -1
    scaled[:3, :3] *= 1.01
    broken[0, 3] = np.nan
    skewed = pose.copy()
    skewed[3, 0] = 0.5  # a projection, not a motion
    assert not is_rigid(skewed) and all_rigid(np.stack([pose, pose])) and not all_rigid(np.stack([pose, skewed]))
    assert not (is_rigid(mirrored) or is_rigid(scaled) or is_rigid(broken) or is_rigid(pose[:3]))
    assert is_rigid(planar_pose(1, 2, 3))
