"""Forecasts without a network (PROTOCOLS section 5). None reads the labels of the horizon."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from occflow.geometry import invert, points_in_box, transform
from occflow.grid import VoxelGrid
from occflow.occupancy.forecast import Forecast
from occflow.occupancy.frame import OccupancyFrame
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
    """Persistence, with every annotated object moved on as between the last two history frames.

    A target voxel inside a moved box takes the label of the object's voxel there at the present; the object's
    old place is left free. An object seen only once stays.
    """
    target, present = window.horizon[index], window.present
    before = {box.track: box for box in window.history[-2].boxes} if len(window.history) > 1 else {}
    interval_s = present.stamp_s - window.history[-2].stamp_s if before else 1.0
    centres = transform(present.world_from_grid, grid.centres(grid.unflatten(present.flat)))
    static, parts = np.ones(len(present.flat), dtype=bool), []
    for box in present.boxes:
        inside = points_in_box(centres, box.world_from_box, box.size_lwh_m, BOX_MARGIN_M)
        earlier = before.get(box.track)
        if earlier is None or not inside.any():
            continue
        static &= ~inside
        moved = box.world_from_box.copy()
        moved[:3, 3] += ((box.world_from_box[:3, 3] - earlier.world_from_box[:3, 3])
                         * (target.stamp_s - present.stamp_s) / interval_s)
        # an object at rest in its box: seen in the target as the present seen from where the box came from
        shift = moved @ invert(box.world_from_box)
        source = OccupancyFrame(present.flat[inside], present.labels[inside], shift @ present.world_from_grid, 0.0)
        parts.append(warp(source, grid, target.world_from_grid))
    rest = OccupancyFrame(present.flat[static], present.labels[static], present.world_from_grid, present.stamp_s)
    return overlaid([*parts, warp(rest, grid, target.world_from_grid)], target)


def overlaid(parts: list[OccupancyFrame], target: OccupancyFrame) -> OccupancyFrame:
    """The union of frames in one grid; where they meet the first in the list wins."""
    flat = np.concatenate([part.flat for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    unique, first = np.unique(flat, return_index=True)
    return OccupancyFrame(unique, labels[first], target.world_from_grid, target.stamp_s)


def baselines(grid: VoxelGrid, with_boxes: bool) -> list[Baseline]:
    """The baselines that a table carries; constant velocity only where the log has boxes."""
    found = [Baseline("copy", grid, copied), Baseline("persistence", grid, persisted)]
    return found + [Baseline("constant_velocity", grid, moved_at_constant_velocity)] if with_boxes else found
