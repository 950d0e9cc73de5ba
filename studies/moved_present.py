"""What the motions of bodies are worth alone: the present, its bodies moved rigidly, all else still, no voxel network.

    python -m studies.moved_present data/simulated/occupancy val 2 occupancy pretrained/student.safetensors

Arguments: the store, a split, every how many windows, what is seen (occupancy or lidar), checkpoints whose central
motions are shown. Movable IoU at 1, 2 and 3 s, in percent, counted over all windows; and how far the centre of a body
is off after 3 s by the speed that its track says, where a box tells the truth.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from occflow.eval.protocols import horizon_frames
from occflow.eval.sections import table
from occflow.forecasting.checkpoint import load_forecaster
from occflow.front_door import perceiver
from occflow.grid import IS_MOVABLE
from occflow.models.preparation import moved_as
from occflow.occupancy.bodies import offsets_of, tracked_offsets, world_motions
from occflow.occupancy.frame import Frames
from occflow.occupancy.storage.store import OccupancyStore
from occflow.occupancy.warp import landings
from occflow.occupancy.windows import WindowSource
from occflow.training.forcing import true_motions

HISTORY, HORIZON, INTERVAL_S = 3, 6, 0.5
SPEEDS_M_PER_S = (0.3, 3.0, 8.0)  # between the groups


def counts(moved: Frames, truth: Frames) -> np.ndarray:
    """[F, 2]: movable voxels that two sequences have in common, and those of any of both."""
    sets = [[frame.flat[IS_MOVABLE[frame.labels]] for frame in frames] for frames in (moved, truth)]
    common = [len(np.intersect1d(*pair, assume_unique=True)) for pair in zip(*sets)]
    return np.array([(both, len(one) + len(other) - both) for both, one, other in zip(common, *sets)])


def main(store: str, split: str, stride: str, seen: str, *checkpoints: str) -> None:
    opened = OccupancyStore.open(store)
    source = WindowSource(opened, HISTORY, HORIZON, perceive=perceiver() if seen == "lidar" else None)
    models = {path: load_forecaster(Path(path), ("teacher", "student"), torch.device("cpu")) for path in checkpoints}
    totals, errors = {}, {}
    keys = source.keys(split, int(stride))
    for key in keys:
        window = source.read(key, seen)
        task = window.task
        found = {path: model.preparation.motions(task) for path, model in models.items()}
        bodies = next(iter(found.values())).bodies
        tracked = world_motions(bodies, task.seconds).swapaxes(0, 1)
        true = true_motions(window, bodies, opened.grid)
        motions = {"still": np.broadcast_to(np.eye(4), tracked.shape), "tracked": tracked,
                   **{path: one.world_motions(one.condition.forecast.mean) for path, one in found.items()},
                   "as boxes moved": np.where(np.isfinite(true), true, tracked)}
        landed = landings(window.present, opened.grid, task.poses)
        for name, moved in motions.items():
            frames = moved_as(task, opened.grid, [body.slots for body in bodies], moved, landed)
            totals[name] = totals.get(name, 0) + counts(frames, window.truth)
        last = offsets_of(bodies, true)[:, -1, :2]
        groups = np.digitize([np.linalg.norm(body.velocity_m_per_s) for body in bodies], SPEEDS_M_PER_S)
        offsets = {"tracked": tracked_offsets(bodies, task.seconds),
                   **{path: one.offsets(one.condition.forecast.mean) for path, one in found.items()}}
        for name, places in offsets.items():
            off = np.linalg.norm(places[:, -1, :2] - last, axis=1)
            for group, value in zip(groups, off):
                if np.isfinite(value):
                    errors.setdefault((name, int(group)), []).append(value)
    instants = horizon_frames(INTERVAL_S, HORIZON)
    rows = [(name, " / ".join(f"{100 * total[at, 0] / max(1, total[at, 1]):.1f}" for at in instants))
            for name, total in totals.items()]
    print(f"{len(keys)} windows", "", *table(("bodies moved", "movable IoU 1/2/3 s"), rows), sep="\n")
    bounds = (0.0, *SPEEDS_M_PER_S, float("inf"))
    groups = [f"{low:g} to {high:g} m/s" for low, high in zip(bounds, bounds[1:])]
    found = [[errors.get((name, group), ()) for group in range(len(groups))] for name in offsets]
    rows = [(name, *(f"{np.mean(one):.2f} ({len(one)})" if one else "-" for one in means))
            for name, means in zip(offsets, found)]
    print(*table(("off after 3 s, metres", *groups), rows)[:-1], sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
