"""Windows: a task and what then happened, cut from an occupancy sequence (docs/scores.md, "Windows")."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from occflow.errors import InputError
from occflow.grid import VoxelGrid
from occflow.logs.protocol import Box
from occflow.occupancy.frame import Frames, OccupancyFrame
from occflow.occupancy.settings import GRID_POSES, INPUT_KINDS, refuse_unknown
from occflow.occupancy.storage.store import OccupancyStore
from occflow.occupancy.tasks import Perceive, Task, seen_towards, stored_frames
from occflow.occupancy.warp import regridded

INTERVAL_TOLERANCE = 0.25  # published keyframes are 0.4 to 0.6 s apart
LONGEST_GAP = 1.75  # of the usual interval; a frame that is missing leaves twice of it


@dataclass(frozen=True)
class WindowKey:
    """Where a window lies: its scene and the index of its first history frame."""

    scene: str
    start: int


@dataclass(frozen=True)
class Window:
    """A task and its answer; forecasters are given the task, trainings and scores hold the truth.

    Args:
        key: where it was cut.
        task: the history, and the grid poses and stamps of the truth (ego setting G).
        truth: the F frames that were to be forecast.
        boxes: annotated objects of the present, whatever the history shows of them; with those of the truth they tell
            how bodies moved.
    """

    key: WindowKey
    task: Task
    truth: Frames
    boxes: tuple[Box, ...] = ()

    @classmethod
    def of(cls, key: WindowKey, history: Frames, truth: Frames, boxes: tuple[Box, ...] | None = None) -> Window:
        """The window of P observed frames and the F frames that came then; `boxes` of the present are the frame's own
        where none are given."""
        return cls(key, Task.towards(history, truth, key.scene), truth, history[-1].boxes if boxes is None else boxes)

    @property
    def history(self) -> Frames:
        return self.task.history

    @property
    def present(self) -> OccupancyFrame:
        return self.task.present


def window_keys(store: OccupancyStore, split: str | None, history: int, horizon: int,
                stride: int = 1, across_gaps: bool = False) -> list[WindowKey]:
    """All windows of a split (None: of all scenes), per scene from its first frame on, every `stride` frames; see
    OccupancyStore.parts for the halves of scenes.

    Windows across a gap of the recording are left out with one counted warning, unless `across_gaps`: their frames
    are not where the horizon says that they are.

    Raises:
        InputError: no scene of the split has a window.
    """
    longest_s, keys, torn = np.inf if across_gaps else LONGEST_GAP * usual_interval_s(store), [], []
    for scene, frames in store.parts(split):
        wide = np.diff(store.stamps_s(scene)) > longest_s
        for start in range(frames.start, frames.stop - history - horizon + 1, stride):
            (torn if wide[start:start + history + horizon - 1].any() else keys).append(WindowKey(scene, start))
    if not keys:
        which = "no scene" if split is None else f"no scene of split '{split}'"
        raise InputError(f"{store.path}: {which} has the {history} + {horizon} frames of a window"
                         f"{' without a gap' if torn else ''}")
    if torn:
        warnings.warn(f"{store.path}: left out {len(torn)} windows across a gap of more than {longest_s:.2g} s between "
                      f"frames, first at frame {torn[0].start} of scene {torn[0].scene}", stacklevel=2)
    return keys


def usual_interval_s(store: OccupancyStore) -> float:
    """Median time between consecutive frames of a store, seconds; nan where no scene has two."""
    gaps = np.concatenate([np.zeros(0), *(np.diff(store.stamps_s(scene)) for scene in store.scenes(None))])
    return float(np.median(gaps)) if len(gaps) else float("nan")


def refuse_other_interval(store: OccupancyStore, interval_s: float) -> None:
    """Raises InputError where the frames of a store are, in the median, not `interval_s` apart."""
    gap_s = usual_interval_s(store)
    if abs(gap_s - interval_s) > INTERVAL_TOLERANCE * interval_s:  # not so where no scene has two frames
        raise InputError(f"{store.path}: frames are {gap_s:.3g} s apart, data.frame_interval_s is {interval_s}; set "
                         "data.frame_interval_s to that of the store, or name another data.store")


@dataclass(frozen=True)
class WindowSource:
    """The windows of a store as a configuration wants them cut: what trainings and scores draw from.

    Args:
        store: where frames come from.
        history, horizon: numbers of frames.
        input_kind: "occupancy": the history is the full, labelled occupancy; "lidar": what is perceived of the sweeps
            until then; "causal": their bare voxels, without labels. The truth is the full occupancy in any case.
        grid_pose: "ego": every frame in its own grid; "anchored": all frames in the present's grid (what leaves it
            is lost, what enters it from outside of a frame's own grid is free and unobserved).
        perceive: what makes frames of sightings, for input "lidar", and names the voxels of a log without labels.
        names_truth: the truth's, too: to learn from, never to score by.

    Raises:
        InputError: an unknown kind.
    """

    store: OccupancyStore
    history: int
    horizon: int
    input_kind: str = "occupancy"
    grid_pose: str = "ego"
    perceive: Perceive | None = None
    names_truth: bool = False

    def __post_init__(self) -> None:
        refuse_unknown("data.input", self.input_kind, INPUT_KINDS)
        refuse_unknown("data.grid_pose", self.grid_pose, GRID_POSES)

    def keys(self, split: str | None, stride: int = 1) -> list[WindowKey]:
        """As `window_keys`."""
        return window_keys(self.store, split, self.history, self.horizon, stride)

    def read(self, key: WindowKey, input_kind: str | None = None) -> Window:
        """Cut a window; `input_kind` only where it is another than the source's.

        Raises:
            InputError: an unknown kind, or a store without causal frames.
        """
        future = key.start + self.history
        kind = input_kind or self.input_kind
        seen = stored_frames(self.store, key.scene, range(key.start, future), kind, self.perceive)
        truth = stored_frames(self.store, key.scene, range(future, future + self.horizon),
                              perceive=self.perceive if self.names_truth else None)
        if kind == "lidar":
            seen = seen_towards(self.perceive, lambda: self.store.sighting(key.scene, future - 1), self.store.grid,
                                seen, [frame.world_from_grid for frame in truth])
        boxes = None if kind == "occupancy" else self.store.frame(key.scene, future - 1).boxes  # sweeps tell of none
        window = Window.of(key, seen, truth, boxes)
        return anchored(window, self.store.grid) if self.grid_pose == "anchored" else window

    def present_parts(self, key: WindowKey) -> tuple[OccupancyFrame, np.ndarray] | None:
        """The true present of a window, and in which parts of its voxels matter is, [N, PARTS] bool (occupancy.parts);
        None where the store does not tell."""
        number = key.start + self.history - 1
        parts = self.store.voxel_parts(key.scene, number)
        return None if parts is None else (self.store.frame(key.scene, number), parts)


def anchored(window: Window, grid: VoxelGrid) -> Window:
    """The window with all frames in the grid of the present."""
    pose = window.present.world_from_grid
    return map_frames(window, lambda frame: regridded(frame, grid, pose))


def map_frames(window: Window, change: Callable[[OccupancyFrame], OccupancyFrame],
               boxes: tuple[Box, ...] | None = None) -> Window:
    """The window with every frame changed, and other `boxes` of its present where they are given."""
    return Window.of(window.key, tuple(map(change, window.history)), tuple(map(change, window.truth)),
                     window.boxes if boxes is None else boxes)
