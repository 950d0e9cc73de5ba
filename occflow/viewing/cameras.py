"""Cameras: where the eye stands in the grid frame, in proportion to the grid's half width, and how it is moved by hand:
turned about its target, pushed over the ground, brought nearer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from occflow.errors import InputError
from occflow.grid import VoxelGrid

# Eye and target in half widths of the grid (x forward, y left, z up from the ego's ground), and the vertical
# opening angle in degrees. The chase camera is steep so that a row of houses does not hide its street.
PRESETS = {
    "chase": ((-1.10, 0.0, 1.15), (0.12, 0.0, 0.0), 41.0),
    "low": ((-0.75, 0.0, 0.42), (0.35, 0.0, 0.0), 60.0),
    "corner": ((-1.30, 1.05, 1.25), (0.0, 0.0, 0.0), 50.0),
    "birds_eye": ((-0.001, 0.0, 3.00), (0.0, 0.0, 0.0), 38.0),
}
FRONT = "front"  # from the front of the ego vehicle, ahead: in metres, whatever the grid
FRONT_EYE_M, FRONT_AHEAD_M, FRONT_DEG = (3.8, 0.0, 1.7), (25.0, 0.0, 0.4), 60.0
NAMES = (*PRESETS, FRONT)
SEVERAL_RAD = np.radians(50.0)  # over several grids no eye stands lower: rows would hide each other

LOWEST_EYE_M = 1.5  # no camera stands lower: faces below it that look down are never seen
TURN_RAD_PER_PX = 0.006
ELEVATION_RAD = (0.02, np.pi / 2 - 1e-3)
DISTANCE_M = (3.0, 600.0)
ZOOM_A_NOTCH = 0.9
FIT_STEPS, NEAREST_M = 40, 2.0  # nothing that is to be seen comes nearer


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in the grid frame: eye [3] and target [3], metres; vertical opening angle, degrees."""

    eye_m: np.ndarray
    target_m: np.ndarray
    opening_deg: float

    def extrinsic(self) -> np.ndarray:
        """Pose [4, 4] camera_from_grid; camera x right, y down, z forward."""
        forward = (self.target_m - self.eye_m) / np.linalg.norm(self.target_m - self.eye_m)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        extrinsic = np.eye(4)
        extrinsic[:3, :3], extrinsic[:3, 3] = rotation, -rotation @ self.eye_m
        return extrinsic

    def intrinsic(self, width_px: int, height_px: int) -> np.ndarray:
        """Matrix [3, 3], pixels, principal point in the middle of the image."""
        focal_px = height_px / 2 / np.tan(np.radians(self.opening_deg) / 2)
        return np.array([[focal_px, 0, width_px / 2 - 0.5], [0, focal_px, height_px / 2 - 0.5], [0, 0, 1]])


def preset(name: str, grid: VoxelGrid) -> Camera:
    """The camera of a preset for a grid.

    Raises:
        InputError: unknown preset.
    """
    if name == FRONT:
        return Camera(np.array(FRONT_EYE_M), np.array(FRONT_AHEAD_M), FRONT_DEG)
    if name not in PRESETS:
        raise InputError(f"no camera {name!r}; known: {', '.join(NAMES)}")
    eye, target, opening_deg = PRESETS[name]
    extent_m = np.array(grid.shape[:2]) * grid.voxel_size_m
    middle_m = np.array([*(np.array(grid.origin_m[:2]) + extent_m / 2), 0.0])
    half_m = extent_m.max() / 2
    return Camera(middle_m + np.array(eye) * half_m, middle_m + np.array(target) * half_m, opening_deg)


def turned(camera: Camera, right_px: float, down_px: float) -> Camera:
    """The camera after a drag: it goes round its target, never below the ground."""
    distance_m, azimuth, elevation = _polar(camera)
    return _placed(camera, distance_m, azimuth - right_px * TURN_RAD_PER_PX, elevation + down_px * TURN_RAD_PER_PX)


def pushed(camera: Camera, right_px: float, down_px: float, height_px: int) -> Camera:
    """The camera after a drag with the other button: eye and target slide so that the ground follows the mouse."""
    distance_m, azimuth, _ = _polar(camera)
    metres_a_px = 2 * distance_m * np.tan(np.radians(camera.opening_deg) / 2) / height_px
    forward = -np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    right = np.array([forward[1], -forward[0], 0.0])
    shift = metres_a_px * (down_px * forward - right_px * right)
    return replace(camera, eye_m=camera.eye_m + shift, target_m=camera.target_m + shift)


def zoomed(camera: Camera, notches: float) -> Camera:
    """The camera nearer to its target (positive notches) or farther from it."""
    distance_m, azimuth, elevation = _polar(camera)
    return _placed(camera, distance_m * ZOOM_A_NOTCH ** notches, azimuth, elevation)


def over_several(camera: Camera) -> Camera:
    """The camera in the same direction, high enough that rows of grids do not hide each other."""
    distance_m, azimuth, elevation = _polar(camera)
    return _placed(camera, distance_m, azimuth, max(elevation, SEVERAL_RAD))


def fitted(camera: Camera, points_m: np.ndarray, window_px: tuple[int, int], free_px: tuple[float, float, float, float]
           ) -> Camera:
    """The camera moved, not turned, so that points [N, 3] fill a rectangle of the window.

    Args:
        camera: it looks down on the points.
        free_px: left, top, right and bottom of the rectangle.
    """
    (left, top, right, bottom), middle_m = free_px, (points_m.min(axis=0) + points_m.max(axis=0)) / 2
    forward = (camera.target_m - camera.eye_m) / np.linalg.norm(camera.target_m - camera.eye_m)
    matrix, rotation = camera.intrinsic(*window_px), camera.extrinsic()[:3, :3]
    away_m = 2 * np.linalg.norm(points_m - middle_m, axis=1).max()  # all of them lie before the eye
    eye_m = middle_m - forward * away_m
    for _ in range(FIT_STEPS):  # each would be exact, were all points equally far
        seen = (points_m - eye_m) @ rotation.T @ matrix.T
        pixels = seen[:, :2] / seen[:, 2:]
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        depth_m = float(np.median(seen[:, 2]))
        larger = max((high - low) / (right - left, bottom - top))
        off_px = (low + high) / 2 - ((left + right) / 2, (top + bottom) / 2)
        eye_m = eye_m + rotation[:2].T @ (off_px * depth_m / matrix[0, 0]) - forward * depth_m * (larger - 1)
        eye_m = eye_m - forward * max(0.0, NEAREST_M - ((points_m - eye_m) @ forward).min())
    return replace(camera, eye_m=eye_m, target_m=eye_m - forward * eye_m[2] / forward[2])


def _polar(camera: Camera) -> tuple[float, float, float]:
    """Distance (metres), azimuth and elevation (radians) of the eye as seen from the target."""
    away = camera.eye_m - camera.target_m
    return float(np.linalg.norm(away)), float(np.arctan2(away[1], away[0])), \
        float(np.arctan2(away[2], np.hypot(away[0], away[1])))


def _placed(camera: Camera, distance_m: float, azimuth: float, elevation: float) -> Camera:
    distance_m = float(np.clip(distance_m, *DISTANCE_M))
    lowest = np.arcsin(np.clip((LOWEST_EYE_M - camera.target_m[2]) / distance_m, 0, 1))
    elevation = float(np.clip(elevation, max(lowest, ELEVATION_RAD[0]), ELEVATION_RAD[1]))
    flat = np.array([np.cos(azimuth), np.sin(azimuth)]) * np.cos(elevation)
    return replace(camera, eye_m=camera.target_m + distance_m * np.array([*flat, np.sin(elevation)]))
