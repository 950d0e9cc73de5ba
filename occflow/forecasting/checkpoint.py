"""Checkpoints: NAME.safetensors with the weights and, in its header, the record of what they are.

NAME.json beside it is that record again, for people and other programs: the file of the weights is whole without it.
Where it is there it must say the same, or the checkpoint is refused.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from typing_extensions import NotRequired, TypedDict

from occflow.atomic import write_json
from occflow.errors import InputError
from occflow.models.flow_model import FlowModel
from occflow.models.preparation import ModelSettings
from occflow.models.settings import settings_from_record, with_later_settings
from occflow.models.student_networks import around
from occflow.perception.network import PerceptionNetwork, PerceptionSettings
from occflow.records import as_json, bounded, conform, first_difference, one_line, read_json
from occflow.weights_file import read_record as read_header
from occflow.weights_file import read_weights, write_weights

FORMAT = 2
WINDOW_SETTINGS = ("grid", "num_history", "num_horizon", "frame_interval_s")  # what windows a checkpoint is for
PART_SETTINGS = {  # what a part of a forecaster depends on; the rest may change around it
    "autoencoder": ("grid", "autoencoder"),
    "motion": ("grid", "num_history", "num_horizon", "frame_interval_s", "motion"),
    "landing": ("grid", "num_history", "num_horizon", "frame_interval_s", "landing"),
    "support": ("grid", "num_history", "num_horizon", "frame_interval_s", "autoencoder", "support", "base", "motion")}
MAX_INNER_STEPS = 1000  # of a student's light head
AGAIN = "train the checkpoint again, or take an undamaged copy"


class CheckpointRecord(TypedDict):
    """What a checkpoint tells of itself.

    settings: of the networks; of a part of a forecaster those of PART_SETTINGS. config: the whole resolved
    configuration. network: the parts of a student's network around the teacher's (models.student_networks).
    teacher: the digest of the weights that a student was distilled from. weights: the digest of its own.
    """

    format: int
    kind: Literal["autoencoder", "motion", "landing", "support", "teacher", "student", "regression", "perception"]
    config: dict[str, Any]
    settings: dict[str, Any]
    network: NotRequired[dict[str, str | int]]
    teacher: NotRequired[str]
    weights: str


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read whole and is as it was written."""

    path: Path
    record: CheckpointRecord
    tensors: Mapping[str, Tensor]


def settings_record(settings: ModelSettings | PerceptionSettings) -> dict:
    """Settings as plain JSON values."""
    return as_json(dataclasses.asdict(settings))


def relevant_settings(kind: str, settings: ModelSettings | PerceptionSettings) -> dict:
    """The settings that a checkpoint of this kind depends on."""
    record = settings_record(settings)
    return {name: record[name] for name in PART_SETTINGS[kind]} if kind in PART_SETTINGS else record


def save_checkpoint(path: Path, module: nn.Module, kind: str, settings: ModelSettings | PerceptionSettings,
                    resolved: dict, teacher: str | None = None) -> None:
    """Write PATH (safetensors) and its .json: kind, settings of the networks, the whole resolved configuration.

    A crash leaves the former checkpoint or the new one, at worst without its .json.

    Args:
        teacher: the digest of the weights that a student was distilled from.

    Raises:
        InputError: weights that are not finite, or a file that cannot be written; what stood there stands.
    """
    path, tensors = Path(path), module.state_dict()
    resolved = json.loads(json.dumps(resolved, default=str), parse_constant=str)  # nan is no number of JSON
    _refuse_infinite(path, tensors, "nothing was written; train with a lower learning rate")
    beside = path.with_suffix(".json")
    record = write_weights(path, tensors, {
        "format": FORMAT, "kind": kind, "config": resolved, "settings": relevant_settings(kind, settings),
        **student_record(module), **({} if teacher is None else {"teacher": teacher})}, outdated=beside)
    write_json(beside, record)


def student_record(module: nn.Module) -> dict:
    """What parts a student's network has around the teacher's; nothing for the others."""
    velocity = getattr(module, "velocity", None)  # that of the motions has the same parts
    return {"network": velocity.record()} if hasattr(velocity, "record") else {}


def read_record(path: Path) -> CheckpointRecord:
    """What a checkpoint tells of itself, its weights unread.

    Raises:
        InputError: missing, of another format, or not the record that was written.
    """
    path = _existing(path)
    try:
        return _conforming(path, read_header(path))
    except ValueError as error:
        raise InputError(f"{path}: not a checkpoint of format {FORMAT} ({one_line(error)}); {AGAIN}") from None


def read_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint, verified whole.

    Raises:
        InputError: missing, of another format, not as it was written, or with weights that are not finite.
    """
    path = _existing(path)
    try:
        record, tensors = read_weights(path)
        checkpoint = Checkpoint(path, _conforming(path, record), tensors)
    except ValueError as error:
        raise InputError(f"{path}: not a checkpoint of format {FORMAT} ({one_line(error)}); {AGAIN}") from None
    _refuse_infinite(path, tensors, AGAIN)
    return checkpoint


def _existing(path: Path) -> Path:
    if not Path(path).is_file():
        raise InputError(f"{path}: no such checkpoint file; train one with train_teacher and "
                         "distill_mfd (a perception network with train_perception), or name another")
    return Path(path)


def _conforming(path: Path, record: dict) -> CheckpointRecord:
    """The record in a file's header, where it is one and the .json beside says the same.

    Raises:
        ValueError: a field that is missing or of another type.
        InputError: the .json beside is another one.
    """
    if record.get("format") != FORMAT:
        raise ValueError(f"it is of format {one_line(repr(record.get('format')))}")
    checked = conform(record, CheckpointRecord)
    beside, remedy = path.with_suffix(".json"), f"remove it, {path.name} holds its own"
    if beside.exists():
        difference = first_difference(read_json(beside, dict, remedy), record, ("here", "there"))
        if difference:
            raise InputError(f"{beside}: is not the record of {path.name} ({difference}); {remedy}")
    return {**checked, "settings": with_later_settings(checked["settings"])}


def _refuse_infinite(path: Path, tensors: Mapping[str, Tensor], remedy: str) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{path}: weights are not finite (tensor {one_line(name)}); {remedy}")


def load_weights(path: Path, module: nn.Module, kinds: tuple[str, ...],
                 settings: ModelSettings | PerceptionSettings) -> Checkpoint:
    """Load a checkpoint of one of `kinds` into `module`; returns what was read.

    Raises:
        InputError: unreadable, of another kind, or made with other settings (the first difference is named).
    """
    checkpoint = read_checkpoint(path)
    kind = checkpoint.record["kind"]
    _refuse_other_kind(path, kind, kinds)
    _refuse(path, first_difference(checkpoint.record["settings"], relevant_settings(kind, settings)))
    _fill(checkpoint, module)
    return checkpoint


def _fill(checkpoint: Checkpoint, module: nn.Module) -> None:
    _refuse_other_sizes(checkpoint, sizes_of(module))
    module.load_state_dict(checkpoint.tensors)


def _refuse_other_sizes(checkpoint: Checkpoint, wanted: Mapping[str, str]) -> None:
    found = {name: size_of(tensor) for name, tensor in checkpoint.tensors.items()}
    difference = first_difference(found, wanted, ("here", "of these settings"))
    if difference:
        raise InputError(f"{checkpoint.path}: its weights are not those of its settings (tensor {difference}); {AGAIN}")


def refuse_other_windows(path: Path, stored: ModelSettings, wanted: ModelSettings) -> None:
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


def load_forecaster(path: Path, kinds: tuple[str, ...], device: torch.device | str = "cpu") -> FlowModel:
    """A forecaster built from the settings that the checkpoint itself holds, on a device, in evaluation mode.

    Raises:
        InputError: unreadable, of another kind, or with settings that are not those of its weights.
    """
    return forecaster_of(read_checkpoint(path), kinds, device)


def forecaster_of(checkpoint: Checkpoint, kinds: tuple[str, ...], device: torch.device | str = "cpu"
                  ) -> FlowModel:
    """As `load_forecaster`, of a checkpoint that was read."""
    _refuse_other_kind(checkpoint.path, checkpoint.record["kind"], kinds)
    try:
        settings = settings_from_record(checkpoint.record["settings"])
        _refuse_more_parts(settings, checkpoint)
        sizes = sizes_of(unbuilt(lambda: _network(settings, checkpoint.record)))
    except (ValueError, InputError) as error:
        raise InputError(f"{checkpoint.path}: its settings are not usable ({one_line(error)}); {AGAIN}") from None
    _refuse_other_sizes(checkpoint, sizes)  # before there is memory for a network of whatever size
    forecaster = _network(settings, checkpoint.record)
    _fill(checkpoint, forecaster)
    return forecaster.to(device).eval()


def load_perception(path: Path, device: torch.device | str = "cpu") -> PerceptionNetwork:
    """The perception network of a checkpoint, on a device, in evaluation mode.

    Raises:
        InputError: unreadable, of another kind, or with settings that are not those of its weights.
    """
    checkpoint = read_checkpoint(path)
    _refuse_other_kind(checkpoint.path, checkpoint.record["kind"], ("perception",))
    try:
        settings = conform(dict(checkpoint.record["settings"]), PerceptionSettings)
        bounded(len(settings.widths), len(checkpoint.tensors), "number of levels", least=1)
        sizes = sizes_of(unbuilt(lambda: PerceptionNetwork(settings)))
    except (ValueError, InputError) as error:
        raise InputError(f"{path}: its settings are not usable ({one_line(error)}); {AGAIN}") from None
    _refuse_other_sizes(checkpoint, sizes)
    network = PerceptionNetwork(settings)
    _fill(checkpoint, network)
    return network.to(device).eval()


def _network(settings: ModelSettings, record: CheckpointRecord) -> FlowModel:
    forecaster = FlowModel(settings)
    forecaster.velocity = around(forecaster.velocity, record.get("network"))
    if forecaster.motion is not None:
        forecaster.motion.velocity = around(forecaster.motion.velocity, record.get("network"))
    return forecaster


def _refuse_more_parts(settings: ModelSettings, checkpoint: Checkpoint) -> None:
    """Raises ValueError where more parts are claimed than there are tensors: building them would take forever."""
    options, most = checkpoint.record.get("network", {}), len(checkpoint.tensors)
    for blocks in (*settings.mean_trunk.blocks, *settings.velocity_trunk.blocks, options.get("blocks", 1),
                   settings.motion.blocks):
        bounded(blocks, most, "number of blocks")
    bounded(len(settings.support.level_strides) + len(settings.autoencoder.strides), most, "number of levels")
    bounded(options.get("inner_steps", 1), MAX_INNER_STEPS, "inner_steps", least=1)


def refuse_other_teacher(path: Path, record: Mapping) -> None:
    """Raise InputError where a student lies beside another teacher than the one that it was distilled from."""
    if not of_teacher_beside(path, record):
        raise InputError(f"{path}: was distilled from another teacher than teacher.safetensors beside it; distil it "
                         "anew with distill.replace=true, or move one of them to another folder")


def of_teacher_beside(path: Path, record: Mapping) -> bool:
    """Whether a student's teacher is the one beside it, or there is no telling."""
    beside, own = Path(path).with_name("teacher.safetensors"), record.get("teacher")
    return own is None or not beside.is_file() or read_record(beside)["weights"] == own


class _WithoutValues(TorchFunctionMode):
    """Tensors are not filled (initialisations end in an underscore). The few numbers that networks count out are made
    as ever: without memory that would import a second's worth of torch."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, getattr(function, "__name__", "")
        if name == "arange":
            return function(*args, **{**kwargs, "device": "cpu"})
        if name.endswith("_") and not name.endswith("__") and not name.startswith("_"):
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)


def unbuilt(build: Callable[[], nn.Module]) -> nn.Module:
    """The network that `build` would make, its weights without memory or values.

    Raises:
        ValueError: sizes of which there can be no tensor.
    """
    try:
        with torch.device("meta"), _WithoutValues():
            return build()
    except (RuntimeError, TypeError, OverflowError) as error:
        raise ValueError(f"no network can be of such a size: {one_line(error)}") from None


def sizes_of(network: nn.Module) -> dict[str, str]:
    """Type and shape of every weight, by name."""
    return {name: size_of(tensor) for name, tensor in network.state_dict().items()}


def size_of(tensor: Tensor) -> str:
    """Type and shape, such as "float32[8, 3]"."""
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
