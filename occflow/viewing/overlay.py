"""Pictures inside an Open3D window: textured quads in the scene, or right before the eye as plates.

Open3D's window without Vulkan has neither text nor widgets, so the plates are geometry that follows the camera.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from occflow.geometry import invert, transform
from occflow.grid import VoxelGrid
from occflow.viewing.cameras import Camera
from occflow.viewing.headless import NEAR_M

PLATE_DEPTH_M = 1.05 * NEAR_M
LABEL_SHARE, LABEL_ABOVE_M = 0.09, 5.0  # height of a name in depths of a grid; its lower edge above the road


class Overlay:
    """The textured quads of one Visualizer, by name."""

    def __init__(self, open3d, visualizer) -> None:
        self._open3d, self._visualizer = open3d, visualizer
        self._quads: dict[str, object] = {}

    def put(self, name: str, image: Image.Image, corners_m: np.ndarray) -> None:
        """Show a picture between corners [4, 3], grid frame: upper left, then clockwise."""
        self.remove(name)
        o3d = self._open3d
        quad = o3d.geometry.TriangleMesh(o3d.utility.Vector3dVector(_anticlockwise(corners_m)),
                                         o3d.utility.Vector3iVector([[0, 1, 2], [0, 2, 3]]))
        quad.triangle_uvs = o3d.utility.Vector2dVector(_UVS)
        quad.textures = [o3d.geometry.Image(np.ascontiguousarray(np.asarray(image.convert("RGB"))))]
        quad.triangle_material_ids = o3d.utility.IntVector([0, 0])
        self._visualizer.add_geometry(quad, reset_bounding_box=False)
        self._quads[name] = quad

    def move(self, name: str, corners_m: np.ndarray) -> None:
        """Put a picture that is there elsewhere."""
        self._quads[name].vertices = self._open3d.utility.Vector3dVector(_anticlockwise(corners_m))
        self._visualizer.update_geometry(self._quads[name])

    def remove(self, name: str) -> None:
        """Take a picture away, if it is there."""
        if name in self._quads:
            self._visualizer.remove_geometry(self._quads.pop(name), reset_bounding_box=False)

    def keep_only(self, names: set[str]) -> None:
        """Take all other pictures away."""
        for name in set(self._quads) - names:
            self.remove(name)


def label_corners(grid: VoxelGrid, place_m: tuple[float, float, float], aspect: float) -> np.ndarray:
    """Corners [4, 3] of a sign before a grid that is drawn at `place_m`, leaning back so that all cameras read it."""
    depth_m, width_m = np.array(grid.shape[:2]) * grid.voxel_size_m
    height_m = min(LABEL_SHARE * depth_m, width_m / aspect)
    lower = np.array([grid.origin_m[0] - height_m, grid.origin_m[1] + width_m / 2, LABEL_ABOVE_M]) + place_m
    left, upper = np.array([0, height_m * aspect / 2, 0]), np.array([height_m, 0, height_m]) * np.sqrt(0.5)
    return np.array([lower + upper + left, lower + upper - left, lower - left, lower + left])


# Corners come clockwise from the upper left; faces are seen from where their corners run anticlockwise.
_UVS = np.array([(0, 0), (0, 1), (1, 1), (0, 0), (1, 1), (1, 0)], dtype=np.float64)


def _anticlockwise(corners_m: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(corners_m, dtype=np.float64)[[0, 3, 2, 1]])


def plate_corners(camera: Camera, window_px: tuple[int, int], left: int, top: int, size_px: tuple[int, int]) \
        -> np.ndarray:
    """Corners [4, 3] before the camera that cover a rectangle of the window pixel by pixel."""
    right, bottom = left + size_px[0], top + size_px[1]
    pixels = np.array([(left, top), (right, top), (right, bottom), (left, bottom)]) - 0.5
    rays = np.column_stack([pixels, np.ones(4)]) @ np.linalg.inv(camera.intrinsic(*window_px)).T
    return transform(invert(camera.extrinsic()), rays * PLATE_DEPTH_M)
