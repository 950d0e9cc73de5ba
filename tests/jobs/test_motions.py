"""The motions of bodies in the jobs: their checkpoint, logs that cannot teach them, what goes on, students."""

from dataclasses import replace

import numpy as np
import pytest
from small_bodies import MOTION, SETTINGS, Windows, disturbed, forecaster, same, street

from occflow.command_line import compose_config
from occflow.errors import InputError
from occflow.forecasting.checkpoint import load_forecaster, read_checkpoint, save_checkpoint
from occflow.forecasting.networks import StudentForecaster
from occflow.jobs import train as train_jobs
from occflow.jobs.train import distill_teacher, train_regression, train_teacher, with_motions
from occflow.models.student_networks import TransitionNetwork
from studies.forecaster.study import changed

NONE_KNOWN, NO_BODIES = "no boxes to learn the motions of bodies from", "no bodies to distil"
FEW = {f"train.{stage}.{name}": value for stage in ("motion", "motion_flow", "mean", "teacher", "regression")
       for name, value in (("steps", 2), ("windows", 1), ("learning_rate", 0.02)) if (stage, name) != (
           "regression", "windows")}
FEW |= {"distill.student.steps": 1, "distill.motion.student.steps": 2, "distill.motion.windows": 1,
        "distill.auxiliary_warmup": 1, "train.perceived_share": 0.0, "distill.perceived_share": 0.0,
        "train.crop.voxels": 0, "distill.crop.voxels": 0, "train.window_stride": 1, "distill.window_stride": 1}


@pytest.fixture(scope="module")
def composed():
    return {method: compose_config(["workers=1", "device=cpu", f"distill={method}"])
            for method in ("mfd", "transition")}


@pytest.fixture()
def config(composed, tmp_path):
    """config({dotted key: value}): of short trainings in a folder of their own, which holds an autoencoder."""
    save_checkpoint(tmp_path / "autoencoder.safetensors", forecaster().autoencoder, "autoencoder", SETTINGS, {})
    return lambda changes=None, method="mfd": changed(composed[method], {"run_dir": str(tmp_path), **FEW,
                                                                        **(changes or {})})


@pytest.fixture()
def on(monkeypatch):
    """on(*windows): what the trainings then learn from; settings of other networks by name."""
    def put(*windows, **settings) -> None:
        monkeypatch.setattr(train_jobs, "open_configured_store", lambda config: None)
        monkeypatch.setattr(train_jobs, "configured_windows", lambda config, store: Windows(windows))
        monkeypatch.setattr(train_jobs, "settings_from_config", lambda data, model: replace(SETTINGS, **settings))
    return put


def test_motions_are_learnt_once_and_refused_of_other_settings(config, on, tmp_path, monkeypatch):
    on(street())
    first = with_motions(config())[2].motion
    path, untrained = tmp_path / "motion.safetensors", forecaster().motion
    assert read_checkpoint(path).record["kind"] == "motion" and not (tmp_path / "resume").exists()
    assert not same(first.mean, untrained.mean) and not same(first.velocity, untrained.velocity)
    assert not any(parameter.requires_grad for parameter in first.parameters()) and not first.training

    def again(*arguments) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(train_jobs.motion_training, "train_motion_mean", again)
    assert same(with_motions(config())[2].motion, first)
    on(street(), motion=replace(MOTION, channels=32))
    with pytest.raises(InputError, match="motion.channels: checkpoint 16, configured 32.*motion.safetensors it is"):
        with_motions(config())


def test_a_teacher_of_other_motions_is_told(config, on, tmp_path):
    on(street())
    train_teacher(config())
    other = disturbed(forecaster().motion)
    save_checkpoint(tmp_path / "motion.safetensors", other, "motion", SETTINGS, {})
    with pytest.raises(InputError, match="another motion than motion.safetensors.*train.replace=true"):
        train_teacher(config())
    train_teacher(config({"train.replace": True}))
    assert same(load_forecaster(tmp_path / "teacher.safetensors", ("teacher",)).motion, other)


def test_a_student_holds_the_student_of_the_motions(config, on, tmp_path):
    on(street())
    teacher, student = (load_forecaster(job(config()), (kind,)) for job, kind in ((train_teacher, "teacher"),
                                                                                  (distill_teacher, "student")))
    assert same(teacher.motion.mean, student.motion.mean) and not same(teacher.motion.velocity, student.motion.velocity)
    stages = {"motion", "motion_flow", "mean", "teacher", "student_motion", "student"}
    text = (tmp_path / "stats.jsonl").read_text()
    assert all(f'"training": "{stage}"' in text for stage in stages) and not (tmp_path / "resume").exists()
    twin = load_forecaster(train_regression(config()), ("regression",))
    assert same(twin.motion, teacher.motion)


@pytest.mark.parametrize("kind", ["no boxes", "no bodies"])
def test_a_log_that_cannot_teach_them_is_told_in_one_line_and_trains_on(config, on, tmp_path, capsys, kind):
    """Of no body at all a student of any method starts and ends at the teacher, and can be loaded."""
    window = street(names=()) if kind == "no bodies" else street(annotated=())
    on(window)
    teacher = load_forecaster(train_teacher(config(method="transition")), ("teacher",))
    assert capsys.readouterr().out.count(NONE_KNOWN) == 1 and not (tmp_path / "motion.safetensors").exists()
    assert same(teacher.motion, forecaster().motion)
    student = load_forecaster(distill_teacher(config(method="transition")), ("student",))
    assert capsys.readouterr().out.count(NO_BODIES) == (kind == "no bodies")
    assert isinstance(student.motion.velocity, TransitionNetwork)
    assert kind == "no boxes" or same(student.motion.velocity.base, teacher.motion.velocity)
    made = StudentForecaster(student, few_steps="inner").forecast(street().task, 0)
    assert len(made.frames) == 3 and all(np.diff(frame.flat).min() > 0 for frame in made.frames)


def test_trainings_go_on_from_the_motions_that_they_start_from(config, on, tmp_path, capsys):
    """And keep these where the log has no boxes."""
    start = disturbed(forecaster(), 0.02)
    save_checkpoint(tmp_path / "start.safetensors", start, "teacher", SETTINGS, {})
    changes = {"train.start": str(tmp_path / "start.safetensors")}
    on(street(annotated=()))
    assert same(with_motions(config(changes))[2].motion, start.motion) and NONE_KNOWN in capsys.readouterr().out
    on(street())
    weights, before = with_motions(config(changes))[2].motion.state_dict(), start.motion.state_dict()
    away = max(float((weights[name] - before[name]).abs().max()) for name in before if name != "fastest_m_per_s")
    assert 0 < away < 0.1  # two short steps from there
