"""The trained networks as forecasters: teacher at any number of steps, regression, one-step student."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch

from occflow.flow.solvers import sample_flow
from occflow.models.forecaster import Condition, FlowForecaster
from occflow.occupancy.forecast import Forecast
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.windows import Window
from occflow.training.checkpoint import load_forecaster

Decoder = Callable[[torch.Tensor], tuple[OccupancyFrame, ...]]


class NetworkForecaster:
    """Encode (lay out, encode, mean), flow (network evaluations of the velocity), decode; each timed."""

    def __init__(self, model: FlowForecaster, name: str, nfe: int) -> None:
        self.model, self.name, self.nfe = model.eval(), name, nfe

    def forecast(self, window: Window, seed: int) -> Forecast:
        """One sample of the window's future; timings in milliseconds, of this call."""
        return self.samples(window, [seed])[0]

    @torch.no_grad()
    def samples(self, window: Window, seeds: list[int]) -> list[Forecast]:
        """Samples of the window's future; the history is encoded once."""
        start = self._now()
        observation = self.model.observe(window)
        condition = self.model.condition(observation)
        encoded = self._now()
        decode = self.model.decoder(observation, window.horizon)
        base_ms = self._now() - encoded  # each sample's own, since one forecast alone takes it
        return [self._sample(condition, decode, seed, encoded - start, base_ms) for seed in seeds]

    def _sample(self, condition: Condition, decode: Decoder, seed: int, encode_ms: float, base_ms: float) -> Forecast:
        encoded = self._now()
        noise = torch.randn(condition.forecast.mean.shape, generator=torch.Generator().manual_seed(seed))
        state = condition.state(self._residual(noise.to(self.model.device), condition))
        flowed = self._now()
        frames = decode(state)
        decode_ms = base_ms + self._now() - flowed
        return Forecast(frames, {"encode": encode_ms, "flow": flowed - encoded, "decode": decode_ms})

    def _residual(self, noise: torch.Tensor, condition: Condition) -> torch.Tensor:
        """The standardised residual that the flow makes of `noise` [N, C]."""
        raise NotImplementedError

    def _now(self) -> float:
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)
        return time.perf_counter() * 1e3


class TeacherForecaster(NetworkForecaster):
    """The flow-matching teacher by Euler steps."""

    def __init__(self, model: FlowForecaster, steps: int) -> None:
        super().__init__(model, f"teacher-{steps}", steps)

    def _residual(self, noise: torch.Tensor, condition: Condition) -> torch.Tensor:
        velocity = self.model.velocity_field(condition)
        return sample_flow(velocity, noise, condition.sample, condition.layout.num_samples, self.nfe)


class StudentForecaster(NetworkForecaster):
    """The one-step student: eps - u(eps, 0, 1)."""

    def __init__(self, model: FlowForecaster) -> None:
        super().__init__(model, "student-1", 1)

    def _residual(self, noise: torch.Tensor, condition: Condition) -> torch.Tensor:
        return self.model.one_step(noise, condition)


class RegressionForecaster(NetworkForecaster):
    """The mean network alone: the forecast without a flow."""

    def __init__(self, model: FlowForecaster) -> None:
        super().__init__(model, "regression", 0)

    def _residual(self, noise: torch.Tensor, condition: Condition) -> torch.Tensor:
        return torch.zeros_like(noise)


def load_student(path: Path) -> StudentForecaster:
    """The student of a checkpoint made by tools/distill_mfd.py."""
    return StudentForecaster(load_forecaster(path, ("student",)))


def load_teacher(path: Path) -> FlowForecaster:
    """The model of a checkpoint made by tools/train_teacher.py."""
    return load_forecaster(path, ("teacher",))
