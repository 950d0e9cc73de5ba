"""Forecasts without a network (docs/scores.md, "Baselines")."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from occflow.errors import InputError
from occflow.forecasting.box_motion import annotated_motions, moved_on
from occflow.forecasting.forecast import Forecast
from occflow.grid import VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.motion import advanced, tracked_movers
from occflow.occupancy.tasks import Task
from occflow.occupancy.warp import warp

Frames = tuple[OccupancyFrame, ...]


class Baseline:
    """A forecaster made of a rule (grid, task) -> frames at the targets."""

    nfe = 0

    def __init__(self, name: str, grid: VoxelGrid, rule: Callable[[VoxelGrid, Task], Frames]) -> None:
        self.name, self.grid, self.rule = name, grid, rule

    def forecast(self, task: Task, seed: int) -> Forecast:
        start = time.perf_counter()
        frames = self.rule(self.grid, task.with_classes())
        return Forecast(frames, {"decode": (time.perf_counter() - start) * 1e3})

    def samples(self, task: Task, seeds: list[int]) -> list[Forecast]:
        return [self.forecast(task, seeds[0])] * len(seeds)  # no seed changes a rule


def copied(grid: VoxelGrid, task: Task) -> Frames:
    """The last input's voxels, unchanged, in the targets' grids (the field's Copy & Paste)."""
    present = task.present
    return tuple(OccupancyFrame(present.flat, present.labels, target.world_from_grid, target.stamp_s)
                 for target in task.targets)


def persisted(grid: VoxelGrid, task: Task) -> Frames:
    """The last input moved by the ego motion: a static world."""
    return tuple(warp(task.present, grid, target.world_from_grid, target.stamp_s) for target in task.targets)


def moved_at_constant_velocity(grid: VoxelGrid, task: Task) -> Frames:
    """Persistence, with every annotated object moved on at the velocity and yaw rate of the last two history frames."""
    motions = annotated_motions(task.history, grid)
    return moved_on(task.present, grid, motions, task.targets)


def moved_as_tracked(grid: VoxelGrid, task: Task) -> Frames:
    """The same without annotations: objects are found and tracked in the history (what the networks start from)."""
    movers = tracked_movers(task.history, grid)
    return tuple(advanced(task.present, grid, movers, target.world_from_grid, target.stamp_s)
                 for target in task.targets)


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
