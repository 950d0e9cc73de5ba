"""One network's optimiser: schedule, clipping, moving average, and its whole state as named tensors."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from occflow.errors import InputError
from occflow.training.processes import average_gradients


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
        on_gpu = bool(parameters) and parameters[0].is_cuda
        self.optimiser = torch.optim.AdamW(parameters, lr=settings.learning_rate, betas=settings.betas,
                                           weight_decay=1e-4, fused=on_gpu or None)
        self.parameters, self.count = parameters, 0
        self.loss: Tensor | None = None  # of the last step, the joint batch's where several processes share it

    def learning_rate(self) -> float:
        """Rate of the next step."""
        settings = self.settings
        if self.count < settings.warmup_steps:
            return settings.learning_rate * (self.count + 1) / settings.warmup_steps
        if not self.decay:
            return settings.learning_rate
        progress = (self.count - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
        return settings.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * min(1.0, progress))))

    def step(self, loss: Tensor) -> Tensor:
        """Update by the gradient of `loss`, averaged over all processes; returns the gradient's norm before clipping.

        Loss and norm are looked at together: only here the step waits for its device. Both are the same in every
        process, so that all refuse a step or none does.

        Raises:
            NonFiniteLoss: before anything is updated.
        """
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        loss = self.loss = average_gradients(loss, self.parameters).detach()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.settings.clip_norm, error_if_nonfinite=False).detach()
        if not torch.isfinite(loss + norm):
            wrong = "gradient is not finite" if loss.isfinite() else f"loss is {loss.item()}"
            raise NonFiniteLoss(f"{wrong} at step {self.count}; lower the learning rate")
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        self.optimiser.step()
        self.count += 1
        self._average()
        return norm

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.settings.ema_decay, self.count / (self.count + 10))
        averaged, current = (list(network.parameters()) for network in (self.average, self.module))
        torch._foreach_lerp_(averaged, current, 1 - decay)
        for averaged, current in zip(self.average.buffers(), self.module.buffers()):
            averaged.copy_(current)

    def tensors(self) -> dict[str, Tensor]:
        """Weights, their average and the optimiser's moments by name; `load` takes them back."""
        moments = {f"optimiser.{index}.{name}": value
                   for index, state in self.optimiser.state_dict()["state"].items() for name, value in state.items()}
        return {**{f"module.{name}": value for name, value in self.module.state_dict().items()},
                **{f"average.{name}": value for name, value in self.average.state_dict().items()}, **moments}

    def load(self, tensors: Mapping[str, Tensor], count: int) -> None:
        """Go on from `tensors()` after `count` steps."""
        parts: dict[str, dict[str, Tensor]] = {"module": {}, "average": {}, "optimiser": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value
        self.module.load_state_dict(parts["module"])
        self.average.load_state_dict(parts["average"])
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in parts["optimiser"].items():
            index, _, moment = name.partition(".")
            moments.setdefault(int(index), {})[moment] = value
        self.optimiser.load_state_dict({"state": moments, "param_groups": self.optimiser.state_dict()["param_groups"]})
        self.count = count
