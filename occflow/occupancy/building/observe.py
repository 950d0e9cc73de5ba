"""What was observed of each keyframe's grid: where rays went, and what a car at that instant has met so far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occflow.geometry import invert
from occflow.grid import VoxelGrid
from occflow.logs.protocol import UNLABELLED, Keyframe
from occflow.occupancy.building.labels import flat_voxels
from occflow.occupancy.building.returns import Returns
from occflow.occupancy.building.visibility import mark_rays
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.settings import OccupancySettings

SAME_STAMP_S = 1e-6  # stamps are whole microseconds


@dataclass
class _View:
    """A keyframe while its sweeps come in; what is not asked for is None."""

    observed: np.ndarray | None  # [V] bool, by the rays about the keyframe
    causal_observed: np.ndarray | None  # [V] bool, by the rays until the keyframe
    causal_returns: np.ndarray | None  # [V] int64


class Observer:
    """Takes the returns of a scene in the order of time; keeps masks only while sweeps for them may come.

    Args:
        keyframes: in the order of time.
        grid, settings: the grid of every keyframe, at its ego pose; which windows of time.
    """

    def __init__(self, keyframes: list[Keyframe], grid: VoxelGrid, settings: OccupancySettings) -> None:
        self._keyframes, self._grid, self._settings = keyframes, grid, settings
        self._after_s = settings.visibility_window_s if settings.visibility else 0.0
        self._views: dict[int, _View] = {}
        self._closed = 0  # keyframes before this one get no more sweeps
        self.observed: list[np.ndarray | None] = [None] * len(keyframes)
        self.causal: list[OccupancyFrame] = []

    def add(self, returns: Returns) -> None:
        """Follow the rays of a sweep in the grids of the keyframes whose windows hold it."""
        reach_s = max(self._after_s, self._settings.causal_window_s)
        for index in range(self._closed, len(self._keyframes)):
            late_s = returns.stamp_s - self._keyframes[index].stamp_s
            if late_s > self._after_s + SAME_STAMP_S:
                self._close(index)
            elif late_s >= -reach_s - SAME_STAMP_S:
                self._show(self._views.setdefault(index, self._view()), index, returns, late_s)
            else:
                break

    def finish(self) -> None:
        """No more sweeps come."""
        for index in range(self._closed, len(self._keyframes)):
            self._close(index)

    def _view(self) -> _View:
        size, rays, causal = self._grid.num_voxels, self._settings.visibility, self._settings.causal_window_s > 0
        return _View(np.zeros(size, bool) if rays else None, np.zeros(size, bool) if rays and causal else None,
                     np.zeros(size, np.int64) if causal else None)

    def _show(self, view: _View, index: int, returns: Returns, late_s: float) -> None:
        grid_from_world = invert(self._keyframes[index].world_from_ego)
        about = view.observed is not None and abs(late_s) <= self._after_s + SAME_STAMP_S
        before = -self._settings.causal_window_s - SAME_STAMP_S <= late_s <= SAME_STAMP_S
        if before and view.causal_returns is not None:
            flat = flat_voxels(self._grid, grid_from_world, returns.points())
            view.causal_returns += np.bincount(flat[flat >= 0], minlength=self._grid.num_voxels)
        masks = [view.observed] * about + [view.causal_observed] * (before and view.causal_observed is not None)
        if masks:
            seen = np.zeros(self._grid.num_voxels, dtype=bool)
            rotation, shift = grid_from_world[:3, :3], grid_from_world[:3, 3]
            mark_rays(seen, self._grid, rotation @ returns.sensor_m + shift, rotation @ returns.ends + shift[:, None])
            for mask in masks:
                mask |= seen

    def _close(self, index: int) -> None:
        """Keep what a keyframe's sweeps have shown, packed."""
        self._closed = index + 1
        view, keyframe = self._views.pop(index, None) or self._view(), self._keyframes[index]
        if view.observed is not None:
            self.observed[index] = np.packbits(view.observed)
        if view.causal_returns is None:
            return
        flat = np.flatnonzero(view.causal_returns >= self._settings.causal_min_points)
        if view.causal_observed is not None:
            view.causal_observed[flat] = True
        self.causal.append(OccupancyFrame(
            flat, np.full(len(flat), UNLABELLED, np.uint8), keyframe.world_from_ego, keyframe.stamp_s, keyframe.token,
            observed=None if view.causal_observed is None else np.packbits(view.causal_observed)))
