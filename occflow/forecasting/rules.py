"""Forecasts without a network (docs/scores.md, "Baselines"). None reads the labels of the horizon."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from occflow.errors import InputError
from occflow.forecasting.box_motion import annotated_motions, moved_on
from occflow.forecasting.forecast import Forecast
from occflow.grid import OTHERS, VoxelGrid
from occflow.logs.protocol import UNLABELLED
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.motion import advanced, tracked_movers
from occflow.occupancy.warp import warp
from occflow.occupancy.windows import Window

Frames = tuple[OccupancyFrame, ...]


class Baseline:
    """A forecaster made of a rule (grid, window) -> frames of the horizon."""

    nfe = 0

    def __init__(self, name: str, grid: VoxelGrid, rule: Callable[[VoxelGrid, Window], Frames]) -> None:
        self.name, self.grid, self.rule = name, grid, rule

    def forecast(self, window: Window, seed: int) -> Forecast:
        start = time.perf_counter()
        frames = self.rule(self.grid, with_classes(window))
        return Forecast(frames, {"decode": (time.perf_counter() - start) * 1e3})

    def samples(self, window: Window, seeds: list[int]) -> list[Forecast]:
        return [self.forecast(window, seeds[0])] * len(seeds)  # no seed changes a rule


def with_classes(window: Window) -> Window:
    """The window with class "others" where its history is unlabelled (causal input): a forecast names classes."""
    return replace(window, history=tuple(
        replace(frame, labels=np.where(frame.labels == UNLABELLED, OTHERS, frame.labels).astype(np.uint8))
        for frame in window.history))


def copied(grid: VoxelGrid, window: Window) -> Frames:
    """The last input's voxels, unchanged, in the targets' grids (the field's Copy & Paste)."""
    present = window.present
    return tuple(OccupancyFrame(present.flat, present.labels, target.world_from_grid, target.stamp_s)
                 for target in window.horizon)


def persisted(grid: VoxelGrid, window: Window) -> Frames:
    """The last input moved by the ego motion: a static world."""
    return tuple(warp(window.present, grid, target.world_from_grid, target.stamp_s) for target in window.horizon)


def moved_at_constant_velocity(grid: VoxelGrid, window: Window) -> Frames:
    """Persistence, with every annotated object moved on at the velocity and yaw rate of the last two history frames."""
    motions = annotated_motions(window, grid)
    return moved_on(window.present, grid, motions, window.horizon)


def moved_as_tracked(grid: VoxelGrid, window: Window) -> Frames:
    """The same without annotations: objects are found and tracked in the history (what the networks start from)."""
    movers = tracked_movers(window.history, grid)
    return tuple(advanced(window.present, grid, movers, target.world_from_grid, target.stamp_s)
                 for target in window.horizon)


RULES = {"copy": copied, "persistence": persisted, "tracked_velocity": moved_as_tracked,
         "constant_velocity": moved_at_constant_velocity}
NEEDS_BOXES = ("constant_velocity",)


def baselines(grid: VoxelGrid, with_boxes: bool, names: Sequence[str] = tuple(RULES)) -> list[Baseline]:
    """The baselines that a table carries; constant velocity only where the log has boxes.

    Raises:
        InputError: no such baseline.
    """
    unknown = [name for name in names if name not in RULES]
    if unknown:
        raise InputError(f"eval.baselines: no baseline '{unknown[0]}'; known: {', '.join(RULES)}")
    return [Baseline(name, grid, RULES[name]) for name in names if with_boxes or name not in NEEDS_BOXES]
