"""Where a stream's forecasts go: the last ones are kept, for an animation and for the player; the newest is shown in
the live window, what is seen now and what is foreseen side by side."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.forecasting.rules import PERSISTENCE
from occflow.grid import VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.storage.forecast_file import save_forecasts
from occflow.stream.forecaster import MISSING, StreamForecast
from occflow.viewing.cameras import Camera, preset
from occflow.viewing.headless import apply_camera, load_open3d, open3d_mesh, plain_look
from occflow.viewing.meshes import Mesh, join
from occflow.viewing.scene import PLAIN, Look, class_mesh

WINDOW_PX = (1200, 900)
GAP = 0.06  # between the grids, of their width
DISTANCE = 1.5  # of the camera, in those of the chase camera for each column


def shown_frames(forecast: StreamForecast, seconds: list[float]) -> list[OccupancyFrame]:
    """The present, and of the forecast the frames nearest to times after it."""
    present = forecast.task.present.with_classes()
    return [present, *(min(forecast.frames, key=lambda frame: abs(frame.stamp_s - present.stamp_s - after_s))
                       for after_s in seconds)]


class LastForecasts:
    """Keeps the last forecasts of a stream, and the last one that the network delivered, however long ago; where it has
    delivered none, the last one that persistence made of a whole history."""

    def __init__(self, number: int) -> None:
        self._kept: deque[StreamForecast] = deque(maxlen=max(1, number))
        self._made: StreamForecast | None = None

    def deliver(self, forecast: StreamForecast) -> None:
        self._kept.append(forecast)
        none_better = self._made is None or self._made.name == PERSISTENCE
        if forecast.name != PERSISTENCE or none_better and forecast.why != MISSING:
            self._made = forecast

    def save(self, path: Path, grid: VoxelGrid) -> Path | None:
        """Write that forecast, for player and render; None without one."""
        made = self._made
        if made is None:
            return None
        save_forecasts(path, grid, made.task.with_classes(), {made.name: made.frames})
        return path

    def kept(self) -> list[StreamForecast]:
        """The last forecasts, in the order of their delivery."""
        return list(self._kept)


class LiveWindow:
    """A sink that shows the newest forecast: `deliver` in any thread, the rest in the one that made the window.

    Args:
        seconds: which times of the forecast are shown beside the present.
        look: how they are drawn.

    Raises:
        InputError: Open3D is missing or cannot open a window.
    """

    def __init__(self, grid: VoxelGrid, seconds: list[float], visible: bool = True, look: Look = PLAIN) -> None:
        self._grid, self._seconds, self._look = grid, seconds, look
        self._newest, self._lock = None, threading.Lock()
        self._open3d = load_open3d()
        self._visualizer = self._open3d.visualization.Visualizer()
        if not self._visualizer.create_window("occflow: live", *WINDOW_PX, visible=visible):
            raise InputError("open3d could not open a window on this display; set stream.display=false")
        plain_look(self._visualizer)
        self._looked = False

    def deliver(self, forecast: StreamForecast) -> None:
        with self._lock:
            self._newest = forecast

    def tick(self) -> bool:
        """Draw what is new; False when the window was closed."""
        with self._lock:
            forecast, self._newest = self._newest, None
        if forecast is not None:
            self._visualizer.clear_geometries()
            mesh = open3d_mesh(self._open3d, side_by_side(self._grid, forecast, self._seconds, self._look))
            self._visualizer.add_geometry(mesh, reset_bounding_box=not self._looked)
            if not self._looked:
                apply_camera(self._open3d, self._visualizer, _camera(self._grid, 1 + len(self._seconds)), *WINDOW_PX)
                self._looked = True
        open_still = self._visualizer.poll_events()
        self._visualizer.update_renderer()
        return open_still

    def close(self) -> None:
        self._visualizer.destroy_window()


def side_by_side(grid: VoxelGrid, forecast: StreamForecast, seconds: list[float], look: Look) -> Mesh:
    """The present, then the forecast at each time, in rows that are read as a page is."""
    frames = shown_frames(forecast, seconds)
    meshes = []
    for frame, place_m in zip(frames, _places(grid, len(frames))):
        mesh = class_mesh(grid, frame, look)
        meshes.append(Mesh(mesh.vertices + place_m, mesh.triangles, mesh.colours))
    return join(meshes)


def _places(grid: VoxelGrid, number: int) -> np.ndarray:
    """Where the origins [number, 3] of the grids are drawn, metres: rows towards the driver, columns to the right."""
    columns = int(np.ceil(np.sqrt(number)))
    row, column = np.divmod(np.arange(number), columns)
    steps_m = np.array(grid.shape[:2]) * grid.voxel_size_m * (1 + GAP)
    return np.stack([-row * steps_m[0], -column * steps_m[1], np.zeros(number)], axis=1)


def _camera(grid: VoxelGrid, number: int) -> Camera:
    """The chase camera, over the middle of all grids and as far off as they need."""
    chase, places_m = preset("chase", grid), _places(grid, number)
    middle_m = chase.target_m + (places_m.min(axis=0) + places_m.max(axis=0)) / 2
    away_m = (chase.eye_m - chase.target_m) * DISTANCE * np.ceil(np.sqrt(number))
    return Camera(middle_m + away_m, middle_m, chase.opening_deg)
