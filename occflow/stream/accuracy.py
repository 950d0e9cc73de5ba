"""How good a stream's forecasts were: when it has ended they are held against the occupancy built from the log, of past
and future sweeps and labels, which nobody had while it ran."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from occflow.eval.counts import numbers
from occflow.eval.iou import IoUCounts
from occflow.eval.report_record import SCORES
from occflow.forecasting.rules import PERSISTENCE
from occflow.grid import VoxelGrid
from occflow.logs.protocol import DrivingLog
from occflow.occupancy.building.scene_frames import build_scene
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.settings import OccupancySettings
from occflow.occupancy.tasks import Target
from occflow.occupancy.warp import warp
from occflow.stream.forecaster import LookedBack
from occflow.stream.judge import PROTOCOL, SAME_INSTANT_S, held_against

MOST_BYTES = 128 << 20  # of the forecasts that are kept: some minutes of the demo's grid at 2 Hz
DELIVERED = "delivered"


@dataclass(frozen=True)
class ToScore:
    """A delivered forecast of an instant, and what else was forecast then, small.

    Args:
        delivered: name of the forecaster.
        present: of which persistence is made.
        targets: the scored ones.
        frames: of each forecast of the network by name, at these targets.
    """

    scene: str
    delivered: str
    present: OccupancyFrame
    targets: tuple[Target, ...]
    frames: dict[str, tuple[OccupancyFrame, ...]]

    @property
    def num_bytes(self) -> int:
        return sum(frame.flat.nbytes + frame.labels.nbytes
                   for frames in (*self.frames.values(), (self.present,)) for frame in frames)


class ForecastsToScore:
    """Keeps the last delivered forecasts of which the network made one too, within `most_bytes`.

    Args:
        horizon: indices of the forecast frames that are scored.
    """

    def __init__(self, horizon: Sequence[int], most_bytes: int = MOST_BYTES) -> None:
        self._horizon, self._most_bytes, self._bytes = horizon, most_bytes, 0
        self.kept: deque[ToScore] = deque()

    def watch(self, one: LookedBack) -> None:
        task, frames = one.task, {name: tuple(_small(each[index]) for index in self._horizon)
                                  for name, each in one.frames.items()}
        kept = ToScore(task.scene, one.delivered.name, _small(task.present),
                       tuple(task.targets[index] for index in self._horizon), frames)
        self.kept.append(kept)
        self._bytes += kept.num_bytes
        while self._bytes > self._most_bytes:
            self._bytes -= self.kept.popleft().num_bytes


def _small(frame: OccupancyFrame) -> OccupancyFrame:
    """A frame in half the memory, without what is not scored."""
    return OccupancyFrame(frame.flat.astype(np.int32), frame.labels, frame.world_from_grid, frame.stamp_s)


def accuracy(kept: Sequence[ToScore], log: DrivingLog, grid: VoxelGrid, occupancy: OccupancySettings,
             seconds: Sequence[float]) -> dict:
    """Scores of every row over the same instants, counts summed over all; scenes are built one after the other.

    A forecast counts at the times at which its log has a keyframe, within its keyframe's grid.

    Args:
        seconds: which the targets are, after the present.

    Returns:
        {"seconds", "instants", "rows": {name: {"iou", "miou", "movable_iou": one figure a time, null where absent}}}.

    Raises:
        InputError: the log has no keyframes, or a scene cannot be built.
    """
    settings, counts, instants = replace(occupancy, causal_window_s=0.0), {}, 0
    for scene in dict.fromkeys(one.scene for one in kept):
        truth = build_scene(log, scene, grid, settings)
        stamps_s = np.array([frame.stamp_s for frame in truth])
        for one in (one for one in kept if one.scene == scene):
            instants += _count(counts, one, truth, stamps_s, grid)
    rows = {name: {score: numbers(PROTOCOL.scores(total)[score]) for score in SCORES}
            for name, total in counts.items()}
    return {"seconds": list(seconds), "instants": instants, "rows": rows}


def _count(counts: dict[str, IoUCounts], one: ToScore, truth: Sequence[OccupancyFrame], stamps_s: np.ndarray,
           grid: VoxelGrid) -> bool:
    """Count the forecasts of an instant; whether the truth of any of its times is known."""
    found = False
    for place, target in enumerate(one.targets):
        nearest = int(np.abs(stamps_s - target.stamp_s).argmin())
        if abs(stamps_s[nearest] - target.stamp_s) > SAME_INSTANT_S:
            continue
        found = True
        frames = {name: each[place] for name, each in one.frames.items()}
        frames[PERSISTENCE] = warp(one.present, grid, target.world_from_grid, target.stamp_s)
        confusions = dict(zip(frames, held_against(list(frames.values()), truth[nearest], grid, observed_only=False)))
        for name, confusion in {DELIVERED: confusions[one.delivered], **confusions}.items():
            counts.setdefault(name, IoUCounts(len(one.targets))).confusion[place] += confusion
    return found

