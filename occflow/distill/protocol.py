"""What a distillation method is: its networks and the losses of its two kinds of update.

Methods see a state as [N, C] with a sample index [N] (decision 8): a forecaster of occupancy and a toy of 2-D
points are distilled by the same code. Networks are callables with the condition bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from occflow.flow.path import Velocity


@dataclass(frozen=True)
class Networks:
    """The three networks of a batch, condition bound.

    Args:
        teacher: frozen velocity v_Q(x, t).
        auxiliary: velocity v_P(x, t) that tracks the student's samples.
        student: one-step sampler, noise [N, C] -> sample [N, C].
    """

    teacher: Velocity
    auxiliary: Velocity
    student: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Batch:
    """What a method needs of a batch: sample index [N], shape of the state, number of samples, element weights.

    `weight` [N, C] multiplies squared errors (mean one), or is None.
    """

    sample: Tensor
    shape: tuple[int, int]
    num_samples: int
    weight: Tensor | None = None

    def noise(self, generator: torch.Generator) -> Tensor:
        """Unit noise [N, C]."""
        return torch.randn(self.shape, generator=generator).to(self.sample.device)


class Method(Protocol):
    """A distillation method with alternating updates."""

    def auxiliary_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """Loss whose gradient updates the auxiliary."""

    def student_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """Loss whose gradient updates the student."""
