"""tools/realtime_demo.py: one clear line where something is missing; Ctrl-C leaves a report."""

import json
import os
import signal
import threading
import time

import pytest

from occflow.command_line import compose_config
from occflow.errors import InputError
from occflow.models.forecaster import FlowForecaster
from occflow.models.settings import settings_from_config
from occflow.runtime.stream import jobs as stream_jobs
from occflow.runtime.stream import student
from occflow.runtime.stream.jobs import Demo, assemble
from occflow.training.checkpoint import save_checkpoint

SMALL = ["data.grid.origin_m=[-12,-12,-1]", "data.grid.shape=[30,30,8]", "data.history=2", "data.horizon=2",
         "model.mean_trunk.widths=[8,8,8]", "model.velocity_trunk.widths=[8,8,8]"]


@pytest.fixture
def overrides(tiny_log_root, tmp_path) -> list[str]:
    """A tiny log, replayed without end to a small untrained student."""
    values = [*SMALL, "log=nuscenes", f"log.root={tiny_log_root}", "log.version=v1.0-tiny", f"run_dir={tmp_path}/run",
              f"stream.run_dir={tmp_path}/stream", "stream.loops=2000", "stream.display=false", "workers=1",
              "stream.gif_forecasts=0", "stream.pace=0", "stream.deadline_s=60",
              f"stream.checkpoint={tmp_path}/run/student.safetensors"]
    config = compose_config(values)
    settings = settings_from_config(config["data"], config["model"])
    (tmp_path / "run").mkdir()
    save_checkpoint(tmp_path / "run" / "student.safetensors", FlowForecaster(settings), "student", settings, config)
    return values


def test_a_missing_student_is_one_line_with_the_remedy(overrides):
    with pytest.raises(InputError, match="none/student.safetensors.*stream.checkpoint=PATH"):
        assemble(compose_config([*overrides, "run_dir=none", "stream.checkpoint=none/student.safetensors"]))


def test_a_student_need_not_be_of_the_configured_networks_but_of_the_configured_windows(overrides):
    assert assemble(compose_config([*overrides, "model=light"])).scenes
    with pytest.raises(InputError, match="num_horizon: checkpoint 2, configured 4"):
        assemble(compose_config([*overrides, "data.horizon=4"]))


def test_on_the_embedded_log_a_missing_student_is_trained_first(overrides, tiny_log_root, tmp_path, monkeypatch):
    """And what is there already is not made again."""
    (tmp_path / "run" / "student.safetensors").rename(tmp_path / "trained")
    (tmp_path / "run" / "teacher.safetensors").touch()
    steps = []
    monkeypatch.setattr(student, "ensure_store", lambda config: steps.append("store"))
    monkeypatch.setattr(student, "distill_mfd", lambda config: steps.append("student") or
                        (tmp_path / "trained").rename(tmp_path / "run" / "student.safetensors"))
    config = compose_config([*overrides, f"simulation.root={tiny_log_root}"])
    assert assemble(config).scenes == ["tiny-1", "tiny-2"] and steps == ["store", "student"]


def test_a_folder_that_cannot_be_written_is_refused_before_the_stream(overrides, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="stream.run_dir"):
        stream_jobs.realtime_demo(compose_config([*overrides, f"stream.run_dir={tmp_path}/file/stream"]))


def test_ctrl_c_ends_cleanly_with_the_report_written(overrides, tmp_path, monkeypatch):
    def assemble_and_interrupt(config: dict) -> Demo:
        demo = assemble(config)
        threading.Thread(target=interrupt_at_work, args=(demo,), daemon=True).start()
        return demo

    def interrupt_at_work(demo: Demo) -> None:
        while not demo.record.delivered["student-1"]:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(stream_jobs, "assemble", assemble_and_interrupt)
    run_dir, table = stream_jobs.realtime_demo(compose_config(overrides))
    assert not any("stream" in thread.name for thread in threading.enumerate())
    report = json.loads((run_dir / "report.json").read_text())
    assert report["interrupted"] and report["delivered"]["student-1"] and "| network |" in table
    assert table in (run_dir / "report.md").read_text() and (run_dir / "forecast.npz").is_file()


@pytest.mark.parametrize(("override", "named"), [
    ("stream.rate_hz=3", "stream.rate_hz"), ("stream.pace=-1", "stream.pace"), ("stream.split=night", "stream.split"),
    ("stream.deadline_s=soon", "stream.deadline_s"), ("stream.display=true", "display"),
    ("stream.max_scenes=0", "stream.max_scenes"), ("stream.labels=2", "stream.labels")])
def test_settings_that_are_not_usable_are_named(overrides, override, named, monkeypatch):
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(InputError, match=named):
        assemble(compose_config([*overrides, override]))
