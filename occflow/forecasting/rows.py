"""Checkpoints of any kind as rows of an evaluation: what each is called and how it is sampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from occflow.distill.methods import METHODS
from occflow.forecasting.checkpoint import (
    CheckpointRecord,
    forecaster_of,
    of_teacher_beside,
    read_checkpoint,
    refuse_other_teacher,
    refuse_other_windows,
)
from occflow.forecasting.networks import (
    NetworkForecaster,
    RegressionForecaster,
    Sampler,
    StudentForecaster,
    TaskEncoder,
    TeacherForecaster,
    TwinForecaster,
)
from occflow.models.flow_model import FlowModel, ModelSettings

KINDS = ("teacher", "student", "regression")  # what an evaluation takes


def configured_samplers(values: Mapping) -> list[Sampler]:
    """The rows of each teacher: eval.teacher_steps by Euler steps, then eval.teacher_samplers."""
    return [Sampler(steps) for steps in values["teacher_steps"]] + \
        [Sampler.from_config(one) for one in values.get("teacher_samplers", ())]


def student_rows(record: CheckpointRecord, model: FlowModel, student_steps: Sequence[int]
                 ) -> list[NetworkForecaster]:
    """A row for each number of steps; beyond one step only where the student's method allows it."""
    distill = record["config"].get("distill", {})
    method = distill.get("method", "mfd") if isinstance(distill, Mapping) else None
    few_steps = METHODS[method].few_steps if method in METHODS else "none"
    allowed = [steps for steps in student_steps if steps == 1 or few_steps != "none"]
    return [StudentForecaster(model, steps, few_steps) for steps in allowed or [1]]


def rows_of(path: Path, settings: ModelSettings, samplers: Sequence[Sampler],
            student_steps: Sequence[int] = (1,), device: torch.device | str = "cpu") -> list[NetworkForecaster]:
    """The rows of one checkpoint: a teacher gives one for its mean and one a sampler, a student one a number of
    steps, the others one.

    A checkpoint brings its own networks, of whatever size; its windows must be those of `settings`. A teacher's rows
    encode a window once between them; each reports the milliseconds of that.

    Raises:
        InputError: a missing checkpoint, one of another kind or of other windows, or a student beside another teacher
            than its own.
    """
    checkpoint = read_checkpoint(path)
    record, model = checkpoint.record, forecaster_of(checkpoint, KINDS, device)
    refuse_other_windows(path, model.settings, settings)
    if record["kind"] == "teacher":
        rows = [RegressionForecaster(model), *(TeacherForecaster(model, sampler) for sampler in samplers)]
        encoder = TaskEncoder(model, remember=True)
        for row in rows:
            row.encoder = encoder
        return rows
    if record["kind"] == "student":
        refuse_other_teacher(path, record)
        return student_rows(record, model, student_steps)
    return [TwinForecaster(model)]


def student_beside_teacher(path: Path, settings: ModelSettings, samplers: Sequence[Sampler],
                           device: torch.device | str = "cpu") -> list[NetworkForecaster]:
    """A student in one step, the last row, after what it is to be compared with: the regression, and the samples of its
    teacher where that is beside it.

    Raises:
        InputError: as `rows_of`.
    """
    checkpoint = read_checkpoint(path)
    model = forecaster_of(checkpoint, ("student",), device)
    refuse_other_windows(path, model.settings, settings)
    teacher = Path(path).with_name("teacher.safetensors")
    if not teacher.is_file():
        compared = [RegressionForecaster(model)]
    elif of_teacher_beside(path, checkpoint.record):
        compared = rows_of(teacher, settings, samplers, device=device)
    else:
        print(f"{teacher}: is not the teacher of {path}; left out of the table", flush=True)
        compared = [RegressionForecaster(model)]
    return [*compared, StudentForecaster(model)]


def checkpoint_forecasters(values: Mapping, settings: ModelSettings, device: torch.device | str = "cpu"
                           ) -> tuple[list[NetworkForecaster], list[FlowModel]]:
    """The rows of all of eval.checkpoints, named after their files, and the models.

    Raises:
        InputError: as `rows_of`.
    """
    paths, samplers = [Path(path) for path in values["checkpoints"]], configured_samplers(values)
    forecasters, models = [], []
    for path in paths:
        made = rows_of(path, settings, samplers, values.get("student_steps", (1,)), device)
        models.append(made[0].model)
        shared = [one.stem for one in paths].count(path.stem) > 1
        for one in made:
            one.name = row_name(one, path.stem, path.parent.name if shared else None)
        forecasters += made
    return forecasters, models


def row_name(forecaster: NetworkForecaster, stem: str, folder: str | None) -> str:
    """Regressions keep their names, samplers are named after their file; `folder` tells files of one name apart."""
    prefix = "" if folder is None else f"{folder}/"
    if isinstance(forecaster, RegressionForecaster):
        return prefix + forecaster.name
    return f"{prefix}{stem}-{forecaster.name.partition('-')[2]}"

