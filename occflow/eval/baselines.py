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

Frames = tuple[OccupancyFrame, ...]

BOX_MARGIN_M = 0.4  # half a demo voxel: a voxel belongs to a box that its centre all but touches


class Baseline:
    """A forecaster made of a rule (grid, window) -> frames of the horizon."""

    nfe = 0

    def __init__(self, name: str, grid: VoxelGrid, rule: Callable[[VoxelGrid, Window], Frames]) -> None:
        self.name, self.grid, self.rule = name, grid, rule

    def forecast(self, window: Window, seed: int) -> Forecast:
        start = time.perf_counter()
        frames = self.rule(self.grid, window)
        return Forecast(frames, {"decode": (time.perf_counter() - start) * 1e3})

    def samples(self, window: Window, seeds: list[int]) -> list[Forecast]:
        return [self.forecast(window, seeds[0])] * len(seeds)  # no seed changes a rule


def copied(grid: VoxelGrid, window: Window) -> Frames:
    """The last input's voxels, unchanged, in the targets' grids (the field's Copy & Paste)."""
    present = window.present
    return tuple(OccupancyFrame(present.flat, present.labels, target.world_from_grid, target.stamp_s)
                 for target in window.horizon)


def persisted(grid: VoxelGrid, window: Window) -> Frames:
    """The last input moved by the ego motion: a static world."""
    return tuple(warp(window.present, grid, target.world_from_grid, target.stamp_s) for target in window.horizon)


def moved_at_constant_velocity(grid: VoxelGrid, window: Window) -> Frames:
    """Persistence, with every annotated object moved on as between the last two history frames."""
    return moved_on(grid, window, annotated_movers(window, grid))


def moved_as_tracked(grid: VoxelGrid, window: Window) -> Frames:
    """The same without annotations: objects are found and tracked in the history (what the networks start from)."""
    return moved_on(grid, window, tracked_movers(window.history, grid))


def moved_on(grid: VoxelGrid, window: Window, movers: list[Mover]) -> Frames:
    return tuple(advanced(window.present, grid, movers, target.world_from_grid, target.stamp_s)
                 for target in window.horizon)


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
