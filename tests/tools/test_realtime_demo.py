"""tools/realtime_demo.py: one clear line where something is missing; a report, whatever ends the stream."""

import errno
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from page_data import read_page
from small_bodies import forecaster
from stream_world import Drive

from occflow.command_line import compose_config
from occflow.errors import InputError
from occflow.forecasting.checkpoint import save_checkpoint
from occflow.jobs.perception import configured_network
from occflow.logs.protocol import Sweep
from occflow.models.flow_model import FlowModel
from occflow.models.landing import LandingSettings
from occflow.models.settings import settings_from_config
from occflow.occupancy.storage.forecast_file import load_forecasts
from occflow.stream import jobs as stream_jobs
from occflow.stream import results
from occflow.stream.jobs import Demo, assemble

SMALL = ["data.grid.origin_m=[-12,-12,-1]", "data.grid.shape=[30,30,8]", "data.history=2", "data.horizon=2",
         "model.mean_trunk.widths=[8,8,8]", "model.velocity_trunk.widths=[8,8,8]", "perception.network.widths=[8,8]",
         "perception.network.patch_channels=8", "perception.network.voxel_channels=4",
         "perception.network.head_channels=8"]


@pytest.fixture
def overrides(tiny_log_root, tmp_path) -> list[str]:
    """A tiny log, replayed without end to an untrained perception and a small untrained student that nobody doubts."""
    values = [*SMALL, "log=nuscenes", f"log.root={tiny_log_root}", "log.version=v1.0-tiny", f"run_dir={tmp_path}/run",
              f"stream.run_dir={tmp_path}/stream", "stream.loops=2000", "stream.display=false", "workers=1",
              "stream.gif_forecasts=0", "stream.page_forecasts=0", "stream.pace=0", "stream.deadline_s=60",
              f"stream.checkpoint={tmp_path}/run/student.safetensors", "stream.fallback=never"]
    config = compose_config(values)
    settings = settings_from_config(config["data"], config["model"])
    (tmp_path / "run").mkdir()
    save_checkpoint(tmp_path / "run" / "student.safetensors", FlowModel(settings), "student", settings, config)
    perception = configured_network(config)
    save_checkpoint(tmp_path / "run" / "perception.safetensors", perception, "perception", perception.settings, config)
    return values


def test_a_missing_student_is_one_line_with_the_remedy(overrides):
    with pytest.raises(InputError, match="none/student.safetensors.*stream.checkpoint=PATH"):
        assemble(compose_config([*overrides, "run_dir=none", "stream.checkpoint=none/student.safetensors"]))


def test_a_student_need_not_be_of_the_configured_networks_but_of_the_configured_windows(overrides):
    assert assemble(compose_config([*overrides, "model=light"])).scenes
    with pytest.raises(InputError, match="num_horizon: checkpoint 2, configured 4"):
        assemble(compose_config([*overrides, "data.horizon=4"]))


@pytest.mark.parametrize(("more", "name"), [([], "student-central"), (["stream.delivers=sample"], "student-1")])
def test_the_line_of_progress_tells_the_age_of_what_the_network_delivers(overrides, more, name):
    demo = assemble(compose_config([*overrides, *more]))
    assert "no forecast yet" in demo.progress.line()
    demo.record.deliver(name, 0.1)
    assert f"delivered 1 {name} | age 100 ms" in demo.progress.line()


def test_on_the_embedded_log_a_missing_student_is_trained_first(overrides, tiny_log_root, tmp_path, monkeypatch):
    """And what is there already is not made again."""
    (tmp_path / "run" / "student.safetensors").rename(tmp_path / "trained")
    (tmp_path / "run" / "teacher.safetensors").touch()
    steps = []
    monkeypatch.setattr(stream_jobs, "ensure_store", lambda config: steps.append("store"))
    monkeypatch.setattr(stream_jobs, "distill_mfd", lambda config: steps.append("student") or
                        (tmp_path / "trained").rename(tmp_path / "run" / "student.safetensors"))
    config = compose_config([*overrides, f"simulation.root={tiny_log_root}"])
    assert assemble(config).scenes == ["tiny-1", "tiny-2"] and steps == ["store", "student"]


def test_a_folder_that_cannot_be_written_is_refused_before_the_stream(overrides, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="stream.run_dir"):
        stream_jobs.realtime_demo(compose_config([*overrides, f"stream.run_dir={tmp_path}/file/stream"]))


@pytest.fixture
def interrupt_at_work(monkeypatch):
    """Makes the next demo of this process receive a signal once it has delivered a forecast of the network."""
    def arm(number: int) -> None:
        def assemble_and_interrupt(config: dict) -> Demo:
            demo = assemble(config)
            threading.Thread(target=interrupt, args=(demo,), daemon=True).start()
            return demo

        def interrupt(demo: Demo) -> None:
            while not demo.record.delivered["student-central"]:
                time.sleep(0.01)
            os.kill(os.getpid(), number)

        monkeypatch.setattr(stream_jobs, "assemble", assemble_and_interrupt)
    return arm


def test_ctrl_c_ends_cleanly_with_the_report_written(overrides, interrupt_at_work, capsys):
    interrupt_at_work(signal.SIGINT)
    run_dir, table = stream_jobs.realtime_demo(compose_config(overrides))
    assert not any("stream" in thread.name for thread in threading.enumerate())
    report = json.loads((run_dir / "report.json").read_text())
    assert report["interrupted"] and report["delivered"]["student-central"] and "| network |" in table
    assert table in (run_dir / "report.md").read_text() and (run_dir / "forecast.npz").is_file()
    assert table in capsys.readouterr().out


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_request_to_end_leaves_the_report_too(overrides, tmp_path, interrupt_at_work, capsys, number, status):
    """And the status says that it was one; drawing the animation could take longer than who asked waits."""
    interrupt_at_work(number)
    with pytest.raises(SystemExit) as ended:
        stream_jobs.realtime_demo(compose_config([*overrides, "stream.gif_forecasts=5"]))
    assert ended.value.code == status and signal.getsignal(number) == signal.SIG_DFL
    report = json.loads((tmp_path / "stream" / "report.json").read_text())
    assert report["interrupted"] and report["signal"] == number.name and report["delivered"]["student-central"]
    assert sorted(path.name for path in (tmp_path / "stream").iterdir()) == ["forecast.npz", "report.json", "report.md"]
    assert f"ended by {number.name}: the report is in" in capsys.readouterr().out.splitlines()[-1]


@pytest.fixture
def demo_of(overrides, tmp_path, monkeypatch):
    """Streams a drive once; returns the report."""
    def run(log: Drive, *more: str) -> dict:
        monkeypatch.setattr(stream_jobs, "open_log", lambda config: log)
        stream_jobs.realtime_demo(compose_config([*overrides, "stream.loops=1", *more]))
        return json.loads((tmp_path / "stream" / "report.json").read_text())
    return run


@pytest.mark.parametrize(("more", "name", "other"), [
    ([], "student-central", "student-1"), (["stream.delivers=centre"], "student-central", "student-1"),
    (["stream.delivers=sample"], "student-1", "student-central")])
def test_the_report_has_an_accuracy_beside_each_speed(demo_of, tmp_path, capsys, more, name, other):
    """By the stream's own eyes, and by the occupancy built afterwards; they say which labels were used."""
    report = demo_of(Drive(num_sweeps=21, names=["one"]), *more)
    assert report["delivered"] == {"persistence": 1, name: 10} and set(report["age_ms"]) == {"persistence", name}
    assert report["stage_ms"]["other"]["count"] == report["stage_ms"]["network"]["count"] == 10
    assert list(load_forecasts(tmp_path / "stream" / "forecast.npz").forecasts) == [name]
    assert report["accuracy"]["rows"]["delivered"] == report["accuracy"]["rows"][name]
    assert report["labels"] == "perceived" and report["stage_ms"]["perceive"]["count"] >= 10
    assert set(report["self_scores"]["rows"]) == {"student-1", "student-central", "persistence"}
    assert list(report["accuracy"]["rows"]) == ["delivered", name, other, "persistence"]
    assert report["accuracy"]["instants"] == 7 and report["accuracy"]["rows"]["persistence"]["iou"][0] > 0
    text, out = (tmp_path / "stream" / "report.md").read_text(), capsys.readouterr().out
    for said in ("By its own eyes", "Against the occupancy built", "stream.labels=perceived", "| persistence | 1 |",
                 f"| {name} | 10 |", f"| {other} | - | - |"):
        assert said in text and said in out
    assert f"delivers {'centre' if name == 'student-central' else 'sample'}" in text
    assert "scoring 10 forecasts against the occupancy built of 1 scenes" in out


@pytest.mark.parametrize(("more", "learnt"), [([], True), (["stream.learnt_landing=false"], False)])
def test_the_present_lands_as_learnt_unless_it_is_to_land_sooner(overrides, monkeypatch, more, learnt):
    model = forecaster(landing=LandingSettings(4, 4, 6))
    monkeypatch.setattr(stream_jobs, "ensure_student", lambda config: model)
    monkeypatch.setattr(stream_jobs, "open_log", lambda config: Drive(num_sweeps=3, names=["one"]))
    monkeypatch.setattr(stream_jobs, "StreamNetwork", asked_for)
    with pytest.raises(Asked) as asked:
        stream_jobs.assemble(compose_config([*overrides, *more]))
    assert (asked.value.args[0].landing is not None) is learnt
    assert (model.preparation.landing is not None) is learnt


class Asked(Exception):
    """With what a network was to be made of."""


def asked_for(*of) -> None:
    raise Asked(*of)


def test_a_network_that_has_proved_nothing_is_not_delivered_and_the_report_says_so(demo_of, tmp_path):
    report = demo_of(Drive(num_sweeps=21, names=["one"]), "stream.fallback=auto", "stream.fallback_instants=50")
    assert list(report["delivered"]) == ["persistence"] and report["notices"]["persistence"] == 2
    assert report["accuracy"]["rows"]["delivered"] == report["accuracy"]["rows"]["persistence"]
    assert list(load_forecasts(tmp_path / "stream" / "forecast.npz").forecasts) == ["persistence"]


@pytest.mark.parametrize(("labels", "delivers", "name"), [
    ("log", "centre", "student-central"), ("none", "centre", "student-central"), ("log", "sample", "student-1"),
    ("none", "sample", "student-1")])
def test_without_perception_nothing_is_judged_and_no_checkpoint_is_asked_for(demo_of, labels, delivers, name):
    report = demo_of(Drive(num_sweeps=21, names=["one"]), f"stream.labels={labels}", f"stream.delivers={delivers}",
                     "stream.fallback=auto", "perception.checkpoint=none.safetensors")
    assert report["self_scores"] is None and report["delivered"][name] == 10
    assert list(report["accuracy"]["rows"]) == ["delivered", name, "persistence"]
    assert (report["accuracy"]["rows"]["persistence"]["miou"][0] > 0.1) == (labels == "log")


def test_a_log_without_keyframes_gets_one_line_in_place_of_an_accuracy(demo_of, capsys):
    class Bare(Drive):
        def keyframes(self, scene: str) -> list:
            return []

    assert demo_of(Bare(num_sweeps=9, names=["one"]))["accuracy"] is None
    assert "no accuracy: drive: scene one has no keyframes" in capsys.readouterr().out
    assert demo_of(Drive(num_sweeps=9, names=["one"]), "stream.score=false")["accuracy"] is None


def test_ctrl_c_ends_the_scoring_and_leaves_the_rest(demo_of, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stream_jobs, "accuracy", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    report = demo_of(Drive(num_sweeps=9, names=["one"]))
    assert report["accuracy"] is None and "the accuracy is left out" in capsys.readouterr().out
    assert (tmp_path / "stream" / "forecast.npz").is_file()


class UnluckyDrive(Drive):
    """A short drive; what its `spoil` makes of each sweep is what is read."""

    def __init__(self, spoil, num_sweeps: int = 7, names: tuple[str, ...] = ("one",)) -> None:
        super().__init__(num_sweeps=num_sweeps, names=list(names))
        self.spoil = spoil

    def sweeps(self, scene: str) -> Iterator[Sweep]:
        return map(self.spoil, super().sweeps(scene))


def empty(sweep: Sweep) -> Sweep:
    return replace(sweep, points_sensor=sweep.points_sensor[:0], labels=sweep.labels[:0])


def test_an_unlucky_drive_comes_to_its_end_and_its_report_counts_what_befell_it(demo_of, tmp_path):
    """An empty sweep, a stamp twice, a last one of 1e300, a NaN pose; a scene that would be a path."""
    def spoil(sweep: Sweep) -> Sweep:
        index = int(sweep.path.stem)
        lost = replace(sweep, world_from_ego=np.full((4, 4), np.nan))
        return {3: empty(sweep), 5: replace(sweep, stamp_s=1.0), 7: lost,
                8: replace(sweep, stamp_s=1e300)}.get(index, sweep)

    report = demo_of(UnluckyDrive(spoil, 9, ("../../out\x1b[2J",)), "stream.gif_forecasts=2")
    assert {kind: report["notices"][kind] for kind in ("empty sweep", "out of order", "bad pose", "bad stamp")} == \
        {"empty sweep": 1, "out of order": 1, "bad pose": 1, "bad stamp": 1}
    assert report["sweeps"] == 6 and report["used"] == 5 and report["delivered"]["student-central"]
    assert not report["interrupted"] and report["signal"] is None
    assert sorted(path.name for path in (tmp_path / "stream").iterdir()) == ["forecast.npz", "report.json", "report.md",
                                                                             "stream.gif"]


def test_a_single_sweep_is_forecast_from_by_persistence(demo_of, tmp_path):
    report = demo_of(Drive(num_sweeps=1, names=["one"]), "stream.gif_forecasts=2", "stream.pace=1")
    assert report["delivered"] == {"persistence": 1} and (tmp_path / "stream" / "stream.gif").is_file()
    assert not (tmp_path / "stream" / "forecast.npz").exists()


@pytest.mark.parametrize(("log", "says"), [
    (Drive(num_sweeps=0), "no sweep of 2 scenes is usable"), (UnluckyDrive(empty), "no sweep of 1 scenes is usable"),
    (UnluckyDrive(lambda sweep: replace(sweep, points_sensor=sweep.points_sensor + 300)), "none of 7 sweeps is usable"),
    (Drive(num_sweeps=40, broken=tuple(range(3, 40))), "truncated.*so are the 19")])
def test_a_log_with_nothing_to_forecast_from_says_so_and_leaves_its_report(demo_of, tmp_path, log, says):
    with pytest.raises(InputError, match=says):
        demo_of(log)
    assert json.loads((tmp_path / "stream" / "report.json").read_text())["notices"] or not log.num_sweeps


def test_a_page_has_a_window_for_each_forecast_with_what_was_seen_when_its_time_had_come(demo_of, tmp_path):
    report = demo_of(Drive(num_sweeps=11, names=["</script>one"]), "stream.page_forecasts=4")
    about, windows = read_page(tmp_path / "stream" / "stream.html")
    assert report["delivered"]["student-central"] and len(windows) == 4
    names = [[one["name"] for one in window["layers"]] for window in about["windows"]]
    assert names == [["history", "seen then", "delivered"]] * 3 + [["history", "delivered"]]  # the drive ends there
    assert [one["note"] for one in about["windows"]] == ["delivered: student-central"] * 4
    assert about["windows"][0]["name"] == "</script>one, 1.0 s"
    first, last = windows[0], windows[-1]
    assert [list(instant) for instant in first] == [[0], [0], [1, 2], [1, 2]]
    assert [list(instant) for instant in last] == [[0], [0], [1], [1]]
    np.testing.assert_array_equal(first[1][0][0], windows[1][0][0][0])  # a present is the history of the next


@pytest.mark.parametrize("lost", ["report.json", "report.md", "forecast.npz", "stream.html", "stream.gif"])
def test_a_disk_that_fills_takes_one_file_and_not_the_others(demo_of, tmp_path, monkeypatch, capsys, lost):
    def full(write):
        def write_unless_full(path, *arguments):
            if path.name == lost:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            return write(path, *arguments)
        return write_unless_full

    monkeypatch.setattr(results, "write_json", full(results.write_json))
    monkeypatch.setattr(results, "atomic_file", full(results.atomic_file))
    monkeypatch.setattr(stream_jobs.LastForecasts, "save", lambda kept, path, grid, save=stream_jobs.LastForecasts.save:
                        full(lambda path: save(kept, path, grid))(path))
    monkeypatch.setattr(results, "animate", lambda forecasts, path, *more, animate=results.animate:
                        full(lambda path: animate(forecasts, path, *more))(path))
    monkeypatch.setattr(results, "write_stream_page", lambda path, *more, write=results.write_stream_page:
                        full(lambda path: write(path, *more))(path))
    with pytest.raises(InputError, match=f"stream: {lost} could not be written.*make room"):
        demo_of(Drive(num_sweeps=5, names=["one"]), "stream.gif_forecasts=1", "stream.page_forecasts=1")
    out = capsys.readouterr().out
    assert f"{lost} (No space left on device)" in out and "| network |" in out
    wanted = {"report.json", "report.md", "forecast.npz", "stream.html", "stream.gif"} - {lost}
    assert {path.name for path in (tmp_path / "stream").iterdir()} == wanted


def test_ctrl_c_while_the_results_are_written_leaves_the_report_and_ends_the_drawing(demo_of, tmp_path, monkeypatch,
                                                                                     capsys):
    monkeypatch.setattr(results, "machine", lambda: [os.kill(os.getpid(), signal.SIGINT)] * 2)
    monkeypatch.setattr(results, "animate", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    report = demo_of(Drive(num_sweeps=5, names=["one"]), "stream.gif_forecasts=1")
    assert report["delivered"]["student-central"] and "pictures are left out" in capsys.readouterr().out
    assert load_forecasts(tmp_path / "stream" / "forecast.npz").forecasts


def test_a_reader_of_the_output_that_leaves_takes_nothing_else_with_it(demo_of, tmp_path, monkeypatch):
    """As in `realtime_demo.py | head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert demo_of(Drive(num_sweeps=5, names=["one"]))["delivered"]["student-central"]


@pytest.mark.parametrize(("override", "named"), [
    ("stream.rate_hz=3", "stream.rate_hz"), ("stream.pace=-1", "stream.pace"), ("stream.split=night", "stream.split"),
    ("stream.deadline_s=soon", "stream.deadline_s"), ("stream.display=true", "display"),
    ("stream.max_scenes=0", "stream.max_scenes"), ("stream.delivers=mean", "stream.delivers"),
    ("stream.labels=2", "stream.labels"), ("stream.labels=true", "stream.labels"),
    ("perception.checkpoint=none.safetensors", "none.safetensors"), ("stream.rate_hz=1e9", "stream.rate_hz"),
    ("stream.loops=-1", "stream.loops"), ("stream.temperature=1.5", "stream.temperature: 1.5 is not a number")])
def test_settings_that_are_not_usable_are_named(overrides, override, named, monkeypatch):
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(InputError, match=named):
        assemble(compose_config([*overrides, override]))
