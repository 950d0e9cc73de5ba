"""Forecasts without a network (PROTOCOLS section 5). None reads the labels of the horizon."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from occflow.geometry import points_in_box, transform
from occflow.grid import FLAT_CLASSES, VoxelGrid
from occflow.occupancy.forecast import Forecast
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.motion import Mover, advanced, tracked_movers
from occflow.occupancy.warp import warp
from occflow.occupancy.windows import Window

BOX_MARGIN_M = 0.4  # half a demo voxel: a voxel belongs to a box that its centre all but touches


class Baseline:
    """A forecaster made of a function (grid, window, index of the horizon frame) -> frame."""

    nfe = 0

    def __init__(self, name: str, grid: VoxelGrid, rule: Callable[[VoxelGrid, Window, int], OccupancyFrame]) -> None:
        self.name, self.grid, self.rule = name, grid, rule

    def forecast(self, window: Window, seed: int) -> Forecast:
        start = time.perf_counter()
        frames = tuple(self.rule(self.grid, window, index) for index in range(len(window.horizon)))
        return Forecast(frames, {"decode": (time.perf_counter() - start) * 1e3})


def copied(grid: VoxelGrid, window: Window, index: int) -> OccupancyFrame:
    """The last input's voxels, unchanged, in the target's grid (the field's Copy & Paste)."""
    target = window.horizon[index]
    return OccupancyFrame(window.present.flat, window.present.labels, target.world_from_grid, target.stamp_s)


def persisted(grid: VoxelGrid, window: Window, index: int) -> OccupancyFrame:
    """The last input moved by the ego motion: a static world."""
    target = window.horizon[index]
    return warp(window.present, grid, target.world_from_grid, target.stamp_s)


def moved_at_constant_velocity(grid: VoxelGrid, window: Window, index: int) -> OccupancyFrame:
    """Persistence, with every annotated object moved on as between the last two history frames."""
    target = window.horizon[index]
    return advanced(window.present, grid, annotated_movers(window, grid), target.world_from_grid, target.stamp_s)


def moved_as_tracked(grid: VoxelGrid, window: Window, index: int) -> OccupancyFrame:
    """The same without annotations: objects are found and tracked in the history (what the networks start from)."""
    target = window.horizon[index]
    movers = tracked_movers(window.history, grid)
    return advanced(window.present, grid, movers, target.world_from_grid, target.stamp_s)


def annotated_movers(window: Window, grid: VoxelGrid) -> list[Mover]:
    """The boxes of the present with their last velocity; an object annotated only once stays where it is."""
    if len(window.history) < 2:
        return []
    present, previous = window.history[-1], window.history[-2]
    before = {box.track: box for box in previous.boxes}
    centres = transform(present.world_from_grid, grid.centres(grid.unflatten(present.flat)))
    movers, taken = [], np.zeros(len(present.flat), dtype=bool)
    for box in present.boxes:
        if box.track not in before:
            continue
        inside = points_in_box(centres, box.world_from_box, box.size_lwh_m, BOX_MARGIN_M)
        inside &= ~taken & np.isin(present.labels, FLAT_CLASSES, invert=True)  # a box does not take its road along
        taken |= inside
        moved_m = box.world_from_box[:3, 3] - before[box.track].world_from_box[:3, 3]
        movers.append(Mover(np.flatnonzero(inside), moved_m / (present.stamp_s - previous.stamp_s)))
    return movers


def baselines(grid: VoxelGrid, with_boxes: bool) -> list[Baseline]:
    """The baselines that a table carries; constant velocity only where the log has boxes."""
    found = [Baseline("copy", grid, copied), Baseline("persistence", grid, persisted),
             Baseline("tracked_velocity", grid, moved_as_tracked)]
    return found + [Baseline("constant_velocity", grid, moved_at_constant_velocity)] if with_boxes else found
