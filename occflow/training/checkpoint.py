"""Checkpoints: weights in safetensors, and beside them NAME.json with the settings that shaped the networks."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from occflow.atomic import atomic_file, write_json
from occflow.errors import InputError
from occflow.models.forecaster import FlowForecaster, ForecasterSettings
from occflow.models.settings import settings_from_record, with_later_settings
from occflow.models.student_networks import around

FORMAT = 1


def settings_record(settings: ForecasterSettings) -> dict:
    """Settings as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(settings)))


WINDOW_SETTINGS = ("grid", "num_history", "num_horizon", "frame_interval_s")  # what windows a checkpoint is for
AUTOENCODER_SETTINGS = ("grid", "autoencoder")  # what an autoencoder depends on; the rest may change around it


def relevant_settings(kind: str, settings: ForecasterSettings) -> dict:
    """The settings that a checkpoint of this kind depends on."""
    record = settings_record(settings)
    return {name: record[name] for name in AUTOENCODER_SETTINGS} if kind == "autoencoder" else record


def save_checkpoint(path: Path, module: nn.Module, kind: str, settings: ForecasterSettings, resolved: dict) -> None:
    """Write PATH (safetensors) and its .json: kind, settings of the networks, the whole resolved configuration."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    write_json(path.with_suffix(".json"), {"format": FORMAT, "kind": kind, "config": resolved,
                                           "settings": relevant_settings(kind, settings), **student_record(module)})
    with atomic_file(path) as partial:  # after its record, so that weights never stand without one
        save_file(tensors, str(partial))


def student_record(module: nn.Module) -> dict:
    """What parts a student's network has around the teacher's; nothing for the others."""
    velocity = getattr(module, "velocity", None)
    return {"network": velocity.record()} if hasattr(velocity, "record") else {}


def read_record(path: Path) -> dict:
    """The .json beside a checkpoint.

    Raises:
        InputError: the checkpoint or its record is missing or unreadable.
    """
    record_path = Path(path).with_suffix(".json")
    for file in (Path(path), record_path):
        if not file.is_file():
            raise InputError(f"{file}: no such checkpoint file; train one with tools/train_teacher.py and "
                             "tools/distill_mfd.py, or run 'make demo'")
    try:
        record = json.loads(record_path.read_text())
        return {**record, "kind": record["kind"], "settings": with_later_settings(record["settings"])}
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{record_path}: not a checkpoint record; train the checkpoint again") from None


def load_weights(path: Path, module: nn.Module, kinds: tuple[str, ...], settings: ForecasterSettings) -> None:
    """Load a checkpoint of one of `kinds` into `module`.

    Raises:
        InputError: unreadable, of another kind, or made with other settings (the first difference is named).
    """
    record = read_record(path)
    _refuse_other_kind(path, record["kind"], kinds)
    _refuse(path, first_difference(record["settings"], relevant_settings(record["kind"], settings)))
    try:
        module.load_state_dict(load_file(str(path)))
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{path}: weights cannot be read ({reason}); train the checkpoint again") from None


def refuse_other_settings(path: Path, stored: ForecasterSettings, wanted: ForecasterSettings) -> None:
    """Raise InputError where a loaded checkpoint's settings are not the configured ones."""
    _refuse(path, first_difference(settings_record(stored), settings_record(wanted)))


def refuse_other_windows(path: Path, stored: ForecasterSettings, wanted: ForecasterSettings) -> None:
    """Raise InputError where a loaded checkpoint forecasts other windows than the configured ones; its networks may
    be of another size than those that group `model` would train."""
    stored, wanted = ({name: record[name] for name in WINDOW_SETTINGS}
                      for record in (settings_record(stored), settings_record(wanted)))
    _refuse(path, first_difference(stored, wanted))


def _refuse_other_kind(path: Path, kind: str, wanted: tuple[str, ...]) -> None:
    if kind not in wanted:
        raise InputError(f"{path}: is a checkpoint of kind '{kind}', wanted {' or '.join(wanted)}")


def _refuse(path: Path, difference: str | None) -> None:
    if difference:
        raise InputError(f"{path}: made with another configuration ({difference}); use the configuration beside "
                         "it, or train anew in another run_dir")


def first_difference(stored: dict, wanted: dict, prefix: str = "") -> str | None:
    """The first setting that differs, as "name: stored X, configured Y"; None where all agree."""
    for name in sorted(set(stored) | set(wanted)):
        a, b = stored.get(name), wanted.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            difference = first_difference(a, b, f"{prefix}{name}.")
            if difference:
                return difference
        elif a != b:
            return f"{prefix}{name}: checkpoint {a}, configured {b}"
    return None


def load_forecaster(path: Path, kinds: tuple[str, ...]) -> FlowForecaster:
    """A forecaster built from the settings beside the checkpoint itself, in evaluation mode."""
    record = read_record(path)
    _refuse_other_kind(path, record["kind"], kinds)
    try:
        settings = settings_from_record(record["settings"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{Path(path).with_suffix('.json')}: settings are incomplete; train the checkpoint again") \
            from None
    forecaster = FlowForecaster(settings)
    forecaster.velocity = around(forecaster.velocity, record.get("network"))
    load_weights(path, forecaster, kinds, settings)
    return forecaster.eval()
