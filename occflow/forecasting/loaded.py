"""A checkpoint of any kind as a forecaster that brings its own networks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from occflow.errors import InputError
from occflow.forecasting.checkpoint import forecaster_of, read_checkpoint
from occflow.forecasting.forecast import Forecast
from occflow.forecasting.networks import (
    NetworkForecaster,
    RegressionForecaster,
    Sampler,
    TeacherForecaster,
    TwinForecaster,
)
from occflow.forecasting.rows import KINDS, student_rows
from occflow.models.flow_model import ModelSettings
from occflow.occupancy.frame import FrameInGrid
from occflow.occupancy.tasks import Task
from occflow.occupancy.windows import INTERVAL_TOLERANCE

TEACHER_STEPS = 10  # Euler; as many as the scores of docs/ give it


@dataclass(frozen=True)
class LoadedForecaster:
    """The networks of one checkpoint, by both of their forecasts. Their frames know the grid.

    Args:
        path: the checkpoint; kind: "student", "teacher" or "regression".
        settings: its grid, numbers of frames and seconds between them, and of its networks.
        sampler: draws futures; centre: the one forecast of the mean network (of a regression both are the same).
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

    def samples(self, task: Task, seeds: Iterable[int]) -> list[Forecast]:
        """One possible future a seed, the same for the same seed; the history is encoded once for all.

        A regression has no randomness: its futures are all the same.

        Raises:
            InputError: a task of another grid, other numbers of frames or another interval than the networks'.
        """
        refuse_other_task(self.path, self.settings, task)
        return [self._in_grid(one) for one in self.sampler.samples(task, list(seeds))]

    def forecast(self, task: Task, seed: int | None = None) -> Forecast:
        """The central forecast: that of the mean network, without the flow. With a seed, the sample of that seed.

        Raises:
            InputError: as `samples`.
        """
        if seed is not None:
            return self.samples(task, [seed])[0]
        refuse_other_task(self.path, self.settings, task)
        return self._in_grid(self.centre.forecast(task, 0))

    def _in_grid(self, forecast: Forecast) -> Forecast:
        return replace(forecast, frames=tuple(FrameInGrid.of(frame, self.settings.grid) for frame in forecast.frames))


def load_any(path: Path, device: torch.device | str = "cpu", steps: int | None = None) -> LoadedForecaster:
    """The forecaster of a student's, teacher's or regression's checkpoint; nothing but the file is consulted.

    Args:
        steps: of the flow; None: one of a student, TEACHER_STEPS of a teacher.

    Raises:
        InputError: an unreadable checkpoint, one of another kind, or more steps than its kind can take.
    """
    checkpoint = read_checkpoint(path)
    kind, model = checkpoint.record["kind"], forecaster_of(checkpoint, KINDS, device)
    if kind == "teacher":
        sampler, taken = TeacherForecaster(model, Sampler(steps or TEACHER_STEPS)), steps
    elif kind == "student":
        sampler = student_rows(checkpoint.record, model, [steps or 1])[0]
        taken = sampler.steps
    else:
        sampler, taken = TwinForecaster(model), None
    if steps not in (None, taken):
        raise InputError(f"{path}: this {kind} does not take {steps} steps; leave `steps` out")
    centre = sampler if kind == "regression" else RegressionForecaster(model)
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
