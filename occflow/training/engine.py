"""The optimiser, its schedule, the moving average and the record of a run: what every training shares."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from occflow.errors import InputError

TICK_STEPS = 25  # a line of stats.jsonl every so many steps


class NonFiniteLoss(InputError):
    """The loss is nan or infinite; the weights of the last good step were kept."""


@dataclass(frozen=True)
class OptimiserSettings:
    """AdamW with linear warm-up and cosine decay to a tenth, gradient clipping, moving average of the weights."""

    steps: int
    learning_rate: float
    warmup_steps: int
    clip_norm: float
    ema_decay: float
    betas: tuple[float, float] = (0.9, 0.99)

    @classmethod
    def from_config(cls, values: Mapping, **changes) -> OptimiserSettings:
        names = ("steps", "learning_rate", "warmup_steps", "clip_norm", "ema_decay")
        return cls(**{name: values[name] for name in names if name not in changes}, **changes)


class Trainer:
    """One network's optimiser: `step(loss)` clips, updates, averages; refuses a non-finite loss."""

    def __init__(self, module: nn.Module, settings: OptimiserSettings, decay: bool = True) -> None:
        self.module, self.settings, self.decay = module, settings, decay
        self.average = copy.deepcopy(module).requires_grad_(False)
        parameters = [p for p in module.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(parameters, lr=settings.learning_rate, betas=settings.betas,
                                           weight_decay=1e-4)
        self.parameters, self.count = parameters, 0

    def learning_rate(self) -> float:
        """Rate of the next step."""
        settings = self.settings
        if self.count < settings.warmup_steps:
            return settings.learning_rate * (self.count + 1) / settings.warmup_steps
        if not self.decay:
            return settings.learning_rate
        progress = (self.count - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
        return settings.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * min(1.0, progress))))

    def step(self, loss: Tensor) -> float:
        """Update by the gradient of `loss`; returns the gradient's norm before clipping.

        Raises:
            NonFiniteLoss: before anything is updated.
        """
        if not torch.isfinite(loss):
            raise NonFiniteLoss(f"loss is {loss.item()} at step {self.count}; lower the learning rate")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.settings.clip_norm, error_if_nonfinite=False)
        if not torch.isfinite(norm):
            raise NonFiniteLoss(f"gradient is not finite at step {self.count}; lower the learning rate")
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        self.optimiser.step()
        self.count += 1
        self._average()
        return float(norm)

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.settings.ema_decay, self.count / (self.count + 10))
        for averaged, current in zip(self.average.parameters(), self.module.parameters()):
            averaged.lerp_(current, 1 - decay)
        for averaged, current in zip(self.average.buffers(), self.module.buffers()):
            averaged.copy_(current)


class RunLog:
    """Progress bar with the latest figures, and a line of stats.jsonl a tick."""

    def __init__(self, path: Path, title: str, steps: int, samples_a_step: int, unit: str = "window"
                 ) -> None:
        self.path, self.title, self.samples_a_step = path, title, samples_a_step
        path.parent.mkdir(parents=True, exist_ok=True)
        self.bar = tqdm(total=steps * samples_a_step, desc=title, unit=unit, unit_scale=True, dynamic_ncols=True,
                        mininterval=0.5)
        self.sums: dict[str, float] = {}
        self.steps, self.since_tick, self.start = 0, 0, time.perf_counter()

    def add(self, figures: dict[str, float]) -> None:
        """Note the figures of one step."""
        self.steps, self.since_tick = self.steps + 1, self.since_tick + 1
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.bar.update(self.samples_a_step)
        if self.since_tick == TICK_STEPS:
            self._tick()

    def _tick(self) -> None:
        means = {name: value / self.since_tick for name, value in self.sums.items()}
        seconds = time.perf_counter() - self.start
        line = {"training": self.title, "step": self.steps, "seconds": round(seconds, 2),
                "samples_per_second": round(self.steps * self.samples_a_step / seconds, 3), **means}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.bar.set_postfix({name: f"{value:.4g}" for name, value in means.items()})
        self.sums, self.since_tick = {}, 0

    def close(self) -> None:
        if self.since_tick:
            self._tick()
        self.bar.close()


def train(module: nn.Module, settings: OptimiserSettings, log: RunLog,
          loss_of_step: Callable[[int], tuple[Tensor, dict[str, float]]]) -> nn.Module:
    """Minimise `loss_of_step(step)` over the module's parameters; returns the moving average of the weights."""
    module.train()
    trainer = Trainer(module, settings)
    try:
        for step in range(settings.steps):
            loss, figures = loss_of_step(step)
            norm = trainer.step(loss)
            log.add({"loss": loss.item(), **figures, "gradient_norm": norm})
    finally:
        log.close()
    return trainer.average.eval()
