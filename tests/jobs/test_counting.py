"""An evaluation whose scenes are shared says what one process says."""

from __future__ import annotations

import os
import pickle
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_evaluation
import torch
from small_evaluation import SCENES, reported, small_config, write_world

from occflow.errors import InputError
from occflow.jobs import counting
from occflow.jobs.build import task_workers
from occflow.jobs.counting import MOST_MOVING, TYPICAL, SceneWindows, ShownWindow, by_scene
from occflow.jobs.score import evaluate_run
from occflow.occupancy.windows import WindowKey

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What is evaluated, and the run `alone` of one process."""
    folder = tmp_path_factory.mktemp("shards")
    write_world(folder)
    shutil.copytree(folder / "store", folder / "broken_store")
    broken = folder / "broken_store/street-5.occ"
    broken.write_bytes(broken.read_bytes()[:-1] + b"x")
    evaluate_run(small_config(folder, "alone"))
    return folder


def dealt(job, items, workers):
    """In place of worker processes: as many copies of the job, as these get it, who finish in the opposite order."""
    copies = [pickle.loads(pickle.dumps(job)) for _ in range(workers)]
    done = [(item, pickle.loads(pickle.dumps(copies[place % workers](item)))) for place, item in enumerate(items)]
    yield from reversed(done)


def test_three_shards_report_what_one_does(folder, monkeypatch):
    monkeypatch.setattr(counting, "each", dealt)
    evaluate_run(small_config(folder, "three", "eval.workers=3"))
    assert reported(folder, "three") == reported(folder, "alone")
    shown = [np.load(folder / run / "forecast.npz") for run in ("alone", "three")]
    assert set(shown[0]) == set(shown[1]) and all(np.array_equal(shown[0][name], shown[1][name]) for name in shown[0])
    report = dict(reported(folder, "alone")[0])
    assert dict(report["windows"])["count"] == 15 and dict(report["windows"])["scenes"] == len(SCENES)
    assert {"support", "ensembles", "views", "present", "coherence"} <= set(report)
    reference = dict(dict(report["ensembles"])["reference"])
    assert (reference["name"], reference["windows"]) == ("teacher-2", 4)  # every second of the eight


def test_of_the_processes_of_torchrun_rank_0_reports_what_one_does(folder, monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    together = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    other = subprocess.Popen([sys.executable, small_evaluation.__file__, str(folder)], cwd=folder,
                             env={**os.environ, **together, "RANK": "1", "LOCAL_RANK": "1",
                                  "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])})
    for name, value in {**together, "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    try:
        assert "| teacher-1 |" in evaluate_run(small_config(folder, "ranks"))
        assert reported(folder, "ranks") == reported(folder, "alone")
        with pytest.raises(InputError, match="street-5.occ: frame 6: broken scene file"):  # rank 1 has met it
            evaluate_run(small_config(folder, "broken", f"data.store={folder}/broken_store"))
        assert other.wait(timeout=100) == 0 and not (folder / "broken/report.json").exists()
    finally:
        torch.distributed.destroy_process_group()
        other.kill()


def test_windows_are_counted_by_scene_in_their_order():
    keys = [WindowKey(scene, start) for scene in "ba" for start in range(3)]
    late = WindowKey("c", 7)
    assert by_scene(keys, keys[::2], keys[:1], {late: Path("x"), keys[4]: Path("y")}) == [
        SceneWindows("b", keys[:3], [keys[0], keys[2]], keys[:1]),
        SceneWindows("a", keys[3:], [keys[4]], [], {keys[4]: Path("y")}),
        SceneWindows("c", branches={late: Path("x")})]


def test_the_window_that_is_shown_changes_most_or_as_the_median_one():
    """The first of several that change as much."""
    shown, others = (ShownWindow([(change, WindowKey(name, 0)) for change, name in changes])
                     for changes in ([(5, "a"), (2, "b")], [(0, "c"), (5, "d"), (2, "e")]))
    shown.merge(pickle.loads(pickle.dumps(others)))
    assert shown.chosen(MOST_MOVING).scene == "a" and shown.chosen(TYPICAL).scene == "b"


def test_a_scheduler_without_dask_is_refused():
    with pytest.raises(InputError, match="tasks.engine=dask"):
        task_workers({"tasks": {"engine": "processes", "scheduler": "tcp://a:1"}}, 2)
