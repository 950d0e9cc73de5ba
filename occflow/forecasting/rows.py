"""Checkpoints of any kind as forecasters: one alone, or as rows of an evaluation; what each is called, how sampled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from occflow.distill.methods import METHODS, method_from_config
from occflow.errors import InputError
from occflow.flow.temperature import AS_LEARNT
from occflow.forecasting.checkpoint import (
    CheckpointRecord,
    forecaster_of,
    load_forecaster,
    of_teacher_beside,
    read_checkpoint,
    read_record,
    refuse_other_teacher,
    refuse_other_windows,
)
from occflow.forecasting.forecast import Forecast, Forecaster
from occflow.forecasting.networks import (
    CentralForecaster,
    NetworkForecaster,
    Sampler,
    StudentForecaster,
    TaskEncoder,
    TeacherForecaster,
    TwinForecaster,
)
from occflow.models.flow_model import FlowModel
from occflow.models.preparation import ModelSettings
from occflow.occupancy.frame import FrameInGrid
from occflow.occupancy.tasks import Task
from occflow.occupancy.windows import INTERVAL_TOLERANCE

KINDS = ("teacher", "student", "regression")  # what an evaluation takes
TEACHER_STEPS = 10  # Euler; as many as the scores of docs/ give it


def configured_samplers(values: Mapping) -> list[Sampler]:
    """The rows of each teacher: eval.teacher_steps by Euler steps, then eval.teacher_samplers."""
    return [Sampler(steps) for steps in values["teacher_steps"]] + \
        [Sampler.from_config(one) for one in values.get("teacher_samplers", ())]


def student_samplers(record: CheckpointRecord, model: FlowModel, student_steps: Sequence[int]
                     ) -> list[NetworkForecaster]:
    """A row for each number of steps; beyond one step only where the student's method allows it."""
    distill = record["config"].get("distill", {})
    method = distill.get("method", "mfd") if isinstance(distill, Mapping) else None
    few_steps = method_from_config({name: distill[name] for name in ("method", "student_steps") if name in distill}
                                   ).few_steps if method in METHODS and "method" in distill else "none"
    allowed = [steps for steps in student_steps if steps == 1 or few_steps != "none"]
    return [StudentForecaster(model, steps, few_steps) for steps in allowed or [1]]


def trained_steps(record: CheckpointRecord) -> int:
    """How many steps a student was distilled for: distill.student_steps of its method, else one."""
    distill = record["config"].get("distill", {})
    return distill.get("student_steps", 1) if isinstance(distill, Mapping) else 1


def at_temperatures(samplers: Sequence[NetworkForecaster], temperatures: Sequence[float]) -> list[NetworkForecaster]:
    """Each sampler at each of the temperatures.

    Raises:
        InputError: one outside [0, 1].
    """
    return [sampler.at(temperature) for sampler in samplers for temperature in temperatures]


def rows_of(path: Path, settings: ModelSettings, samplers: Sequence[Sampler],
            student_steps: Sequence[int] = (1,), device: torch.device | str = "cpu",
            temperatures: Sequence[float] = (AS_LEARNT,)) -> list[NetworkForecaster]:
    """The rows of one checkpoint: of a teacher its centre and one a sampler, of a student its centre and one a number
    of steps, samples at each of the temperatures; of a regression twin one.

    A checkpoint brings its own networks, of whatever size; its windows must be those of `settings`. Its rows encode a
    window once between them; each reports the milliseconds of that.

    Raises:
        InputError: a missing checkpoint, one of another kind or of other windows, a student beside another teacher
            than its own, or a temperature outside [0, 1].
    """
    checkpoint = read_checkpoint(path)
    record, model = checkpoint.record, forecaster_of(checkpoint, KINDS, device)
    refuse_other_windows(path, model.settings, settings)
    if record["kind"] == "teacher":
        return _encoding_once([CentralForecaster(model, "teacher"),
                               *at_temperatures([TeacherForecaster(model, sampler) for sampler in samplers],
                                                temperatures)])
    if record["kind"] == "student":
        refuse_other_teacher(path, record)
        return _encoding_once([CentralForecaster(model), *at_temperatures(
            student_samplers(record, model, student_steps), temperatures)])
    return [TwinForecaster(model)]


def _encoding_once(rows: list[NetworkForecaster]) -> list[NetworkForecaster]:
    """Rows of one model, which from now on encode a task once between them."""
    encoder = TaskEncoder(rows[0].model, remember=True)
    for row in rows:
        row.encoder = encoder
    return rows


def student_to_show(path: Path, settings: ModelSettings, samplers: Sequence[Sampler] = (), with_samples: bool = False,
                    device: torch.device | str = "cpu", temperature: float = AS_LEARNT) -> list[NetworkForecaster]:
    """The centre of a student's futures; after it, where samples are wanted, those of its teacher, if that is beside
    it, to compare with, and in the last row its own, in the steps that it was distilled for, at a temperature.

    Raises:
        InputError: as `rows_of`.
    """
    checkpoint = read_checkpoint(path)
    model = forecaster_of(checkpoint, ("student",), device)
    refuse_other_windows(path, model.settings, settings)
    centre = CentralForecaster(model)
    if not with_samples:
        return [centre]
    teacher, compared = Path(path).with_name("teacher.safetensors"), []
    if teacher.is_file() and not of_teacher_beside(path, checkpoint.record):
        print(f"{teacher}: is not the teacher of {path}; left out of the table", flush=True)
    elif teacher.is_file():
        compared = rows_of(teacher, settings, samplers, device=device)[1:]
    own = student_samplers(checkpoint.record, model, [trained_steps(checkpoint.record)])[0].at(temperature)
    _encoding_once([centre, own])
    return [centre, *compared, own]


def checkpoint_forecasters(values: Mapping, settings: ModelSettings, device: torch.device | str = "cpu"
                           ) -> tuple[list[NetworkForecaster], list[FlowModel]]:
    """The rows of all of eval.checkpoints, named after their files, and the models.

    A teacher and the students that were distilled from it share their mean network: where such a student is there too,
    the centre is its row, and the teacher has none.

    Raises:
        InputError: as `rows_of`.
    """
    paths, samplers = [Path(path) for path in values["checkpoints"]], configured_samplers(values)
    forecasters, models, centred = [], [], _teachers_of_students(paths)
    for path in paths:
        made = rows_of(path, settings, samplers, values.get("student_steps", (1,)), device,
                       values.get("temperatures", (AS_LEARNT,)))
        models.append(made[0].model)
        if path in centred:
            made = made[1:]
        shared = [one.stem for one in paths].count(path.stem) > 1
        for one in made:
            one.name = row_name(one, path.stem, path.parent.name if shared else None)
        forecasters += made
    return forecasters, models


def reference_teacher(checkpoints: Sequence[str], settings: ModelSettings, steps: int,
                      rows: Sequence[Forecaster] = (), device: torch.device | str = "cpu") -> TeacherForecaster | None:
    """The teacher of many steps whose samples all others' are compared with: the first one among eval.checkpoints, else
    the one beside a student of them that was distilled from it; None without either, or with `steps` 0.

    Args:
        rows: already made of the checkpoints; the reference encodes a window together with this teacher's.

    Raises:
        InputError: as `rows_of`.
    """
    path = _first_teacher([Path(one) for one in checkpoints]) if steps else None
    if path is None:
        return None
    made = next((row for row in rows if isinstance(row, TeacherForecaster)), None)
    reference = TeacherForecaster(made.model if made else load_forecaster(path, ("teacher",), device), Sampler(steps))
    refuse_other_windows(path, reference.model.settings, settings)
    if made:
        reference.encoder = made.encoder
    reference.name = row_name(reference, path.stem, None)
    return reference


def _first_teacher(paths: Sequence[Path]) -> Path | None:
    records = {path: read_record(path) for path in paths}
    own = [path for path, record in records.items() if record["kind"] == "teacher"]
    beside = [path.with_name("teacher.safetensors") for path, record in records.items()
              if record["kind"] == "student" and record.get("teacher") and of_teacher_beside(path, record)]
    return next((path for path in (*own, *beside) if path.is_file()), None)


def _teachers_of_students(paths: Sequence[Path]) -> set[Path]:
    """The teachers among the checkpoints whose centre a student among them has too, by the records alone."""
    records = {path: read_record(path) for path in paths}
    taught = {record.get("teacher") for record in records.values() if record["kind"] == "student"}
    return {path for path, record in records.items() if record["kind"] == "teacher" and record["weights"] in taught}


def row_name(forecaster: NetworkForecaster, stem: str, folder: str | None) -> str:
    """Rows are named after their file, "vsd-central", "vsd-1", a regression twin's by what it is; `folder` tells files
    of one name apart."""
    prefix = "" if folder is None else f"{folder}/"
    if isinstance(forecaster, TwinForecaster):
        return prefix + forecaster.name
    return f"{prefix}{stem}-{forecaster.name.partition('-')[2]}"


@dataclass(frozen=True)
class LoadedForecaster:
    """A checkpoint as a forecaster that brings its own networks, and gives two things: one forecast, and samples of the
    possible futures. Frames know their grid.

    Args:
        path: the checkpoint; kind: "student", "teacher" or "regression".
        settings: its grid, numbers of frames and seconds between them, and of its networks.
        sampler: draws futures, "student-1" in the scores.
        centre: the one forecast, "student-central" in the scores (of a regression both are the same).
    """

    path: Path
    kind: str
    settings: ModelSettings
    sampler: NetworkForecaster
    centre: NetworkForecaster

    @property
    def name(self) -> str:
        """The sampler's, such as "student-1"."""
        return self.sampler.name

    @property
    def nfe(self) -> int:
        """Network evaluations of the flow a sample."""
        return self.sampler.nfe

    def samples(self, task: Task, seeds: Iterable[int], temperature: float = AS_LEARNT) -> list[Forecast]:
        """One possible future a seed, the same for the same seed; the history is encoded once for all.

        A regression has no randomness: its futures are all the same.

        Args:
            temperature: in [0, 1]. At 1 futures are drawn from the distribution as it was learnt. Below, each is drawn
                towards the centre: sharper, and no longer of that distribution, so that shares of them are no
                probabilities. At 0 each is the centre.

        Raises:
            InputError: a task of another grid, other numbers of frames or another interval than the networks'; a
                temperature outside [0, 1].
        """
        sampler = self.sampler.at(temperature)
        refuse_other_task(self.path, self.settings, task)
        return [self._in_grid(one) for one in sampler.samples(task, list(seeds))]

    def forecast(self, task: Task, seed: int | None = None, temperature: float = AS_LEARNT) -> Forecast:
        """The one forecast: the centre of the futures, which has no noise and is no sample. With a seed, the sample of
        that seed, at a temperature as `samples` takes it.

        Raises:
            InputError: as `samples`.
        """
        if seed is not None:
            return self.samples(task, [seed], temperature)[0]
        refuse_other_task(self.path, self.settings, task)
        return self._in_grid(self.centre.forecast(task, 0))

    def _in_grid(self, forecast: Forecast) -> Forecast:
        return replace(forecast, frames=tuple(FrameInGrid.of(frame, self.settings.grid) for frame in forecast.frames))


def load_any(path: Path, device: torch.device | str = "cpu", steps: int | None = None) -> LoadedForecaster:
    """The forecaster of a student's, teacher's or regression's checkpoint; nothing but the file is consulted.

    Args:
        steps: of the flow; None: as many as a student was distilled for, TEACHER_STEPS of a teacher.

    Raises:
        InputError: an unreadable checkpoint, one of another kind, or more steps than its kind can take.
    """
    checkpoint = read_checkpoint(path)
    kind, model = checkpoint.record["kind"], forecaster_of(checkpoint, KINDS, device)
    if kind == "teacher":
        sampler, taken = TeacherForecaster(model, Sampler(steps or TEACHER_STEPS)), steps
    elif kind == "student":
        sampler = student_samplers(checkpoint.record, model, [steps or trained_steps(checkpoint.record)])[0]
        taken = sampler.steps
    else:
        sampler, taken = TwinForecaster(model), None
    if steps not in (None, taken):
        raise InputError(f"{path}: this {kind} does not take {steps} steps; leave `steps` out")
    centre = sampler if kind == "regression" else CentralForecaster(model, kind)
    sampler.encoder.remember, centre.encoder = True, sampler.encoder  # a task is encoded once for both forecasts
    return LoadedForecaster(Path(path), kind, model.settings, sampler, centre)


def refuse_other_task(path: Path, settings: ModelSettings, task: Task) -> None:
    """Raises InputError where a task is not of the kind that networks were trained for; a history whose frames do not
    know their grid is taken to be in the networks' own."""
    grid, frames = getattr(task.present, "grid", settings.grid), (len(task.history), len(task.targets))
    if grid != settings.grid:
        raise InputError(f"{path}: forecasts a grid of {settings.grid}, the task is of {grid}; build the store with "
                         "grid=forecaster.settings.grid")
    if frames != (settings.num_history, settings.num_horizon):
        raise InputError(f"{path}: forecasts {settings.num_horizon} frames of {settings.num_history} seen, the task "
                         f"has {frames[1]} of {frames[0]}; ask for store.task(..., history={settings.num_history}, "
                         f"horizon={settings.num_horizon})")
    stamps_s = [one.stamp_s for one in (*task.history, *task.targets)]
    interval_s, wanted_s = float(np.median(np.diff(stamps_s))), settings.frame_interval_s
    if not abs(interval_s - wanted_s) <= INTERVAL_TOLERANCE * wanted_s:
        raise InputError(f"{path}: forecasts frames {wanted_s:g} s apart, the task's are {interval_s:.3g} s apart; "
                         "take a log of that rate, or another checkpoint")
