"""Rigid transforms, interpolation of poses, boxes. All in float64 numpy; quaternions are (w, x, y, z).

A pose is named `a_from_b`: a 4 x 4 matrix that takes points of frame b to frame a, metres.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation


def pose_matrix(translation_m: np.ndarray, quaternion_wxyz: np.ndarray) -> np.ndarray:
    """Translation [3] and rotation quaternion [4] -> pose [4, 4]."""
    w, x, y, z = quaternion_wxyz
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_quat([x, y, z, w]).as_matrix()
    pose[:3, 3] = translation_m
    return pose


def planar_pose(x_m: float, y_m: float, yaw_rad: float, z_m: float = 0.0) -> np.ndarray:
    """Pose [4, 4] of a frame at (x, y, z) turned about z."""
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([[cos, -sin, 0, x_m], [sin, cos, 0, y_m], [0, 0, 1, z_m], [0, 0, 0, 1]], dtype=np.float64)


def planar_poses(offsets: np.ndarray) -> np.ndarray:
    """Poses [..., 4, 4] of frames at x, y (metres) turned by an angle about z, [..., 3]."""
    cos, sin = np.cos(offsets[..., 2]), np.sin(offsets[..., 2])
    poses = np.zeros((*offsets.shape[:-1], 4, 4))
    poses[..., 0, 0], poses[..., 0, 1], poses[..., 1, 0], poses[..., 1, 1] = cos, -sin, sin, cos
    poses[..., 2, 2] = poses[..., 3, 3] = 1
    poses[..., :2, 3] = offsets[..., :2]
    return poses


def quaternion_wxyz(pose: np.ndarray) -> np.ndarray:
    """Rotations of poses [..., 4, 4] as quaternions [..., 4] with w first."""
    return np.roll(Rotation.from_matrix(pose[..., :3, :3]).as_quat(), 1, axis=-1)


def invert(pose: np.ndarray) -> np.ndarray:
    """Inverse of a rigid pose [4, 4]."""
    inverse = np.eye(4)
    inverse[:3, :3] = pose[:3, :3].T
    inverse[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return inverse


def transform(pose: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [N, 3] of frame b -> frame a, for pose `a_from_b` [4, 4]; float64."""
    return np.asarray(points, dtype=np.float64) @ pose[:3, :3].T + pose[:3, 3]


def interpolate(poses_0: np.ndarray, poses_1: np.ndarray, fraction: float | np.ndarray) -> np.ndarray:
    """Poses [N, 4, 4] between pairs of poses: linear in translation, geodesic in rotation; fraction (one, or [N]) 0
    gives poses_0, beyond 0 and 1 the motion goes on."""
    fraction = np.asarray(fraction, np.float64)[..., None]  # [1] or [N, 1]
    poses = (1 - fraction[..., None]) * poses_0 + fraction[..., None] * poses_1
    rotations = poses_0[:, :3, :3]
    turns = Rotation.from_matrix(np.swapaxes(rotations, 1, 2) @ poses_1[:, :3, :3]).as_rotvec()
    poses[:, :3, :3] = rotations @ Rotation.from_rotvec(fraction * turns).as_matrix()
    return poses


def points_in_box(points: np.ndarray, frame_from_box: np.ndarray, size_lwh_m: np.ndarray,
                  margin_m: float = 0.0) -> np.ndarray:
    """Mask [N] of the points [N, 3] inside a box (centred on its pose; length along x, width y, height z)."""
    local = np.abs(transform(invert(frame_from_box), points))
    return (local <= np.asarray(size_lwh_m) / 2 + margin_m).all(axis=1)


def is_rigid(pose: np.ndarray, tolerance: float = 1e-4) -> bool:
    """True where a matrix [4, 4] is finite, its rotation orthonormal and right-handed, its last row (0, 0, 0, 1)."""
    pose = np.asarray(pose)
    return pose.shape == (4, 4) and all_rigid(pose[None], tolerance)


def all_rigid(poses: np.ndarray, tolerance: float = 1e-4) -> bool:
    """Whether all of the matrices [B, 4, 4] are rigid: a frame may have hundreds of boxes."""
    if not np.isfinite(poses).all():
        return False
    rotations, last_rows = poses[:, :3, :3], poses[:, 3]
    errors = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3))
    return bool((errors < tolerance).all() and (np.linalg.det(rotations) > 0).all()
                and (np.abs(last_rows - (0, 0, 0, 1)) < tolerance).all())
