"""The support's head in the jobs: its checkpoint, what holds it, and weights that stand."""

from dataclasses import replace

import pytest
import torch
from small_bodies import SETTINGS, boxes_at, disturbed, frame_of, same, street

from occflow.errors import InputError
from occflow.forecasting.checkpoint import load_forecaster, read_checkpoint, save_checkpoint
from occflow.forecasting.rows import rows_of
from occflow.geometry import planar_pose
from occflow.jobs import train as train_jobs
from occflow.jobs.train import distill_teacher, train_regression, train_teacher, with_support
from occflow.models.flow_model import FlowModel
from occflow.models.support_head import KEEPS_ALL
from occflow.occupancy.windows import Window, WindowKey
from studies import support_head

HEADED = replace(SETTINGS, support=replace(SETTINGS.support, head_channels=4))
STAGES = ("motion", "motion_flow", "support", "mean", "teacher")
FEW = {"train.regression.steps": 1, "train.support.recall": 0.9, "model.support.head_channels": 4}


def drive() -> Window:
    """The street, of an ego that drives on into what nobody has seen."""
    frames = [frame_of(boxes_at(0.5 * (index - 1)), planar_pose(1.5 * index, 0.3 * index, 0.1 * index), 0.5 * index)
              for index in range(5)]
    return Window.of(WindowKey("street", 0), tuple(frames[:2]), tuple(frames[2:]))


@pytest.fixture()
def config(short_trainings):
    """config({dotted key: value}, settings, window)"""
    return lambda changes=None, settings=HEADED, window=None: short_trainings(
        window or drive(), settings, STAGES, {**FEW, **(changes or {})})


def test_a_head_is_learnt_once_and_refused_of_other_settings(config, tmp_path, monkeypatch):
    first, path = with_support(config())[2].support, tmp_path / "support.safetensors"
    assert read_checkpoint(path).record["kind"] == "support" and not (tmp_path / "resume").exists()
    assert float(first.threshold) > KEEPS_ALL and not any(one.requires_grad for one in first.parameters())

    def again(*arguments) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(train_jobs.support_training, "train_support", again)
    assert same(with_support(config())[2].support, first)
    wider = replace(HEADED, support=replace(HEADED.support, head_channels=8))
    with pytest.raises(InputError, match="head_channels: checkpoint 4, configured 8.*support.safetensors it is"):
        with_support(config(settings=wider))
    assert with_support(config(settings=SETTINGS))[2].support is None


def test_a_log_in_which_nothing_is_to_be_decided_is_told_in_one_line_and_trains_on(config, tmp_path, capsys):
    """Its car stands still and sees all that there is."""
    head = with_support(config(window=street()))[2].support
    assert capsys.readouterr().out.count("no site that the support's head could decide on") == 1
    assert float(head.threshold) == KEEPS_ALL and not (tmp_path / "support.safetensors").exists()


def test_teachers_students_and_twins_hold_the_head(config, tmp_path):
    teacher, student = (load_forecaster(job(config()), (kind,)) for job, kind in ((train_teacher, "teacher"),
                                                                                  (distill_teacher, "student")))
    twin = load_forecaster(train_regression(config()), ("regression",))
    text = (tmp_path / "stats.jsonl").read_text()
    assert '"training": "support"' in text and not (tmp_path / "resume").exists()
    assert same(student.support, teacher.support) and same(twin.support, teacher.support)
    assert float(teacher.support.threshold) > KEEPS_ALL
    save_checkpoint(tmp_path / "support.safetensors", disturbed(FlowModel(HEADED)).support, "support", HEADED, {})
    with pytest.raises(InputError, match="another support than support.safetensors.*train.replace=true"):
        train_teacher(config())


def test_weights_that_stand_get_a_head_and_keep_all_else(config, tmp_path, monkeypatch):
    """The student then belongs to the new teacher."""
    for job in (train_teacher, distill_teacher):
        job(config({"model.support.head_channels": 0}, SETTINGS))
    monkeypatch.setattr(support_head, "open_configured_store", lambda config: None)
    written = support_head.add_head(tmp_path / "teacher.safetensors", tmp_path / "new", config())
    assert [path.name for path in written] == ["teacher.safetensors", "student.safetensors"]
    records = [read_checkpoint(path).record for path in written]
    assert records[1]["teacher"] == records[0]["weights"]
    before = [read_checkpoint(tmp_path / path.name) for path in written]
    for path, old, record in zip(written, before, records):
        new, kind = read_checkpoint(path), record["kind"]
        assert all(torch.equal(new.tensors[name], tensor) for name, tensor in old.tensors.items())
        assert {name for name in new.tensors if name not in old.tensors} and record["kind"] == old.record["kind"]
        assert load_forecaster(path, (kind,)).settings == HEADED
        assert record["config"]["support_head"]["before"] == old.record["weights"]
    rows = rows_of(written[1], HEADED, [])
    assert len(rows[0].forecast(drive().task, 0).frames) == 3
    with pytest.raises(InputError, match="head of a teacher is trained, with model.support.head_channels=N"):
        support_head.add_head(tmp_path / "teacher.safetensors", tmp_path / "new",
                              config({"model.support.head_channels": 0}))
