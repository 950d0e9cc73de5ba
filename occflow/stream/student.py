"""The student of a stream: the one that comes with the project, a named one, or the run's own, trained first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from occflow.errors import InputError
from occflow.forecasting.checkpoint import refuse_other_windows
from occflow.forecasting.networks import load_student
from occflow.jobs.sources import configured_device, ensure_log, ensure_store
from occflow.jobs.train import distill_mfd, train_teacher
from occflow.models.flow_model import FlowModel
from occflow.models.settings import settings_from_config


def ensure_student(config: Mapping) -> FlowModel:
    """The model of stream.checkpoint; a missing one is trained first where it is the run's own, on the embedded log.

    Raises:
        InputError: it is missing and another log is streamed, or it was trained with other settings.
    """
    checkpoint = Path(config["stream"]["checkpoint"])
    if not checkpoint.is_file():
        _refuse_unless_embedded(checkpoint, config)
        print(f"no student at {checkpoint}: training one first, as `make demo` does (log, occupancy, teacher, student; "
              "some ten minutes on two cores). After Ctrl-C the same command goes on where it stopped.", flush=True)
        _train(config)
    model = load_student(checkpoint, configured_device(config)).model
    refuse_other_windows(checkpoint, model.settings, settings_from_config(config["data"], config["model"]))
    return model


def _refuse_unless_embedded(checkpoint: Path, config: Mapping) -> None:
    if checkpoint != Path(config["run_dir"]) / "student.safetensors":
        raise InputError(f"stream.checkpoint: {checkpoint} does not exist; name a student of distill_mfd")
    if config["log"]["root"] != config["simulation"]["root"]:
        raise InputError(f"no student at {checkpoint}; run `realtime_demo "
                         f"stream.checkpoint={checkpoint}` without log= once (trains one on the embedded log), or name "
                         "one with stream.checkpoint=PATH")


def _train(config: Mapping) -> None:
    """What `make demo` runs to get a student, without the steps whose results are there."""
    if not Path(config["log"]["root"]).exists():
        ensure_log(config)
    ensure_store(config)
    if not (Path(config["run_dir"]) / "teacher.safetensors").is_file():
        train_teacher(config)
    distill_mfd(config)
