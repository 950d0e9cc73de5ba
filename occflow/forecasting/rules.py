"""Forecasts without a network (docs/scores.md, "Baselines")."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from occflow.errors import InputError
from occflow.forecasting.forecast import Forecast
from occflow.geometry import invert
from occflow.grid import VoxelGrid
from occflow.occupancy.bodies import tracked_bodies, world_motions
from occflow.occupancy.ego_motion import extrapolated_poses
from occflow.occupancy.frame import Frames, OccupancyFrame
from occflow.occupancy.motion import advanced_bodies, without
from occflow.occupancy.tasks import Target, Task
from occflow.occupancy.true_motion import LARGEST_TURN_COS, voxels_of_boxes
from occflow.occupancy.warp import warp

PERSISTENCE = "persistence"  # row of the rule that any network must beat


@dataclass(frozen=True)
class BoxMotion:
    """Voxels of the present (places [N] in its arrays), and the poses [2, 4, 4] of their box before and now."""

    slots: np.ndarray
    poses: np.ndarray
    stamps_s: np.ndarray

    def world_motions(self, seconds: np.ndarray) -> np.ndarray:
        """What takes the object from its place now to those after some seconds [F], [F, 4, 4] in the world."""
        return extrapolated_poses(self.poses, self.stamps_s, seconds) @ invert(self.poses[1])


def annotated_motions(history: tuple[OccupancyFrame, ...], grid: VoxelGrid) -> list[BoxMotion]:
    """The boxes of the present that were there one frame before; an object annotated only once stays where it is."""
    if len(history) < 2:
        return []
    present, previous = history[-1], history[-2]
    before = {box.track: box for box in previous.boxes}
    followed = [box for box in present.boxes if box.track in before]
    stamps_s, motions = np.array([previous.stamp_s, present.stamp_s]), []
    for box, slots in zip(followed, voxels_of_boxes(present, grid, followed)):
        earlier = before[box.track].world_from_box.copy()
        if earlier[:3, 0] @ box.world_from_box[:3, 0] < LARGEST_TURN_COS:
            earlier[:3, :3] = box.world_from_box[:3, :3]
        motions.append(BoxMotion(slots, np.stack([earlier, box.world_from_box]), stamps_s))
    return motions


def moved_objects(present: OccupancyFrame, grid: VoxelGrid, slots: Sequence[np.ndarray], motions: Sequence[np.ndarray],
                  targets: tuple[Target, ...]) -> Frames:
    """The present in the grids of F later targets: the static world by the ego motion, objects by their own too.

    Args:
        slots: of each object, places [N] of its voxels in the arrays of `present`; no voxel is of two.
        motions: of each object, what takes it from its place now to those at the targets, [F, 4, 4] in the world.
    """
    placed = [motion @ present.world_from_grid for motion in motions]
    return tuple(_composed(present, grid, slots, [poses[index] for poses in placed], target)
                 for index, target in enumerate(targets))


def _composed(present: OccupancyFrame, grid: VoxelGrid, slots: Sequence[np.ndarray], poses: Sequence[np.ndarray],
              target: Target) -> OccupancyFrame:
    """One frame: objects, whose voxels are in grids at `poses`, go before the static world."""
    world_from_target, stamp_s = target.world_from_grid, target.stamp_s
    parts = []
    for own, pose in zip(slots, poses):
        part = OccupancyFrame(present.flat[own], present.labels[own], pose, stamp_s)
        parts.append(warp(part, grid, world_from_target))
    parts.append(warp(without(present, grid, slots), grid, world_from_target))
    flat, first = np.unique(np.concatenate([part.flat for part in parts]), return_index=True)
    return OccupancyFrame(flat, np.concatenate([part.labels for part in parts])[first], world_from_target, stamp_s)


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
    return moved_objects(task.present, grid, [one.slots for one in motions],
                         [one.world_motions(task.seconds) for one in motions], task.targets)


def moved_as_tracked(grid: VoxelGrid, task: Task) -> Frames:
    """The same without annotations: objects are found and tracked in the history (what the networks start from)."""
    bodies = tracked_bodies(task.history, grid)
    slots, motions = [body.slots for body in bodies], world_motions(bodies, task.seconds)
    return tuple(advanced_bodies(task.present, grid, slots, motion, target.world_from_grid, target.stamp_s)
                 for target, motion in zip(task.targets, motions))


RULES = {"copy": copied, PERSISTENCE: persisted, "tracked_velocity": moved_as_tracked,
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
