"""The trained networks as forecasters: samples of a teacher by any sampler, of a student in one step; the centre."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from occflow.errors import InputError
from occflow.flow.solvers import METHODS, sample_flow
from occflow.flow.temperature import AS_LEARNT, tempered
from occflow.forecasting.checkpoint import load_forecaster
from occflow.forecasting.forecast import CENTRAL, Forecast, tempered_name
from occflow.models.flow_model import Condition, FlowModel, Observation
from occflow.models.motion import MotionCondition, MotionModel
from occflow.models.student_networks import sample_student
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.tasks import Task

Decoder = Callable[[torch.Tensor], tuple[OccupancyFrame, ...]]
Row = TypeVar("Row", bound="NetworkForecaster")


def refuse_temperature(temperature: float, key: str = "temperature") -> None:
    """Raises InputError where a temperature of samples is none in [0, 1]."""
    if not 0 <= temperature <= AS_LEARNT:
        raise InputError(f"{key}: {temperature!r} is not from 0 (the centre) to 1 (the distribution as it was learnt)")


@dataclass(frozen=True)
class Sampler:
    """How a teacher is sampled.

    Args:
        steps: solver steps from noise to data.
        solver: "euler" (one velocity a step), "heun" or "ralston" (two, second order).
        shift: above 1 spends more steps near noise (flow.solvers.time_grid).
        guidance: 1 is the conditional flow; above 1 goes farther from what is likely without the history (classifier-
            free guidance), at twice the evaluations. It needs a teacher trained with train.teacher.history_dropout.
    """

    steps: int
    solver: str = "euler"
    shift: float = 1.0
    guidance: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.shift <= 0:
            raise InputError("eval: a sampler needs steps >= 1 and shift > 0")
        if self.solver not in METHODS:
            raise InputError(f"eval: unknown solver '{self.solver}'; use {' or '.join(METHODS)}")

    @classmethod
    def from_config(cls, values: Mapping) -> Sampler:
        """From an entry of eval.teacher_samplers.

        Raises:
            InputError: unknown or missing keys, values out of range.
        """
        try:
            return cls(**values)
        except TypeError:
            raise InputError(f"eval.teacher_samplers: {dict(values)} needs steps, and may have solver, shift and "
                             "guidance") from None

    @property
    def nfe(self) -> int:
        """Network evaluations a sample."""
        return self.steps * METHODS[self.solver] * (1 if self.guidance == 1 else 2)

    @property
    def name(self) -> str:
        """The steps, and whatever is not the default: "10", "5-heun", "10-shift3", "10-guided1.5"."""
        parts = [str(self.steps)] + ([self.solver] if self.solver != "euler" else [])
        parts += [f"{name}{value:g}" for name, value in (("shift", self.shift), ("guided", self.guidance))
                  if value != 1]
        return "-".join(parts)


@dataclass(frozen=True)
class EncodedTask:
    """What the samples of a task share, and the milliseconds that it took."""

    task: Task
    observation: Observation
    condition: Condition
    decode: Decoder
    encode_ms: float
    base_ms: float


class TaskEncoder:
    """Encodes tasks; kept by several forecasters of one model, it encodes a task once for all of them.

    Args:
        remember: keep the task encoded last, and give its encoding (and its milliseconds) again when the very same
            task is asked for next. The model's weights must not change in between.
    """

    def __init__(self, model: FlowModel, remember: bool = False) -> None:
        self.model, self.remember = model, remember
        self._last: tuple[Task, EncodedTask] | None = None

    @torch.inference_mode()
    def encode(self, task: Task) -> EncodedTask:
        if self._last is not None and self._last[0] is task:
            return self._last[1]
        start = self.now_ms()
        observation = self.model.observe(task)
        condition = self.model.condition(observation)
        encoded = self.now_ms()
        decode = self.model.decoder(observation, task.targets)
        found = EncodedTask(task, observation, condition, decode, encoded - start, self.now_ms() - encoded)
        self._last = (task, found) if self.remember else None
        return found

    def now_ms(self) -> float:
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)
        return time.perf_counter() * 1e3


class NetworkForecaster:
    """Encode (find bodies, lay out, encode, means), flow (of the motions, then of the voxels about the bodies that were
    moved so), decode; each timed. `nfe` counts the network evaluations of each of the two flows.

    Samples are of the distribution as it was learnt; `at` gives those of another temperature.
    """

    temperature = AS_LEARNT

    def __init__(self, model: FlowModel, name: str, nfe: int) -> None:
        self.model, self.name, self.nfe = model.eval(), name, nfe
        self.encoder = TaskEncoder(model)

    def at(self: Row, temperature: float) -> Row:
        """The same at a temperature in [0, 1], for as many evaluations: at 1 the distribution as it was learnt, below 1
        sharper samples, motions and voxels alike, which are no longer of that distribution (flow.temperature), at 0
        the centre.

        Raises:
            InputError: a temperature outside [0, 1].
        """
        refuse_temperature(temperature)
        other = copy.copy(self)
        other.name, other.temperature = tempered_name(self.name, temperature), temperature
        return other

    def forecast(self, task: Task, seed: int) -> Forecast:
        """One sample of the task's future; timings in milliseconds, of this call."""
        return self.samples(task, [seed])[0]

    @torch.inference_mode()
    def samples(self, task: Task, seeds: list[int]) -> list[Forecast]:
        """Samples of the task's future; the history is encoded once."""
        encoded = self.encoder.encode(task)
        return [self._sample(encoded, seed) for seed in seeds]

    def _sample(self, encoded: EncodedTask, seed: int) -> Forecast:
        condition, start = encoded.condition, self.encoder.now_ms()
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(condition.forecast.mean.shape, generator=generator).to(self.model.device)
        observation = encoded.observation
        if self.nfe:  # a centre has the central motions
            observation, condition = self.model.drawn(
                observation, condition, lambda drawn, motions: self._tempered(drawn, motions, self.model.motion),
                generator)
        state = self._state(noise, condition)
        flowed = self.encoder.now_ms()
        decode, base_ms = (encoded.decode, encoded.base_ms) if observation is encoded.observation else \
            (self.model.decoder(observation, encoded.task.targets), 0.0)
        frames = decode(state)
        decode_ms = base_ms + self.encoder.now_ms() - flowed  # the base too: one sample alone takes it
        return Forecast(frames, {"encode": encoded.encode_ms, "flow": flowed - start, "decode": decode_ms})

    def _state(self, noise: torch.Tensor, condition: Condition) -> torch.Tensor:
        """The state that is made of `noise` [N, S]."""
        return condition.state(self._tempered(noise, condition, self.model))

    def _tempered(self, noise: torch.Tensor, condition: Condition | MotionCondition, flow: FlowModel | MotionModel
                  ) -> torch.Tensor:
        return tempered(self._residual(noise, condition, flow), self.temperature)

    def _residual(self, noise: torch.Tensor, condition: Condition | MotionCondition, flow: FlowModel | MotionModel
                  ) -> torch.Tensor:
        """The standardised residual that a flow makes of `noise` [N, C]: that of the voxels, or of the motions."""
        raise NotImplementedError


class TeacherForecaster(NetworkForecaster):
    """The flow-matching teacher."""

    def __init__(self, model: FlowModel, sampler: Sampler) -> None:
        super().__init__(model, f"teacher-{sampler.name}", sampler.nfe)
        self.sampler = sampler

    def _residual(self, noise: torch.Tensor, condition: Condition | MotionCondition, flow: FlowModel | MotionModel
                  ) -> torch.Tensor:
        velocity = flow.velocity_field(condition, self.sampler.guidance)
        return sample_flow(velocity, noise, condition.sample, condition.layout.num_samples, self.sampler.steps,
                           self.sampler.solver, self.sampler.shift)


class StudentForecaster(NetworkForecaster):
    """The student: eps - u(eps, 0, 1), or more steps.

    Args:
        few_steps: how it takes more than one, of occflow.distill.protocol.FEW_STEPS; "none" is taken as "jumps".
            "inner" steps are of a light head: the network evaluations stay one.
    """

    def __init__(self, model: FlowModel, steps: int = 1, few_steps: str = "jumps") -> None:
        super().__init__(model, f"student-{steps}", 1 if few_steps == "inner" else steps)
        self.steps, self.few_steps = steps, few_steps

    def _residual(self, noise: torch.Tensor, condition: Condition | MotionCondition, flow: FlowModel | MotionModel
                  ) -> torch.Tensor:
        return sample_student(flow.velocity, noise, condition.layout.num_samples, self.steps, self.few_steps,
                              condition.forecast, condition.layout)


class CentralForecaster(NetworkForecaster):
    """The one forecast: the centre of the futures, that of the mean network, without noise and without a flow.

    Args:
        kind: of the checkpoint that it is the centre of: "teacher", or "student", whose mean network is its teacher's.
    """

    def __init__(self, model: FlowModel, kind: str = "student") -> None:
        super().__init__(model, f"{kind}-{CENTRAL}", 0)

    def at(self: Row, temperature: float) -> Row:
        """Itself: it has no noise.

        Raises:
            InputError: a temperature outside [0, 1].
        """
        refuse_temperature(temperature)
        return self

    def samples(self, task: Task, seeds: list[int]) -> list[Forecast]:
        """The centre for every seed: none changes it."""
        return super().samples(task, seeds[:1]) * len(seeds)

    def _residual(self, noise: torch.Tensor, condition: Condition | MotionCondition, flow: FlowModel | MotionModel
                  ) -> torch.Tensor:
        return torch.zeros_like(noise)


class TwinForecaster(CentralForecaster):
    """The cross-entropy regression twin, whose decoder was trained on the very states of its mean network."""

    def __init__(self, model: FlowModel) -> None:
        super().__init__(model)
        self.name = "regression_ce"

    def _state(self, noise: torch.Tensor, condition: Condition) -> torch.Tensor:
        return condition.forecast.mean


def load_student(path: Path, device: torch.device) -> StudentForecaster:
    """The student of a checkpoint made by distill_mfd, on a device."""
    return StudentForecaster(load_forecaster(path, ("student",), device))
