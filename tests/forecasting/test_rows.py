"""Rows of an evaluation from checkpoints: what they are called, and what is refused."""

import dataclasses

import pytest
import torch

from occflow.errors import InputError
from occflow.forecasting.checkpoint import load_forecaster, read_record, save_checkpoint
from occflow.forecasting.forecast import is_tempered
from occflow.forecasting.networks import Sampler, TaskEncoder
from occflow.forecasting.rows import checkpoint_forecasters, load_any, reference_teacher, student_to_show
from occflow.weights_file import read_weights, write_weights


def values(*paths, **changes) -> dict:
    return {"checkpoints": [str(path) for path in paths], "teacher_steps": [2], "teacher_samplers": [], **changes}


@pytest.fixture()
def checkpoint(small_forecaster, small_settings, tmp_path):
    def make(name: str, kind: str):
        save_checkpoint(tmp_path / name, small_forecaster, kind, small_settings, {})
        return tmp_path / name

    return make


def test_every_kind_gives_its_rows(checkpoint, small_settings):
    paths = [checkpoint("teacher.safetensors", "teacher"), checkpoint("vsd.safetensors", "student"),
             checkpoint("regression.safetensors", "regression")]
    rows, models = checkpoint_forecasters(values(*paths, teacher_samplers=[{"steps": 3, "solver": "heun"}]),
                                          small_settings)
    assert [row.name for row in rows] == ["teacher-central", "teacher-2", "teacher-3-heun", "vsd-central", "vsd-1",
                                      "regression_ce"]
    assert [row.nfe for row in rows] == [0, 2, 6, 0, 1, 0] and len(models) == 3


@pytest.mark.parametrize("steps, names", [(1, ["s-central", "s-1"]), (2, ["s-central", "s-1", "s-2"])])
def test_a_student_takes_the_steps_that_it_was_distilled_for(small_forecaster, small_settings, tmp_path, steps, names):
    """One of MFD in one step takes no more; loaded by itself it takes as many as it learned."""
    path = tmp_path / "s.safetensors"
    save_checkpoint(path, small_forecaster, "student", small_settings,
                    {"distill": {"method": "mfd", "student_steps": steps}})
    rows = checkpoint_forecasters(values(path, student_steps=[1, 2]), small_settings)[0]
    assert [row.name for row in rows] == names
    assert load_any(path).nfe == steps and student_to_show(path, small_settings, with_samples=True)[-1].nfe == steps


def test_each_sampler_has_a_row_at_each_temperature_and_a_centre_one_alone(checkpoint, small_settings):
    paths = [checkpoint("teacher.safetensors", "teacher"), checkpoint("odd-at.safetensors", "student")]
    rows = checkpoint_forecasters(values(*paths, temperatures=[1, 0.5, 0.00001]), small_settings)[0]
    names = ["teacher-central", "teacher-2", "teacher-2-at0.5", "teacher-2-at1e-05",
             "odd-at-central", "odd-at-1", "odd-at-1-at0.5", "odd-at-1-at1e-05"]
    assert [row.name for row in rows] == names
    assert [is_tempered(name) for name in names] == [False, False, True, True] * 2
    assert len({id(row.encoder) for row in rows}) == 2  # a window is encoded once a checkpoint
    own = student_to_show(paths[1], small_settings, with_samples=True, temperature=0.5)[-1]
    assert (own.name, own.temperature) == ("student-1-at0.5", 0.5)
    with pytest.raises(InputError, match="temperature: 2 is not from 0"):
        checkpoint_forecasters(values(*paths, temperatures=[2]), small_settings)


def test_files_of_one_name_are_told_apart_by_their_folders(checkpoint, small_settings):
    paths = [checkpoint(f"seed{seed}/teacher.safetensors", "teacher") for seed in (0, 1)]
    names = [row.name for row in checkpoint_forecasters(values(*paths), small_settings)[0]]
    assert names == ["seed0/teacher-central", "seed0/teacher-2", "seed1/teacher-central", "seed1/teacher-2"]


def test_the_reference_is_the_first_teacher_or_that_of_a_student_alone(checkpoint, small_forecaster, small_settings,
                                                                       tmp_path):
    teacher, twin = checkpoint("teacher.safetensors", "teacher"), checkpoint("regression.safetensors", "regression")
    student, orphan = tmp_path / "student.safetensors", tmp_path / "elsewhere" / "student.safetensors"
    for path in (student, orphan):
        save_checkpoint(path, small_forecaster, "student", small_settings, {}, read_record(teacher)["weights"])
    rows = checkpoint_forecasters(values(student, teacher), small_settings)[0]
    found = reference_teacher([student, teacher], small_settings, 50, rows)
    own = next(row for row in rows if row.name == "teacher-2")
    assert (found.name, found.nfe) == ("teacher-50", 50)
    assert found.model is own.model and found.encoder is own.encoder  # loaded and encoded once
    alone = reference_teacher([student], small_settings, 7)
    assert alone.name == "teacher-7" and torch.equal(alone.model.velocity.out.weight, own.model.velocity.out.weight)
    assert reference_teacher([orphan, twin], small_settings, 50) is None  # nobody knows its teacher
    assert reference_teacher([teacher], small_settings, 0) is None
    torch.nn.init.normal_(small_forecaster.velocity.out.weight)
    checkpoint("teacher.safetensors", "teacher")
    assert reference_teacher([student], small_settings, 50) is None  # another lies beside it by now


def test_a_checkpoint_brings_networks_of_its_own(checkpoint, small_settings):
    """Only the windows are the configuration's: weights of another group `model` need not be named."""
    others = dataclasses.replace(small_settings, history_channels=24, keep_within=0.3)
    rows, models = checkpoint_forecasters(values(checkpoint("t.safetensors", "teacher")), others)
    assert models[0].settings == small_settings and len(rows) == 2


def test_an_autoencoder_alone_and_other_settings_are_refused(checkpoint, small_settings):
    with pytest.raises(InputError, match="kind 'autoencoder'"):
        checkpoint_forecasters(values(checkpoint("a.safetensors", "autoencoder")), small_settings)
    with pytest.raises(InputError, match="num_horizon"):
        checkpoint_forecasters(values(checkpoint("t.safetensors", "teacher")),
                               dataclasses.replace(small_settings, num_horizon=4))


@pytest.mark.parametrize("entry", [{"solver": "heun"}, {"steps": 2, "sovler": "heun"}, {"steps": 2, "solver": "rk4"},
                                   {"steps": 0}])
def test_bad_samplers_are_refused(entry, checkpoint, small_settings):
    with pytest.raises(InputError, match="eval"):
        checkpoint_forecasters(values(checkpoint("t.safetensors", "teacher"), teacher_samplers=[entry]),
                               small_settings)


def test_a_samplers_name_says_what_is_not_the_default():
    assert Sampler(10).name == "10"
    assert Sampler(5, "heun", 3.0, 1.5).name == "5-heun-shift3-guided1.5" and Sampler(5, "heun", 3.0, 1.5).nfe == 20


def test_checkpoints_written_before_a_setting_was_there_still_load(checkpoint, small_forecaster):
    path = checkpoint("t.safetensors", "teacher")
    record, tensors = read_weights(path)
    del record["settings"]["base"], record["settings"]["keep_within"]
    del record["settings"]["support"]["whole_grid"], record["settings"]["support"]["motion_compensation"]
    write_weights(path, {name: tensor.clone() for name, tensor in tensors.items()}, record,
                  outdated=path.with_suffix(".json"))
    loaded = load_forecaster(path, ("teacher",))
    assert loaded.settings == small_forecaster.settings
    assert all(torch.equal(a, b) for a, b in zip(loaded.state_dict().values(),
                                                 small_forecaster.state_dict().values()))


def test_the_rows_of_a_teacher_encode_a_window_once_and_forecast_as_if_alone(checkpoint, small_settings, street_window):
    path = checkpoint("t.safetensors", "teacher")
    together, _ = checkpoint_forecasters(values(path), small_settings)
    model, encoded = together[0].model, []
    observe = model.observe
    model.observe = lambda task: encoded.append(task) or observe(task)
    shared = [row.forecast(street_window.task, 3) for row in together]
    assert len(encoded) == 1 and shared[0].ms["encode"] == shared[1].ms["encode"]
    for row, one in zip(together, shared):
        row.encoder = TaskEncoder(model)
        alone = row.forecast(street_window.task, 3)
        assert all((a.flat == b.flat).all() and (a.labels == b.labels).all() for a, b in zip(one.frames, alone.frames))
    assert len(encoded) == 3
