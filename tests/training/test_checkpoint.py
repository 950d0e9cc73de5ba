"""Checkpoints: exact round trip; other configurations and broken files are refused in one line."""

import dataclasses
import json

import pytest
import torch

from occflow.errors import InputError
from occflow.models.forecaster import FlowForecaster, ForecasterSettings
from occflow.models.settings import settings_from_record
from occflow.training.checkpoint import load_forecaster, load_weights, save_checkpoint, settings_record


@pytest.fixture()
def saved(small_settings, tmp_path):
    torch.manual_seed(0)
    forecaster, path = FlowForecaster(small_settings), tmp_path / "teacher.safetensors"
    save_checkpoint(path, forecaster, "teacher", small_settings, {"seed": 0})
    return forecaster, path


def other(settings: ForecasterSettings) -> ForecasterSettings:
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
        load_weights(path, FlowForecaster(other(small_settings)), ("teacher",), other(small_settings))


def test_another_kind_is_named(saved):
    with pytest.raises(InputError, match="kind 'teacher', wanted student"):
        load_forecaster(saved[1], ("student",))


@pytest.mark.parametrize("damage", ["missing", "no record", "truncated", "garbage record", "incomplete record"])
def test_broken_checkpoints(saved, damage):
    path = saved[1]
    record = path.with_suffix(".json")
    if damage == "missing":
        path.unlink()
    elif damage == "no record":
        record.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "garbage record":
        record.write_text("not json")
    else:
        record.write_text(json.dumps({"kind": "teacher", "settings": {"grid": 3}}))
    with pytest.raises(InputError) as error:
        load_forecaster(path, ("teacher",))
    assert str(path.with_suffix("")) in str(error.value) and "\n" not in str(error.value)
