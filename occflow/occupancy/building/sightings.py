"""What the sweeps of a scene have shown of each keyframe: all about it, and what a car had seen until then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from occflow.geometry import invert
from occflow.grid import VoxelGrid
from occflow.logs.protocol import SAME_STAMP_S, UNLABELLED, Keyframe
from occflow.occupancy.building.cells import in_order
from occflow.occupancy.building.labels import flat_voxels
from occflow.occupancy.building.returns import Returns
from occflow.occupancy.building.visibility import mark_rays
from occflow.occupancy.settings import OccupancySettings
from occflow.occupancy.sighting import MOST, TICK_S, Sighting, cell_grid, spaced, voxels_of_cells


def sighted(grid: VoxelGrid, world_from_grid: np.ndarray, stamp_s: float, seen: Sequence[Returns], token: str = "",
            min_points: int = 1, rays: bool = True) -> Sighting:
    """What sweeps have shown by an instant, in the grid at that instant.

    Args:
        seen: sweeps until then in the order of time; of those that lie closer than SPACING_S, some.
        min_points: returns that make a voxel occupied.
        rays: also find out which voxels were observed.
    """
    grid_from_world, met, ages = invert(world_from_grid), [np.zeros(0, np.int64)], [np.zeros(0, np.uint8)]
    for returns in [seen[index] for index in spaced([one.stamp_s for one in seen])]:
        cells = flat_voxels(cell_grid(grid), grid_from_world, returns.points())
        met.append(cells[cells >= 0])
        ages.append(np.full(len(met[-1]), min(MOST, round((stamp_s - returns.stamp_s) / TICK_S)), np.uint8))
    met, ages = np.concatenate(met), np.concatenate(ages)
    order = in_order(met)  # of the returns in a cell, the oldest first
    first = np.flatnonzero(np.diff(met[order], prepend=-1))
    counts = np.diff(first, append=len(met))
    cells, oldest, youngest = met[order[first]], ages[order[first]], ages[order[first + counts - 1]]
    voxels, _ = voxels_of_cells(cells, grid)
    flat = np.flatnonzero(np.bincount(voxels, counts, grid.num_voxels) >= min_points)
    observed = _observed(grid, grid_from_world, seen, flat) if rays else None
    return Sighting(flat, np.full(len(flat), UNLABELLED, np.uint8), world_from_grid, stamp_s, token, observed=observed,
                    cells=cells, counts=np.minimum(counts, MOST).astype(np.uint8), youngest=youngest, oldest=oldest)


def _observed(grid: VoxelGrid, grid_from_world: np.ndarray, seen: Sequence[Returns], flat: np.ndarray) -> np.ndarray:
    """The packed mask of the voxels that hold a return or that a ray of the last sweep went through."""
    mask = np.zeros(grid.num_voxels, dtype=bool)
    if seen:
        _mark(mask, grid, grid_from_world, seen[-1])
    mask[flat] = True
    return np.packbits(mask)


def _mark(mask: np.ndarray, grid: VoxelGrid, grid_from_world: np.ndarray, returns: Returns) -> None:
    """Mark in a mask [V] the voxels that the rays of a sweep went through."""
    rotation, shift = grid_from_world[:3, :3], grid_from_world[:3, 3]
    mark_rays(mask, grid, rotation @ returns.sensor_m + shift, rotation @ returns.ends + shift[:, None])


@dataclass
class _View:
    """A keyframe while its sweeps come in.

    Args:
        observed: [V] bool, by the rays about the keyframe; None where that is not asked for.
        seen: the sweeps of `causal_window_s` until the keyframe.
    """

    observed: np.ndarray | None
    seen: list[Returns] = field(default_factory=list)


class Observer:
    """Takes the returns of a scene in the order of time; keeps them only while a keyframe may want them.

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
        self.causal: list[Sighting] = []

    def add(self, returns: Returns) -> None:
        """Take a sweep to the keyframes whose windows hold it."""
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
        return _View(np.zeros(self._grid.num_voxels, bool) if self._settings.visibility else None)

    def _show(self, view: _View, index: int, returns: Returns, late_s: float) -> None:
        if -self._settings.causal_window_s - SAME_STAMP_S <= late_s <= SAME_STAMP_S:
            view.seen.append(returns)
        if view.observed is not None and abs(late_s) <= self._after_s + SAME_STAMP_S:
            _mark(view.observed, self._grid, invert(self._keyframes[index].world_from_ego), returns)

    def _close(self, index: int) -> None:
        """Keep what a keyframe's sweeps have shown."""
        self._closed = index + 1
        view, keyframe = self._views.pop(index, None) or self._view(), self._keyframes[index]
        if view.observed is not None:
            self.observed[index] = np.packbits(view.observed)
        if self._settings.causal_window_s > 0:
            self.causal.append(sighted(self._grid, keyframe.world_from_ego, keyframe.stamp_s, view.seen, keyframe.token,
                                       self._settings.causal_min_points, self._settings.visibility))
