"""The whole road on a tiny world: simulate, build, perceive, train, distil, evaluate, forecast another log, draw."""

import json
import math
from pathlib import Path

import pytest

from occflow.command_line import compose_config
from occflow.errors import InputError
from occflow.jobs.perception import train_perception
from occflow.jobs.reconstruction import held_out_frames, reconstruction
from occflow.jobs.score import evaluate_run, forecast_log
from occflow.jobs.sources import ensure_log, ensure_store
from occflow.jobs.train import distill_mfd, train_autoencoder, train_teacher, with_autoencoder
from occflow.occupancy.storage.forecast_file import load_forecasts

FEW_STEPS = ["train.autoencoder.steps=60", "train.autoencoder.patches=512", "train.mean.steps=6",
             "train.mean.windows=1",
             "train.teacher.steps=6", "train.teacher.windows=1", "train.motion.steps=4", "train.motion.windows=2",
             "train.landing.steps=2", "train.landing.windows=1",
             "train.motion_flow.steps=4", "train.motion_flow.windows=2", "distill.student.steps=2",
             "distill.motion.student.steps=2", "distill.motion.windows=2",
             "distill.auxiliary_warmup=2", "distill.auxiliary_updates=1", "eval.window_stride=3",
             "eval.samples=2", "eval.shown_samples=2", "workers=1", "perception.start=null", "perception.steps=8",
             "perception.batch=2", "perception.calibration_frames=4", "perception.network.patch_channels=8",
             "perception.network.voxel_channels=4", "perception.network.widths=[8,12]",
             "perception.network.head_channels=12"]


def config_in(folder: Path, *changes: str) -> dict:
    return compose_config(["simulation=tiny", f"simulation.root={folder}/log", f"log.root={folder}/log",
                           f"data.store={folder}/occupancy", f"run_dir={folder}/run", *FEW_STEPS, *changes])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("road")
    config = config_in(folder)
    ensure_log(config)
    ensure_store(config)
    train_perception(config)  # half of the windows of the trainings after it are perceived
    train_teacher(config)
    distill_mfd(config)
    evaluate_run(config)
    evaluate_run(config_in(folder, "data.input=lidar"))
    return folder


@pytest.mark.chaotic
def test_report_has_every_row(folder, figure):
    report = json.loads((folder / "run" / "report.json").read_text())
    assert [row["name"] for row in report["rows"]] == ["copy", "persistence", "tracked_velocity", "constant_velocity",
                                                       "true_motion", "teacher-10", "teacher-1", "student-central",
                                                       "student-1"]
    assert [row["nfe"] for row in report["rows"]] == [0, 0, 0, 0, 0, 10, 1, 0, 1]
    assert report["protocol"] == "occworld-strict" and report["ego"] == "G"
    for row in report["rows"]:
        assert all(0 <= value <= 1 for value in row["iou"] + row["miou"])
    stages = {"autoencoder", "landing", "motion", "motion_flow", "mean", "teacher", "student_motion", "distill",
              "evaluate"}
    assert stages <= set(report["seconds"])
    figure("recall", report["support"]["recall"], above=0.9)
    rows = {row["name"]: row for row in report["ensembles"]["rows"]}
    assert rows["student-central"]["diversity"] == 0 < rows["teacher-10"]["diversity"]  # none below: do samples differ


def test_a_report_from_raw_sweeps_lies_in_a_folder_of_its_own(folder):
    """With a row of a car that perceives nothing, and none that is told boxes but the reference."""
    seen, perceived = (json.loads((folder / "run" / place / "report.json").read_text()) for place in ("", "lidar"))
    assert [row["name"] for row in perceived["rows"]] == [
        "persistence_raw", "copy", "persistence", "tracked_velocity", "constant_velocity", "true_motion", "teacher-10",
        "teacher-1", "student-central", "student-1"]
    rows = {row["name"]: row for row in perceived["rows"]}
    assert rows["constant_velocity"]["iou"] == [None] * 3 and perceived["windows"]["input"] == "lidar"
    assert seen["windows"]["input"] == "occupancy" and perceived["windows"]["count"] == seen["windows"]["count"]
    for name in ("persistence_raw", "persistence", "student-1"):
        assert all(0 <= value <= 1 for value in rows[name]["iou"] + rows[name]["miou"])
    assert rows["persistence_raw"]["movable_iou"] == [0] * 3 and (folder / "run/lidar/forecast.npz").is_file()
    hindsight = next(row for row in seen["rows"] if row["name"] == "persistence")
    assert rows["persistence"]["iou"] != hindsight["iou"]


@pytest.mark.chaotic
def test_statistics_are_finite(folder):
    lines = [json.loads(line) for line in (folder / "run" / "stats.jsonl").read_text().splitlines()]
    assert {line["training"] for line in lines} == {"perception", "autoencoder", "landing", "motion", "motion_flow",
                                                    "mean", "teacher", "student_motion", "student"}
    assert all(math.isfinite(value) for line in lines for value in line.values() if not isinstance(value, str))


@pytest.mark.chaotic
def test_forecasts_repeat(folder):
    """The same seed gives the same table, to the last digit."""
    before = json.loads((folder / "run" / "report.json").read_text())["rows"]
    evaluate_run(config_in(folder))
    after = json.loads((folder / "run" / "report.json").read_text())["rows"]
    assert [row["iou"] + row["miou"] for row in before] == [row["iou"] + row["miou"] for row in after]


def test_a_log_with_another_configuration_is_refused(folder):
    with pytest.raises(InputError, match="checkpoint 6, configured 4"):
        evaluate_run(config_in(folder, "data.horizon=4"))


def test_pictures(folder):
    open3d_error = None
    from occflow.viewing.source import draw_record

    try:
        paths = list(draw_record(folder / "run" / "forecast.npz", folder / "run", config_in(folder)["view"]))
    except InputError as error:
        open3d_error = str(error)
    if open3d_error:
        pytest.skip(open3d_error)
    assert [path.name for path in paths] == ["forecast.html", "glance.png", "forecast.png", "forecast.gif"]
    assert all(path.stat().st_size > 10_000 for path in paths)


def test_a_real_recording(folder, drive, tmp_path):
    """tools/forecast.py's job on a log that the networks never saw."""
    config = config_in(folder, "log=pandaset", f"log.root={drive['root']}",
                       f"forecast.checkpoint={folder}/run/student.safetensors", f"forecast.run_dir={tmp_path}/real",
                       "eval.teacher_steps=[1]")
    run_dir, table = forecast_log(config)
    report = json.loads((run_dir / "report.json").read_text())
    rows = {row["name"]: row for row in report["rows"]}
    assert report["windows"]["count"] == 8 and "student-1" not in table and "ensembles" not in report
    assert table.splitlines()[-1].startswith("To believe here, from input `occupancy`: ")
    assert list(rows)[-2:] == ["true_motion", "student-central"]
    record = load_forecasts(run_dir / "forecast.npz")
    assert "student-central" in record.forecasts and not record.samples
    assert rows["persistence"]["iou"][0] > 0.7 > rows["copy"]["iou"][0]
    sampled = {**config, "forecast": {**config["forecast"], "samples": 3}}
    run_dir, table = forecast_log(sampled)
    report = json.loads((run_dir / "report.json").read_text())
    assert [row["name"] for row in report["rows"]][-3:] == ["student-central", "teacher-1", "student-1"]
    assert report["ensembles"]["samples"] == 3 and "student-1" in table.splitlines()[-1]
    record = load_forecasts(run_dir / "forecast.npz")
    assert {name: len(futures) for name, futures in record.samples.items()} == {"teacher-1": 3, "student-1": 3}


@pytest.mark.chaotic
def test_the_autoencoder_alone_is_judged_on_held_out_frames(folder, figure):
    path, table = train_autoencoder(config_in(folder))
    found = json.loads((path.parent / "reconstruction.json").read_text())
    figure("IoU", found["0"]["iou"], above=0.5)
    _, store, model = with_autoencoder(config_in(folder))
    clear, disturbed, drowned = (reconstruction(model.eval(), held_out_frames(store), noise) for noise in (0, 0.3, 3))
    assert found == {"0": clear, "0.3": disturbed}
    figure("share of the mIoU that strong noise leaves", drowned["miou"] / clear["miou"], below=0.9)
    assert f"| 0 | {100 * found['0']['iou']:.1f} |" in table
