"""What the sweeps of a scene have shown of each keyframe: all about it, and what a car had seen until then."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from occflow.geometry import invert, transform
from occflow.grid import VoxelGrid
from occflow.logs.protocol import SAME_STAMP_S, UNLABELLED, Keyframe
from occflow.occupancy.building.cells import in_order
from occflow.occupancy.building.returns import Returns
from occflow.occupancy.building.tally import NOTHING_MET, cells_met, tally
from occflow.occupancy.building.visibility import mark_rays
from occflow.occupancy.ego_motion import extrapolated_poses
from occflow.occupancy.settings import OccupancySettings
from occflow.occupancy.sighting import MOST, TICK_S, Sighting, cell_grid, spaced, voxels_of_cells

MEMORY_SPACING_S = 0.5  # of remembered sweeps
MEMORY_CELL_M = 0.2  # of two of their returns that lie nearer one is enough
SLACK_S = 1.0  # so much longer they are kept: a keyframe may ask a little late
OUTLOOKS = 6  # instants at which a grid of the future is looked at
ROUNDED = 0.1  # voxels: a border that is off by less is where it was


def sighted(grid: VoxelGrid, world_from_grid: np.ndarray, stamp_s: float, seen: Sequence[Returns], token: str = "",
            min_points: int = 1, rays: bool = True, outlook_s: float = 0.0, outlook_m: float = 0.0,
            remembered: Sequence[Returns] = ()) -> Sighting:
    """What sweeps have shown by an instant, in the grid at that instant.

    Args:
        seen: sweeps until then in the order of time; of those that lie closer than SPACING_S, some.
        min_points: returns that make a voxel occupied.
        rays: also find out which voxels were observed.
        outlook_s, outlook_m: how far beyond the grid to look (`outlook`); there returns of any range count.
        remembered: earlier sweeps in the order of time (`Memory`): their cells are kept, too, but make no voxel
            occupied.
    """
    grid_from_world, area = invert(world_from_grid), outlook(grid, world_from_grid, seen, outlook_s, outlook_m)
    shown = [*remembered, *(seen[index] for index in spaced([one.stamp_s for one in seen]))]
    cells = cell_grid(area or grid)
    found = tally([cells_met(cells, grid_from_world, one.ends[:, one.near] if area is None else one.ends)
                   for one in shown] or [NOTHING_MET], cells.num_voxels, len(remembered))
    ages = np.array([min(MOST, round((stamp_s - one.stamp_s) / TICK_S)) for one in shown], np.uint8)
    voxels, _ = voxels_of_cells(found.cells, area or grid)
    returns = np.bincount(voxels, found.late_counts, (area or grid).num_voxels)
    flat = np.flatnonzero(returns >= min_points)
    passed = observed = _observed(area or grid, grid_from_world, seen, flat) if rays else None
    if area is not None:
        numbers, inside = area.renumbered(flat, grid)
        flat, observed = numbers[inside], passed[grid.slices_in(area)] if rays else None
    return Sighting(flat, np.full(len(flat), UNLABELLED, np.uint8), world_from_grid, stamp_s, token,
                    observed=np.packbits(observed) if rays else None, cells=found.cells,
                    counts=np.minimum(found.counts, MOST).astype(np.uint8), youngest=ages[found.last],
                    oldest=ages[found.first], spots=found.spots, area=area,
                    passed=np.packbits(passed) if rays and area is not None else None)


def outlook(grid: VoxelGrid, world_from_grid: np.ndarray, seen: Sequence[Returns], ahead_s: float,
            most_m: float) -> VoxelGrid | None:
    """The grid at an instant, made larger in the plane until it holds what the vehicle's grids will hold in the next
    `ahead_s` seconds if it goes on as it went during these sweeps; None where the grid is enough.

    Args:
        seen: sweeps until the instant in the order of time.
        most_m: how much it grows to any side at most, metres.
    """
    if len(seen) < 2 or ahead_s <= 0:
        return None
    future = extrapolated_poses(np.stack([one.world_from_ego for one in seen]), np.array([one.stamp_s for one in seen]),
                                np.linspace(0, ahead_s, OUTLOOKS + 1)[1:])
    low = np.array(grid.origin_m)[:2]
    high = low + np.array(grid.shape[:2]) * grid.voxel_size_m
    corners = np.array([[x, y, 0.0] for x in (low[0], high[0]) for y in (low[1], high[1])])
    places = np.concatenate([transform(invert(world_from_grid) @ pose, corners) for pose in future])[:, :2]
    most = int(most_m / grid.voxel_size_m + ROUNDED)
    below, above = (np.clip(np.ceil(far_m / grid.voxel_size_m - ROUNDED), 0, most).astype(int)
                    for far_m in (low - places.min(axis=0), places.max(axis=0) - high))
    if not (below.any() or above.any()):
        return None
    return VoxelGrid((*(low - below * grid.voxel_size_m), grid.origin_m[2]),
                     (*(np.array(grid.shape[:2]) + below + above), grid.shape[2]), grid.voxel_size_m)


def _observed(grid: VoxelGrid, grid_from_world: np.ndarray, seen: Sequence[Returns], flat: np.ndarray) -> np.ndarray:
    """[X, Y, Z] bool: the voxels that hold a return or that a ray of the last sweep went through."""
    mask = np.zeros(grid.num_voxels, dtype=bool)
    if seen:
        _mark(mask, grid, grid_from_world, seen[-1])
    mask[flat] = True
    return mask.reshape(grid.shape)


def _mark(mask: np.ndarray, grid: VoxelGrid, grid_from_world: np.ndarray, returns: Returns) -> None:
    """Mark in a mask [V] the voxels that the rays of a sweep went through."""
    rotation, shift = grid_from_world[:3, :3], grid_from_world[:3, 3]
    mark_rays(mask, grid, rotation @ returns.sensor_m + shift, rotation @ returns.ends + shift[:, None])


class Memory:
    """The sweeps of some seconds, MEMORY_SPACING_S apart from the first one on, each thinned to one return a cell: what
    a car still knows of places that it no longer sees.

    Args:
        grid: of the sightings; theirs are the cells, but none is smaller than MEMORY_CELL_M.
        span_s: how long a sweep is remembered; 0: nothing is.
    """

    def __init__(self, grid: VoxelGrid, span_s: float) -> None:
        self._cell_m, self._span_s = max(cell_grid(grid).voxel_size_m, MEMORY_CELL_M), span_s
        self._kept: deque[Returns] = deque()
        self._whole = False  # whether the last one is still to be thinned

    def add(self, returns: Returns) -> None:
        """Take the next sweep. It is thinned when the next one comes: nobody asks for it before, and a forecast may be
        waiting for this one."""
        self._thin()
        since_s = returns.stamp_s - self._kept[-1].stamp_s if self._kept else np.inf
        if self._span_s == 0 or since_s < MEMORY_SPACING_S - SAME_STAMP_S:
            return
        self._kept.append(returns)
        self._whole = True
        while self._kept[0].stamp_s < returns.stamp_s - self._span_s - SLACK_S:
            self._kept.popleft()

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._whole = False

    def _thin(self) -> None:
        if self._whole:
            self._kept[-1], self._whole = thinned(self._kept[-1], self._cell_m), False

    def before(self, stamp_s: float, latest_s: float) -> list[Returns]:
        """Those of the span until an instant that are older than `latest_s`, in the order of time."""
        if self._kept and self._kept[-1].stamp_s < latest_s - SAME_STAMP_S:
            self._thin()
        return [one for one in self._kept
                if stamp_s - self._span_s - SAME_STAMP_S <= one.stamp_s < latest_s - SAME_STAMP_S]


def thinned(returns: Returns, cell_m: float) -> Returns:
    """Of the returns in one cell about the vehicle the first one; labels are not kept."""
    places = np.floor((returns.ends - returns.world_from_ego[:3, 3:]) / cell_m).astype(np.int64)
    places -= places.min(axis=1, initial=0, keepdims=True)
    _, width, height = places.max(axis=1, initial=0).tolist()
    keys = (places[0] * (width + 1) + places[1]) * (height + 1) + places[2]
    order = in_order(keys)
    first = np.zeros(returns.ends.shape[1], dtype=bool)
    first[order[np.diff(keys[order], prepend=-1) != 0]] = True
    kept = np.flatnonzero(first)
    near = np.zeros(returns.ends.shape[1], dtype=bool)
    near[returns.near] = True
    near = np.flatnonzero(near[kept])
    ends = np.ascontiguousarray(returns.ends[:, kept])
    return Returns(returns.stamp_s, returns.world_from_ego, returns.sensor_m, ends, near,
                   np.full(len(near), UNLABELLED, np.uint8))


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
        self._memory = Memory(grid, settings.memory_s)
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
        self._memory.add(returns)

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
                                       self._settings.causal_min_points, self._settings.visibility,
                                       self._settings.outlook_s, self._settings.outlook_m,
                                       self._memory.before(keyframe.stamp_s,
                                                           keyframe.stamp_s - self._settings.causal_window_s)))
