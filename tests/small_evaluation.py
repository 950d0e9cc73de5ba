"""A store of six short streets and a small network, as files to evaluate; and as a script, a process of torchrun that
does."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from small_forecaster import GRID, SMALL_SETTINGS, street_frame

from occflow.command_line import compose_config
from occflow.forecasting.checkpoint import save_checkpoint
from occflow.geometry import planar_pose
from occflow.jobs.score import evaluate_run
from occflow.logs.protocol import Box
from occflow.models.flow_model import FlowModel
from occflow.occupancy.building.build import fill_store
from occflow.occupancy.storage.store import StoreLayout

SCENES = {f"street-{number}": 6 + number % 2 for number in range(6)}  # frames of each: one or two windows
TIMES = ("ms", "seconds")  # keys of a report that no two runs have alike


def make_street(scene: str):
    """Frames a second apart; the cars of every scene have a speed of their own, and a box."""
    speed = 1.0 + int(scene[-1])
    frames = [street_frame(2 * index, speed) for index in range(SCENES[scene])]
    return [replace(frame, boxes=(Box("car", 4, planar_pose(speed * index, 1.0, 0.0), (3.0, 2.0, 1.5)),),
                    observed=None) for index, frame in enumerate(frames)], None


def write_world(folder: Path) -> None:
    """FOLDER/store and FOLDER/teacher.safetensors."""
    layout = StoreLayout(GRID, None, "streets", {"val": list(SCENES)})
    fill_store(make_street, layout, list(SCENES), folder / "store")
    torch.manual_seed(0)
    settings = replace(SMALL_SETTINGS, frame_interval_s=1.0)
    save_checkpoint(folder / "teacher.safetensors", FlowModel(settings).eval(), "teacher", settings, {})


def small_config(folder: Path, run: str, *changes: str) -> dict:
    """The configuration of an evaluation of all that there is: samples, views, coherence, support."""
    return compose_config([
        f"data.store={folder}/store", f"run_dir={folder}/{run}", f"data.grid.origin_m={list(GRID.origin_m)}",
        f"data.grid.shape={list(GRID.shape)}", f"data.grid.voxel_size_m={GRID.voxel_size_m}", "data.history=2",
        "data.horizon=3", "data.frame_interval_s=1.0", f"eval.checkpoints=[{folder}/teacher.safetensors]",
        "eval.window_stride=1", "eval.teacher_steps=[1]", "eval.samples=2", "eval.sample_every=2",
        "eval.reference_steps=2", "eval.reference_every=2",
        "eval.shown_samples=0", "device=cpu", "workers=1", *changes])


def without_times(report):
    """What two runs must have in common, with the order of its keys."""
    if isinstance(report, dict):
        return [(key, without_times(value)) for key, value in report.items() if key not in TIMES]
    return [without_times(value) for value in report] if isinstance(report, list) else report


def reported(folder: Path, run: str):
    """The report of a run but for its times, and the counters beside it."""
    return (without_times(json.loads((folder / run / "report.json").read_text())),
            (folder / run / "counters.npz").read_bytes())


if __name__ == "__main__":
    place = Path(sys.argv[1])
    tables = [evaluate_run(small_config(place, "ranks")),
              evaluate_run(small_config(place, "broken", f"data.store={place}/broken_store"))]
    torch.distributed.destroy_process_group()
    assert tables == [None, None], "a rank other than 0 says nothing"
