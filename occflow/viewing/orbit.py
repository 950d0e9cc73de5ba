"""A camera moved by hand: turned about its target, pushed over the ground, brought nearer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from occflow.viewing.cameras import Camera
from occflow.viewing.scene import LOWEST_EYE_M

TURN_RAD_PER_PX = 0.006
ELEVATION_RAD = (0.02, np.pi / 2 - 1e-3)
DISTANCE_M = (3.0, 600.0)
ZOOM_A_NOTCH = 0.9


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
