"""The network that moves a present in the jobs: its checkpoint, what holds it, and weights of before."""

from dataclasses import replace

import pytest
from small_bodies import SETTINGS, disturbed, forecaster, same, street

from occflow.errors import InputError
from occflow.forecasting.checkpoint import load_forecaster, read_checkpoint, save_checkpoint, settings_record
from occflow.jobs import train as train_jobs
from occflow.jobs.train import distill_teacher, train_teacher, with_landing
from occflow.models.flow_model import FlowModel
from occflow.models.landing import LandingSettings
from occflow.models.settings import settings_from_record, with_later_settings

LANDING = replace(SETTINGS, landing=LandingSettings(4, 4, 6))
STAGES = ("landing", "motion", "motion_flow", "mean", "teacher")


@pytest.fixture()
def config(short_trainings):
    """config(settings)"""
    return lambda settings=LANDING: short_trainings(street(), settings, STAGES, {})


def test_it_is_learnt_once_and_refused_of_other_settings(config, tmp_path, monkeypatch):
    first, path = with_landing(config())[2].landing, tmp_path / "landing.safetensors"
    assert read_checkpoint(path).record["kind"] == "landing" and not (tmp_path / "resume").exists()
    assert not any(one.requires_grad for one in first.parameters())

    def again(*arguments) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(train_jobs.landing_training, "train_landing", again)
    assert same(with_landing(config())[2].landing, first)
    with pytest.raises(InputError, match="channels: checkpoint 4, configured 8.*landing.safetensors it is"):
        with_landing(config(settings=replace(LANDING, landing=LandingSettings(8, 4, 6))))
    assert with_landing(config(settings=SETTINGS))[2].landing is None


def test_teachers_and_students_hold_it(config, tmp_path):
    teacher, student = (load_forecaster(job(config()), (kind,)) for job, kind in ((train_teacher, "teacher"),
                                                                                  (distill_teacher, "student")))
    assert '"training": "landing"' in (tmp_path / "stats.jsonl").read_text()
    assert same(student.landing, teacher.landing) and float(teacher.landing.threshold) != 0.45
    save_checkpoint(tmp_path / "landing.safetensors", disturbed(FlowModel(LANDING)).landing, "landing", LANDING, {})
    with pytest.raises(InputError, match="another landing than landing.safetensors.*train.replace=true"):
        train_teacher(config())


def test_weights_of_before_move_voxels_as_a_whole(tmp_path):
    record = settings_record(SETTINGS)
    del record["landing"]
    assert settings_from_record(with_later_settings(record)) == SETTINGS
    assert load_forecaster_of(tmp_path).landing is None


def load_forecaster_of(folder):
    path = folder / "teacher.safetensors"
    save_checkpoint(path, forecaster(), "teacher", SETTINGS, {})
    return load_forecaster(path, ("teacher",))
