"""A forecasting task: what was seen, and where and when to forecast. What happens then is not in it. Cut from a store,
or made by hand.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from occflow.errors import InputError
from occflow.grid import OTHERS, VoxelGrid
from occflow.occupancy.ego_motion import extrapolated_poses
from occflow.occupancy.frame import FrameInGrid, OccupancyFrame
from occflow.occupancy.settings import DEMO_INTERVAL_S, INPUT_KINDS, refuse_unknown
from occflow.occupancy.sighting import Sighting

if TYPE_CHECKING:
    from occflow.occupancy.storage.store import OccupancyStore

GIVEN, EXTRAPOLATED = "G", "H-extrapolated"  # ego settings (docs/scores.md, "Windows")


class Perceive(Protocol):
    """A trained perception network; a sighting comes with its grid."""

    def __call__(self, sighting: Sighting, grid: VoxelGrid) -> OccupancyFrame:
        """What is perceived of a sighting."""

    def named(self, frame: OccupancyFrame, sighting: Sighting, grid: VoxelGrid) -> OccupancyFrame:
        """An unlabelled frame, with the classes that are perceived of the same instant's sighting."""


@dataclass(frozen=True)
class Target:
    """Where and when a frame is asked for: `world_from_grid` [4, 4], and seconds in the clock of the history."""

    world_from_grid: np.ndarray
    stamp_s: float


@dataclass(frozen=True)
class Task:
    """All that a forecaster is given.

    Args:
        history: the P observed frames, the last being the present.
        targets: of the F frames to forecast.
        ego: "G" where the targets lie at the poses of the true future, "H-extrapolated" where these were guessed.
        scene: name of the scene.
    """

    history: tuple[OccupancyFrame, ...]
    targets: tuple[Target, ...]
    ego: str = GIVEN
    scene: str = ""

    @property
    def present(self) -> OccupancyFrame:
        return self.history[-1]

    @property
    def poses(self) -> np.ndarray:
        """Grid poses [F, 4, 4] of the targets, world_from_grid."""
        return np.stack([target.world_from_grid for target in self.targets])

    @property
    def seconds(self) -> np.ndarray:
        """Times [F] of the targets after the present."""
        return np.array([target.stamp_s for target in self.targets]) - self.present.stamp_s

    def extrapolated(self) -> Task:
        """The same instants in grids where the ego would be if it drove on at constant velocity and yaw rate."""
        poses = extrapolated_poses(np.stack([frame.world_from_grid for frame in self.history]),
                                   np.array([frame.stamp_s for frame in self.history]), self.seconds)
        targets = tuple(replace(target, world_from_grid=pose) for target, pose in zip(self.targets, poses))
        return replace(self, targets=targets, ego=EXTRAPOLATED)

    def with_classes(self) -> Task:
        """The task with a history as `OccupancyFrame.with_classes`: rules and files name classes only."""
        return replace(self, history=tuple(frame.with_classes() for frame in self.history))

    @classmethod
    def towards(cls, history: tuple[OccupancyFrame, ...], future: Sequence[OccupancyFrame], scene: str = "") -> Task:
        """The task of forecasting frames that were recorded, at their instants and grid poses."""
        return cls(history, tuple(Target(frame.world_from_grid, frame.stamp_s) for frame in future), scene=scene)

    @classmethod
    def without_future(cls, history: tuple[OccupancyFrame, ...], seconds: Sequence[float], scene: str = "") -> Task:
        """A task after the end of a recording: instants, in seconds after the present, and extrapolated grids."""
        present = history[-1]
        targets = tuple(Target(present.world_from_grid, present.stamp_s + float(after_s)) for after_s in seconds)
        return cls(tuple(history), targets, scene=scene).extrapolated()


def seen_towards(perceive: Perceive | None, sighting: Callable[[], Sighting], grid: VoxelGrid,
                 history: tuple[OccupancyFrame, ...], poses: Sequence[np.ndarray]) -> tuple[OccupancyFrame, ...]:
    """A perceived history whose present is also perceived in the grids of a forecast, where the perceiver does that;
    else its sighting is not asked for."""
    if not getattr(perceive, "anew", False):
        return history
    return (*history[:-1], perceive.towards(sighting(), grid, poses))


def stored_frames(store: OccupancyStore, scene: str, numbers: range, input_kind: str = "occupancy",
                  perceive: Perceive | None = None) -> tuple[OccupancyFrame, ...]:
    """Frames of a scene: "occupancy", the full, labelled one; "lidar", what `perceive` makes of what the sweeps until
    each had shown; or "causal", the bare voxels of these.

    Full frames of a log without labels have the classes that `perceive` gives them, where it is there.

    Raises:
        InputError: an unknown kind, no such frame, a store without causal frames, nothing that perceives, or a broken
            file.
    """
    refuse_unknown("input_kind", input_kind, INPUT_KINDS)
    if input_kind == "lidar":
        if perceive is None:
            raise InputError("input 'lidar' is what a network perceives; give one (perceive=...), or take 'causal'")
        return tuple(perceive(store.sighting(scene, number), store.grid) for number in numbers)
    if input_kind == "causal":
        return tuple(store.causal_frame(scene, number) for number in numbers)
    frames = tuple(store.frame(scene, number) for number in numbers)
    if perceive is None or any((frame.labels != OTHERS).any() for frame in frames) \
            or not store.scene_file(scene).causal:
        return frames
    try:
        return tuple(perceive.named(frame, store.sighting(scene, number), store.grid)
                     for frame, number in zip(frames, numbers))
    except InputError as error:
        warnings.warn(f"{store.path}: is of a log without labels, and none are perceived ({error})", stacklevel=2)
        return frames


def task_at(store: OccupancyStore, scene: str, present: int, history: int, horizon: int,
            input_kind: str = "occupancy", perceive: Perceive | None = None) -> Task:
    """The task at frame number `present` (from 0) of a scene.

    Where the scene goes on for `horizon` frames, the targets are their instants and grid poses (task.ego is "G").
    Where it ends before, they go on at the scene's usual interval, in grids where the vehicle would be at constant
    velocity and yaw rate (task.ego is "H-extrapolated").

    Args:
        history: frames seen, the present included; horizon: frames to forecast.
        input_kind: "occupancy": the full, labelled occupancy is seen; "lidar": what `perceive` makes of the sweeps
            until each instant; "causal": the bare voxels of these, without labels.

    Raises:
        InputError: no such scene or frame, too few frames before the present, an unknown kind, a broken file.
    """
    count = store.num_frames(scene)
    if history < 1 or horizon < 1:
        raise InputError(f"a task of {history} seen and {horizon} forecast frames; ask for 1 or more of each")
    if not history - 1 <= present < count:
        first = f"use present={history - 1} to {count - 1}" if count >= history else "name another scene"
        raise InputError(f"{store.path}: scene {scene} has frames 0 to {count - 1}, of which {history} until frame "
                         f"{present} are asked for; {first}")
    observed = stored_frames(store, scene, range(present - history + 1, present + 1), input_kind, perceive)
    if present + horizon < count:
        future = stored_frames(store, scene, range(present + 1, present + horizon + 1))
        if input_kind == "lidar":
            observed = seen_towards(perceive, lambda: store.sighting(scene, present), store.grid, observed,
                                    [frame.world_from_grid for frame in future])
        return Task.towards(tuple(FrameInGrid.of(frame, store.grid) for frame in observed), future, scene)
    seen = tuple(FrameInGrid.of(frame, store.grid) for frame in observed)
    gaps_s = np.diff(store.stamps_s(scene))
    interval_s = float(np.median(gaps_s)) if len(gaps_s) else DEMO_INTERVAL_S
    return Task.without_future(seen, interval_s * np.arange(1, horizon + 1), scene)
