"""A forecasting task cut from a store: what was seen until an instant, and where and when to forecast."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from occflow.errors import InputError
from occflow.occupancy.frame import FrameInGrid
from occflow.occupancy.settings import DEMO_INTERVAL_S, INPUT_KINDS, refuse_unknown
from occflow.occupancy.tasks import Target, Task

if TYPE_CHECKING:
    from occflow.occupancy.storage.store import OccupancyStore


def task_at(store: OccupancyStore, scene: str, present: int, history: int, horizon: int,
            input_kind: str = "occupancy") -> Task:
    """The task at frame number `present` (from 0) of a scene.

    Where the scene goes on for `horizon` frames, the targets are their instants and grid poses (task.ego is "G").
    Where it ends before, they go on at the scene's usual interval, in grids where the vehicle would be at constant
    velocity and yaw rate (task.ego is "H-extrapolated").

    Args:
        history: frames seen, the present included; horizon: frames to forecast.
        input_kind: "occupancy": the full, labelled occupancy is seen; "causal": what the sweeps until each instant had
            shown, without labels.

    Raises:
        InputError: no such scene or frame, too few frames before the present, an unknown kind, a broken file.
    """
    refuse_unknown("input_kind", input_kind, INPUT_KINDS)
    count = store.num_frames(scene)
    if history < 1 or horizon < 1:
        raise InputError(f"a task of {history} seen and {horizon} forecast frames; ask for 1 or more of each")
    if not history - 1 <= present < count:
        first = f"use present={history - 1} to {count - 1}" if count >= history else "name another scene"
        raise InputError(f"{store.path}: scene {scene} has frames 0 to {count - 1}, of which {history} until frame "
                         f"{present} are asked for; {first}")
    read = store.frame if input_kind == "occupancy" else store.causal_frame
    seen = tuple(FrameInGrid.of(read(scene, index), store.grid) for index in range(present - history + 1, present + 1))
    if present + horizon < count:
        later = [store.frame(scene, index) for index in range(present + 1, present + horizon + 1)]
        return Task(seen, tuple(Target(frame.world_from_grid, frame.stamp_s) for frame in later), scene=scene)
    gaps_s = np.diff(store.stamps_s(scene))
    interval_s = float(np.median(gaps_s)) if len(gaps_s) else DEMO_INTERVAL_S
    return Task.without_future(seen, interval_s * np.arange(1, horizon + 1), scene)
