"""Checkpoints that stand: left as they are, replaced by name only, and students told from those of another teacher."""

import copy

import pytest
import torch
from small_perception import small_perception

from occflow.command_line import compose_config
from occflow.errors import InputError
from occflow.forecasting.checkpoint import read_checkpoint, save_checkpoint
from occflow.forecasting.networks import Sampler
from occflow.forecasting.rows import checkpoint_forecasters, rows_of, student_to_show
from occflow.jobs import train as train_jobs
from occflow.jobs.sources import perceiving
from occflow.jobs.standing import distilled_already, trained_already
from occflow.jobs.train import distill_teacher, train_regression, train_teacher
from occflow.models.flow_model import FlowModel
from occflow.training.optimiser import OptimiserSettings, Trainer
from occflow.training.run import ResumeState, TrainingRun, state_path
from studies.forecaster.study import changed


@pytest.fixture(scope="module")
def composed():
    return compose_config(["workers=1", "device=cpu"])


@pytest.fixture()
def config(composed, tmp_path):
    """config({dotted key: value}): of a run in a folder of its own."""
    return lambda changes=None: changed(composed, {"run_dir": str(tmp_path), **(changes or {})})


@pytest.fixture()
def trainings(monkeypatch, small_settings):
    """The trainings without their work, the last training's networks follow from the seed; the names of those run."""
    made, coder = [], FlowModel(small_settings).autoencoder.state_dict()

    def forecaster(config) -> FlowModel:
        torch.manual_seed(config["seed"])
        found = FlowModel(small_settings)
        found.autoencoder.load_state_dict(coder)
        return found

    def with_autoencoder(config):
        run, found = train_jobs.training_run(config, "train"), forecaster(config)
        train_jobs.save_once(run.run_dir / "autoencoder.safetensors", found.autoencoder, "autoencoder", small_settings,
                             config)
        return run, None, found

    def flow(forecaster, feed, values, seed, run, held_out=None) -> None:
        made.append("teacher")
        torch.nn.init.normal_(forecaster.velocity.out.weight)

    def distill(forecaster, feed, method, values, seed, run, start=None, teacher_map=None):
        made.append(values["checkpoint"])
        assert (teacher_map is not None) == method.needs_map
        if start is not None:
            forecaster.velocity = start
        return copy.deepcopy(forecaster)

    monkeypatch.setattr(train_jobs, "with_autoencoder", with_autoencoder)
    monkeypatch.setattr(train_jobs, "settings_from_config", lambda data, model: small_settings)
    monkeypatch.setattr(train_jobs, "configured_feed", lambda *arguments: None)
    monkeypatch.setattr(train_jobs, "distillation_feed", lambda *arguments: None)
    monkeypatch.setattr(train_jobs.teacher_training, "train_mean", lambda *arguments: None)
    monkeypatch.setattr(train_jobs.teacher_training, "train_flow", flow)
    monkeypatch.setattr(train_jobs.teacher_training, "train_regression",
                        lambda twin, *arguments: made.append("regression") or twin)
    monkeypatch.setattr(train_jobs, "distill", distill)
    return made


def test_what_is_finished_is_left_as_it_is(config, trainings, tmp_path, capsys):
    for job, name in ((train_teacher, "teacher"), (train_regression, "regression"), (distill_teacher, "student")):
        path = job(config())
        content = path.read_bytes()
        assert job(config({"train.save_seconds": 9, "train.tensorboard": True, "workers": 2,
                            "train.feed_workers": 2})) == path
        assert path.read_bytes() == content and f"{path}: is there already" in capsys.readouterr().out
        assert trainings.pop() == name and not trainings


@pytest.mark.parametrize(("job", "changes", "named"), [
    (train_teacher, {"seed": 1}, "seed: checkpoint 0, configured 1"),
    (train_teacher, {"train.mean.steps": 7}, "train.mean.steps: checkpoint 1500, configured 7"),
    (train_regression, {"train.regression.steps": 7}, "train.regression.steps"),
    (distill_teacher, {"distill.student.steps": 7}, "distill.student.steps: checkpoint 60, configured 7")])
def test_another_one_is_replaced_by_name_only(config, trainings, job, changes, named):
    if job is distill_teacher:
        train_teacher(config())
    path = job(config())
    content = path.read_bytes()
    group = "distill" if job is distill_teacher else "train"
    with pytest.raises(InputError, match=rf"is there already.*{named}.*{group}.replace=true"):
        job(config(changes))
    assert path.read_bytes() == content
    job(config({**changes, f"{group}.replace": True}))
    assert path.read_bytes() != content


def test_the_trainings_of_other_checkpoints_do_not_matter(config, trainings):
    train_teacher(config())
    others = perceiving(config({"train.regression.steps": 7, "train.autoencoder.steps": 7}), "train")
    assert trained_already(train_teacher(config()), "teacher", others)


@pytest.mark.parametrize("job", [train_teacher, train_regression, distill_teacher])
def test_what_another_perception_network_perceived_for_is_another_one(config, trainings, job, tmp_path):
    if job is distill_teacher:
        train_teacher(config())
    path, seen = job(config()), small_perception(seed=1)
    save_checkpoint(tmp_path / "perception.safetensors", seen, "perception", seen.settings, {})
    with pytest.raises(InputError, match="is there already.*perceived_by: checkpoint"):
        job(config())
    group = "distill" if job is distill_teacher else "train"
    assert job(config({f"{group}.replace": True})) == path  # anew, and of this network
    blind = {"train.perceived_share": 0.0, "distill.perceived_share": 0.0, f"{group}.replace": True}
    job(config(blind))
    assert job(config({**blind, f"{group}.replace": False})) == path  # and without one nobody asks which


def test_a_teacher_of_another_autoencoder_is_refused(config, trainings, tmp_path, small_settings):
    train_teacher(config())
    torch.manual_seed(5)
    save_checkpoint(tmp_path / "autoencoder.safetensors", FlowModel(small_settings).autoencoder, "autoencoder",
                    small_settings, {})
    with pytest.raises(InputError, match="another autoencoder.*train.replace=true"):
        train_teacher(config())


def test_a_damaged_one_is_refused_with_the_remedy(config, trainings, tmp_path):
    path = train_teacher(config())
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match="teacher.safetensors: not a checkpoint.*train.replace=true"):
        train_teacher(config())
    assert train_teacher(config({"train.replace": True})) == path and read_checkpoint(path)


def test_a_student_of_the_teacher_before_is_not_taken_for_this_ones(config, trainings, small_settings, capsys):
    """Nor silently kept: it is told of, refused by an evaluation and by a distillation, left out of a forecast."""
    train_teacher(config())
    student = distill_teacher(config())
    samplers = [Sampler(2)]
    assert [row.name for row in rows_of(student, small_settings, samplers)] == ["student-central", "student-1"]
    names = [row.name for row in student_to_show(student, small_settings, samplers, with_samples=True)]
    assert names == ["student-central", "teacher-2", "student-1"]
    teacher = train_teacher(config({"seed": 1, "train.replace": True}))
    assert f"{student}: was distilled from the teacher before" in capsys.readouterr().out
    with pytest.raises(InputError, match="student.safetensors: was distilled from another.*distill.replace=true"):
        rows_of(student, small_settings, samplers)
    with pytest.raises(InputError, match="another teacher.*distill.replace=true"):
        distill_teacher(config())
    names = [row.name for row in student_to_show(student, small_settings, samplers, with_samples=True)]
    assert names == ["student-central", "student-1"] and f"{teacher}: is not the teacher" in capsys.readouterr().out
    distill_teacher(config({"seed": 1, "distill.replace": True}))
    assert read_checkpoint(student).record["teacher"] == read_checkpoint(teacher).record["weights"]
    assert not distilled_already(student.with_name("another.safetensors"), "0", config())


def test_a_student_goes_on_from_another_one(config, trainings, small_settings, tmp_path):
    train_teacher(config())
    torch.manual_seed(7)
    other = FlowModel(small_settings)
    save_checkpoint(tmp_path / "other.safetensors", other, "student", small_settings, {})
    student = distill_teacher(config({"distill.start": str(tmp_path / "other.safetensors")}))
    found = read_checkpoint(student).tensors
    assert all(torch.equal(found[f"velocity.{name}"], tensor) for name, tensor in other.velocity.state_dict().items())
    with pytest.raises(InputError, match="teacher.safetensors: is a checkpoint of kind 'teacher', wanted student"):
        distill_teacher(config({"distill.start": str(tmp_path / "teacher.safetensors"), "distill.replace": True}))


def test_a_map_of_the_teacher_is_a_student_of_it_that_learned_one(config, trainings, small_settings, tmp_path):
    teacher, path = read_checkpoint(train_teacher(config())).record["weights"], tmp_path / "map.safetensors"
    wanted = compose_config(["workers=1", "device=cpu", "distill=mfd_map", f"run_dir={tmp_path}",
                             f"distill.teacher_map={path}"])
    with pytest.raises(InputError, match="teacher_map: no file .*map.safetensors.*distill=lagrangian"):
        distill_teacher(wanted)
    for of, method, wrong in (("other", "lagrangian", "a student of another teacher"),
                              (teacher, "vsd", "of method 'vsd', which learns no flow map")):
        save_checkpoint(path, FlowModel(small_settings), "student", small_settings, {"distill": {"method": method}}, of)
        with pytest.raises(InputError, match=wrong):
            distill_teacher(wanted)
    save_checkpoint(path, FlowModel(small_settings), "student", small_settings, {"distill": {"method": "lagrangian"}},
                    teacher)
    assert distill_teacher(wanted).name == "student_mfd_map.safetensors"


def test_a_student_is_shown_by_its_centre_and_its_samples_come_on_request(config, trainings, small_settings):
    teacher = train_teacher(config())
    student = distill_teacher(config())
    assert [row.name for row in student_to_show(student, small_settings, [Sampler(2)])] == ["student-central"]
    teacher.unlink()
    names = [row.name for row in student_to_show(student, small_settings, [Sampler(2)], with_samples=True)]
    assert names == ["student-central", "student-1"]


def test_teacher_and_student_share_one_row_of_the_centre_where_the_records_say_so(config, trainings, small_settings,
                                                                                 tmp_path):
    teacher, student = train_teacher(config()), distill_teacher(config())
    asked = {"checkpoints": [teacher, student], "teacher_steps": [2], "teacher_samplers": []}
    names = [row.name for row in checkpoint_forecasters(asked, small_settings)[0]]
    assert names == ["teacher-2", "student-central", "student-1"]
    alone = checkpoint_forecasters({**asked, "checkpoints": [teacher]}, small_settings)[0]
    assert [row.name for row in alone] == ["teacher-central", "teacher-2"]
    (tmp_path / "other").mkdir()
    other = train_teacher(config({"seed": 1, "run_dir": str(tmp_path / "other")}))
    rows, models = checkpoint_forecasters({**asked, "checkpoints": [other, student]}, small_settings)
    assert [row.name for row in rows] == ["teacher-central", "teacher-2", "student-central", "student-1"]
    assert rows[0].model is rows[1].model and rows[2].model is rows[3].model and len(models) == 2


def test_a_state_stands_until_its_checkpoint_does(config, trainings, tmp_path, monkeypatch):
    """And is not taken away where another configuration's checkpoint is found to stand."""
    state = state_path(tmp_path, "teacher")

    def full_disk(path, *arguments) -> None:
        if path.name == "teacher.safetensors":
            raise InputError(f"{path}: cannot be written")

    def interrupted(forecaster, feed, values, seed, run: TrainingRun, held_out=None) -> None:
        trainer = Trainer(forecaster.velocity, OptimiserSettings(1, 1e-3, 1, 1.0, 0.9))
        ResumeState(run, run.log("teacher", 1, 1), {"network": trainer}, forecaster).save()

    monkeypatch.setattr(train_jobs.teacher_training, "train_flow", interrupted)
    with monkeypatch.context() as patch:
        patch.setattr(train_jobs, "save_checkpoint", full_disk)
        with pytest.raises(InputError, match="cannot be written"):
            train_teacher(config())
    assert state.is_file()
    train_teacher(config())
    assert not state.exists()
    with monkeypatch.context() as patch:
        patch.setattr(train_jobs, "save_checkpoint", full_disk)
        with pytest.raises(InputError, match="cannot be written"):
            train_teacher(config({"seed": 1, "train.replace": True}))
    train_teacher(config())
    assert state.is_file()
