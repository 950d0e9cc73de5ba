"""Checkpoints: exact round trip; other configurations and broken files are refused in one line."""

import dataclasses
import json
import os
from pathlib import Path

import pytest
import torch
from fuzzing.edits import edited
from fuzzing.judging import digest
from safetensors.torch import save_file

from occflow.errors import InputError
from occflow.forecasting.checkpoint import (
    load_forecaster,
    load_weights,
    read_checkpoint,
    save_checkpoint,
    settings_record,
)
from occflow.models.flow_model import FlowModel
from occflow.models.preparation import ModelSettings
from occflow.models.settings import settings_from_record
from occflow.weights_file import read_weights, write_weights


@pytest.fixture()
def saved(small_settings, tmp_path):
    torch.manual_seed(0)
    forecaster, path = FlowModel(small_settings), tmp_path / "teacher.safetensors"
    save_checkpoint(path, forecaster, "teacher", small_settings, {"seed": 0})
    return forecaster, path


def other(settings: ModelSettings) -> ModelSettings:
    return dataclasses.replace(settings, num_horizon=4)


def test_round_trip(saved):
    forecaster, path = saved
    loaded = load_forecaster(path, ("teacher",))
    assert loaded.settings == forecaster.settings
    assert all(torch.equal(a, b) for a, b in zip(forecaster.state_dict().values(), loaded.state_dict().values()))


def test_settings_survive_json(small_settings):
    assert settings_from_record(settings_record(small_settings)) == small_settings


def test_another_configuration_is_named(saved, small_settings):
    _, path = saved
    with pytest.raises(InputError, match="num_horizon: checkpoint 3, configured 4"):
        load_weights(path, FlowModel(other(small_settings)), ("teacher",), other(small_settings))


def test_another_kind_is_named(saved):
    with pytest.raises(InputError, match="kind 'teacher', wanted student"):
        load_forecaster(saved[1], ("student",))


@pytest.mark.parametrize("damage", ["missing", "truncated", "garbage record", "another record", "deep record"])
def test_broken_checkpoints(saved, damage):
    path = saved[1]
    record = path.with_suffix(".json")
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "garbage record":
        record.write_text("not json")
    elif damage == "another record":
        record.write_text(json.dumps({"kind": "teacher", "settings": {"grid": 3}}))
    else:
        record.write_text("[" * 10_000_000)
    with pytest.raises(InputError) as error:
        load_forecaster(path, ("teacher",))
    assert str(path.with_suffix("")) in str(error.value) and "\n" not in str(error.value)


def test_weights_hold_their_own_record(saved):
    """A copy of the one file is a whole checkpoint."""
    forecaster, path = saved
    path.with_suffix(".json").unlink()
    assert load_forecaster(path, ("teacher",)).settings == forecaster.settings


def test_a_record_that_is_not_of_these_weights_is_refused(saved):
    """Whichever is the older one: two trainings are never mixed up."""
    _, path = saved
    record = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**record, "config": {"seed": 1}}))
    with pytest.raises(InputError, match=r"teacher.json: is not the record of teacher.safetensors "
                                         r"\(config.seed: here 1, there 0\); remove it"):
        load_forecaster(path, ("teacher",))


class Crash(BaseException):
    """What no writer expects."""


@pytest.mark.parametrize("lasting", range(6))
def test_a_crash_while_a_checkpoint_is_replaced_leaves_a_whole_one(saved, small_settings, monkeypatch, lasting):
    """After so many steps of the file system: the former or the new weights, with their own record."""
    former, path = saved
    torch.manual_seed(1)
    new, left = FlowModel(small_settings), [lasting]

    def counted(function):
        def call(*arguments, **options):
            if not left[0]:
                raise Crash
            left[0] -= 1
            return function(*arguments, **options)
        return call

    with monkeypatch.context() as patch:
        for place, name in ((os, "replace"), (os, "fsync"), (Path, "write_text")):
            patch.setattr(place, name, counted(getattr(place, name)))
        with pytest.raises(Crash):
            save_checkpoint(path, new, "teacher", small_settings, {"seed": 1})
    found = read_checkpoint(path)
    expected = {0: former, 1: new}[found.record["config"]["seed"]].state_dict()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in expected.items())
    assert load_forecaster(path, ("teacher",))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(saved, small_settings, value):
    """When they are read, and when they would be written: what stood there stands."""
    forecaster, path = saved
    before = path.read_bytes()
    forecaster.mean.history_in.weight.data[0, 0] = value
    with pytest.raises(InputError, match=r"not finite \(tensor mean.history_in.weight\); nothing was written"):
        save_checkpoint(path, forecaster, "teacher", small_settings, {"seed": 0})
    assert path.read_bytes() == before
    forge(path, tensors=forecaster.state_dict())
    with pytest.raises(InputError, match=r"teacher.safetensors: weights are not finite \(tensor mean.history_in"):
        load_forecaster(path, ("teacher",))


def forge(path: Path, tensors=None, **changes) -> None:
    """Rewrite a checkpoint with all its digests right; `changes` are values at dotted keys of the record."""
    record, found = read_weights(path)
    found = {name: tensor.clone() for name, tensor in found.items()}
    for key, value in changes.items():
        place, (*keys, last) = record, key.split(".")
        for name in keys:
            place = place[name]
        place[last] = value
    write_weights(path, found if tensors is None else tensors, record)
    path.with_suffix(".json").unlink(missing_ok=True)


HUGE = 10**9


@pytest.mark.parametrize("change", [
    {"format": 1}, {"format": True}, {"format": "2"}, {"kind": "picture"}, {"kind": ["teacher"]}, {"settings": []},
    {"config": None}, {"network": "posterior"}, {"network": {"kind": "posterior"}}, {"network": {"kind": "unknown"}},
    {"network": {"kind": "transition", "blocks": HUGE}}, {"network": {"kind": "transition", "inner_steps": HUGE}},
    {"network": {"kind": "transition", "blocks": "1"}}, {"teacher": 3},
    {"settings.history_channels": HUGE}, {"settings.history_channels": 8.5}, {"settings.history_channels": True},
    {"settings.history_channels": 0}, {"settings.history_channels": 10**30}, {"settings.num_history": HUGE},
    {"settings.num_horizon": 0}, {"settings.grid.shape": [HUGE] * 3}, {"settings.grid.shape": [20, 18]},
    {"settings.grid.voxel_size_m": -1.0}, {"settings.grid": 3}, {"settings.autoencoder.widths": [HUGE] * 3},
    {"settings.autoencoder.strides": [[HUGE] * 3, [1, 1, 2]]}, {"settings.autoencoder.strides": []},
    {"settings.autoencoder.latent_channels": "6"}, {"settings.mean_trunk.blocks": [HUGE] * 3},
    {"settings.mean_trunk.widths": [8, 12]}, {"settings.velocity_trunk.widths": [8, 12, HUGE]},
    {"settings.support.level_strides": [[2, 2, 1]] * 10**4}, {"settings.support.level_strides": [[0, 2, 1], [2, 2, 2]]},
    {"settings.support.reach_m_per_s": 1e300}, {"settings.frame_interval_s": 0.0}, {"settings.keep_within": -1.0},
    {"settings.base": "unknown"}, {"settings.fancy": 1}, {"settings.support.fancy": 1}, {"settings.mean_trunk": None}])
def test_what_a_forged_record_claims_is_refused_in_one_line(saved, change):
    """Before there is a network of such a size; the checksums of these files are right."""
    path = saved[1]
    forge(path, **change)
    with pytest.raises(InputError) as error:
        load_forecaster(path, ("teacher",))
    assert str(path) in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize("change", ["shape", "type", "missing", "another"])
def test_weights_of_another_network_are_refused(saved, change):
    forecaster, path = saved
    tensors = dict(forecaster.state_dict())
    if change == "shape":
        tensors["mean.history_in.weight"] = torch.zeros(3, 3)
    elif change == "type":
        tensors["mean.history_in.weight"] = tensors["mean.history_in.weight"].double()
    elif change == "missing":
        del tensors["mean.history_in.weight"]
    else:
        tensors["mean.another"] = torch.zeros(3)
    forge(path, tensors=tensors)
    for load in (lambda: load_forecaster(path, ("teacher",)),
                 lambda: load_weights(path, forecaster, ("teacher",), forecaster.settings)):
        with pytest.raises(InputError, match=r"not those of its settings \(tensor mean.(history_in.weight|another)"):
            load()


@pytest.mark.parametrize("seed", range(4))
def test_no_edit_of_the_files_changes_what_is_loaded(saved, seed):
    """Random edits of weights or record: refused in one line, or loaded as they were."""
    path, refused = saved[1], 0
    whole, files = read_checkpoint(path), (path, path.with_suffix(".json"))
    contents, sound = [file.read_bytes() for file in files], digest(whole.tensors)
    for number in range(60):
        which = number % 2
        files[which].write_bytes(edited(contents[which], f"checkpoint {seed}", ("bytes",), number).content)
        try:
            found = read_checkpoint(path)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error) and path.stem in str(error)
        else:
            assert found.record == whole.record and digest(found.tensors) == sound
        files[which].write_bytes(contents[which])
    assert refused > 40


LATER = ("base", "keep_within", "stays", "motion")  # settings that older checkpoints do not name


def test_what_was_written_before_there_were_motions_still_loads(saved, small_settings):
    forecaster, path = saved
    record, tensors = read_weights(path)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    record["settings"] = {name: value for name, value in record["settings"].items() if name not in LATER}
    write_weights(path, tensors, record)
    path.with_suffix(".json").unlink()
    loaded = load_forecaster(path, ("teacher",))
    assert loaded.settings == small_settings and loaded.motion is None
    load_weights(path, FlowModel(small_settings), ("teacher",), small_settings)
    bodies = dataclasses.replace(small_settings, base="bodies")
    with pytest.raises(InputError, match="base: checkpoint tracked, configured bodies"):
        load_weights(path, FlowModel(bodies), ("teacher",), bodies)


@pytest.mark.parametrize("change", [{"num_history": HUGE}, {"num_horizon": HUGE}, {"motion.channels": HUGE},
                                    {"motion.channels": 20, "motion.heads": 3}, {"motion.blocks": HUGE},
                                    {"motion.blocks": -1}, {"motion.heads": 0}, {"stays": "yes"}, {"motion.fancy": 1},
                                    {"stays": True}, {"motion.blocks": 1}])
def test_what_a_forged_record_claims_of_the_motions_is_refused_in_one_line(small_settings, tmp_path, change):
    settings, path = dataclasses.replace(small_settings, base="bodies"), tmp_path / "teacher.safetensors"
    save_checkpoint(path, FlowModel(settings), "teacher", settings, {})
    forge(path, **{f"settings.{name}": value for name, value in change.items()})
    with pytest.raises(InputError) as error:
        load_forecaster(path, ("teacher",))
    assert str(path) in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 500


def test_what_was_written_before_records_were_in_the_header_is_refused(saved):
    forecaster, path = saved
    save_file(forecaster.state_dict(), str(path))
    path.with_suffix(".json").write_text(json.dumps({"format": 1, "kind": "teacher"}))
    with pytest.raises(InputError, match="teacher.safetensors: not a checkpoint of format 2.*train the checkpoint"):
        load_forecaster(path, ("teacher",))


def test_the_weights_that_come_with_the_project_are_whole():
    folder = Path(__file__).resolve().parents[2] / "pretrained"
    coder, teacher, student = (read_checkpoint(folder / f"{name}.safetensors")
                               for name in ("autoencoder", "teacher", "student"))
    assert student.record["teacher"] == teacher.record["weights"] and load_forecaster(student.path, ("student",))
    assert all(torch.equal(teacher.tensors[f"autoencoder.{name}"], tensor) for name, tensor in coder.tensors.items())
    assert all((folder / f"{name}.json").is_file() for name in ("autoencoder", "teacher", "student"))
