"""What the truth of a log without boxes is worth, and what telling movers by rays (occupancy.building.passing) changes.

    python -m studies.trails [log=pandaset]

A log with boxes is built with them, and twice as if it had neither boxes nor labels: with trails (see_through_m=0) and
as configured. Printed are IoUs in percent: of each with the first (all keyframes), and of forecasts of the same
perceived histories with each (means over 1, 2, 3 s); of all voxels, and on the way of movers apart from the rest
(voxels within one of those that a moving object's box held at any keyframe): a truth without boxes has no classes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from occflow.eval.sections import table
from occflow.geometry import transform
from occflow.grid import VoxelGrid
from occflow.logs.protocol import Box, DrivingLog, Keyframe, Sweep
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.settings import OccupancySettings
from occflow.occupancy.true_motion import voxels_of_boxes
from occflow.occupancy.windows import window_keys

MOVED_M = 1.5  # from where a track was first annotated: more than annotations are off
BOXED, TRAILS, RAYS = "boxes and labels", "neither, trails", "neither, by rays"
FORECASTS = ("persistence", "tracked_velocity", "student-central")
SCORED = (1, 3, 5)  # horizon frames, of 1, 2 and 3 s


class Unannotated:
    """A DrivingLog without the boxes and labels of another."""

    def __init__(self, log: DrivingLog) -> None:
        self._log, self.name = log, f"{log.name} without boxes and labels"

    def scenes(self) -> list[str]:
        return self._log.scenes()

    def splits(self) -> dict[str, list[str]]:
        return self._log.splits()

    def keyframes(self, scene: str) -> list[Keyframe]:
        return [replace(keyframe, boxes=()) for keyframe in self._log.keyframes(scene)]

    def sweeps(self, scene: str) -> Iterator[Sweep]:
        return (replace(sweep, labels=None, moving=None) for sweep in self._log.sweeps(scene))

    def boxes_at(self, scene: str, stamp_s: float) -> list[Box]:
        return []


def moving_tracks(keyframes: list[Keyframe]) -> set[str]:
    """The tracks that go MOVED_M or more from where they were first."""
    first: dict[str, np.ndarray] = {}
    boxes = [box for keyframe in keyframes for box in keyframe.boxes]
    ways_m = [box.world_from_box[:3, 3] - first.setdefault(box.track, box.world_from_box[:3, 3]) for box in boxes]
    return {box.track for box, way_m in zip(boxes, ways_m) if np.linalg.norm(way_m) > MOVED_M}


def ways_of_movers(frames: list[OccupancyFrame], grid: VoxelGrid, tracks: set[str]) -> list[np.ndarray]:
    """For each frame [V] bool: voxels within one voxel of such as a box of these tracks holds in any of the frames."""
    places = [np.zeros((0, 3))]
    for frame in frames:
        boxes = [box for box in frame.boxes if box.track in tracks]
        held = [frame.flat[slots] for slots in voxels_of_boxes(frame, grid, boxes)]
        places += [transform(frame.world_from_grid, grid.centres(grid.unflatten(flat))) for flat in held]
    tree, every = cKDTree(np.concatenate(places)), grid.centres(grid.unflatten(np.arange(grid.num_voxels)))
    return [np.isfinite(tree.query(transform(frame.world_from_grid, every), distance_upper_bound=grid.voxel_size_m)[0])
            for frame in frames]


def agreement(one: OccupancyFrame, other: OccupancyFrame, way: np.ndarray) -> np.ndarray:
    """Voxels that two frames both fill, and that either fills: [3, 2] int64, of all and on and off a way [V] bool."""
    filled = np.zeros((2, len(way)), dtype=bool)
    filled[0, one.flat], filled[1, other.flat] = True, True
    both, either = filled.all(axis=0), filled.any(axis=0)
    return np.array([[(both & part).sum(), (either & part).sum()] for part in (np.ones_like(way), way, ~way)])


def built(frames: list[OccupancyFrame], others: list[OccupancyFrame], ways: list[np.ndarray]) -> str:
    """IoU of the frames of two builds."""
    return _percents(sum(agreement(*three) for three in zip(frames, others, ways)))


def scored(forecasts: dict[int, tuple[OccupancyFrame, ...]], frames: list[OccupancyFrame],
           ways: list[np.ndarray]) -> str:
    """IoU of forecasts, by the number of their present, mean over SCORED."""
    counts = [sum(agreement(made[step], frames[present + 1 + step], ways[present + 1 + step])
                  for present, made in forecasts.items()) for step in SCORED]
    return _percents(np.stack(counts))


def _percents(counts: np.ndarray) -> str:
    """Means of IoUs [..., 3], in percent, of counts [..., 3, 2]."""
    share = counts[..., 0] / counts[..., 1]
    return " / ".join(f"{100 * value:.1f}" for value in share.reshape(-1, 3).mean(axis=0))


def main(config: dict) -> None:
    import occflow
    from occflow.forecasting.rules import RULES
    from occflow.logs.open import open_log
    from occflow.occupancy.building.build import build_store

    log, settings = open_log(config["log"]), OccupancySettings.from_dict(config["data"]["occupancy"])
    student, perceive, bare = occflow.load("student"), occflow.perceiver(), Unannotated(log)
    grid, seen = student.settings.grid, student.settings.num_history
    ways = [(log, settings, BOXED), (bare, replace(settings, see_through_m=0.0), TRAILS), (bare, settings, RAYS)]
    with tempfile.TemporaryDirectory() as folder:
        stores = {name: build_store(one, grid, how, Path(folder) / str(number))
                  for number, (one, how, name) in enumerate(ways)}
        for scene in log.scenes():
            frames = {name: [store.frame(scene, number) for number in range(store.num_frames(scene))]
                      for name, store in stores.items()}
            way, made = ways_of_movers(frames[BOXED], grid, moving_tracks(log.keyframes(scene))), {}
            for key in window_keys(stores[BOXED], None, seen, student.settings.num_horizon):
                if key.scene == scene:
                    present = key.start + seen - 1
                    task = stores[BOXED].task(scene, present, input_kind="lidar", perceive=perceive)
                    made[present] = *(RULES[rule](grid, task) for rule in FORECASTS[:-1]), student.forecast(task).frames
            rows = [[name, built(one, frames[BOXED], way),
                     *(scored({present: every[number] for present, every in made.items()}, one, way)
                       for number in range(len(FORECASTS)))] for name, one in frames.items()]
            print(f"{scene}, {len(made)} windows: IoU of all voxels / on the way of movers / off it", "", sep="\n")
            print("\n".join(table(("truth", "with boxes and labels", *FORECASTS), rows)[:-1]), flush=True)


if __name__ == "__main__":
    from occflow.command_line import run

    run(main, __doc__, reads=("log", "data"))
