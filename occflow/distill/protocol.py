"""What a distillation method is: its networks and the losses of its two kinds of update.

Methods see a state as [N, C] with a sample index [N] (docs/design.md 8): a forecaster of occupancy and a toy of 2-D
points are distilled by the same code. Networks are callables with the condition bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from occflow.flow.path import AverageVelocity, Velocity
from occflow.flow.posterior import PosteriorVelocity, Transition
from occflow.flow.share import Share


@dataclass(frozen=True)
class Networks:
    """The networks of a batch, condition bound. Student and auxiliary start at the teacher.

    Args:
        teacher: frozen velocity v_Q(x, t).
        auxiliary: velocity v_P(x, t) that tracks the student's samples; None where the method needs none.
        student: one-step sampler, noise [N, C] -> sample [N, C].
        average: the student's u(x, r, t), trained; needed by methods that learn a flow map.
        slow_average: moving average of the student's u(x, r, t), a quieter target; the student itself if None.
        posterior: the student's u(y, r, s | x_t, t), trained; where it has the parts for it.
        transition: the student's inner flow at (x_t, t), trained; likewise.
        critic: logits [N] at (x_t, t) on the auxiliary's features, likewise.
        teacher_map: a frozen u_Q(x, r, t) of the teacher, of methods with `needs_map`; auxiliary_map: the auxiliary's
            u_P(x, r, t), whose r = t is `auxiliary`.
    """

    teacher: Velocity
    auxiliary: Velocity | None
    student: Callable[[Tensor], Tensor]
    average: AverageVelocity | None = None
    slow_average: AverageVelocity | None = None
    posterior: PosteriorVelocity | None = None
    transition: Transition | None = None
    critic: Callable[[Tensor, Tensor], Tensor] | None = None
    teacher_map: AverageVelocity | None = None
    auxiliary_map: AverageVelocity | None = None


@dataclass(frozen=True)
class Batch:
    """What a method needs of a batch: sample index [N], shape of the state, number of samples, element weights.

    `weight` [N, C] multiplies squared errors (mean one), or is None. `data` [N, C] is the true state, for methods
    with `needs_data`. `progress` is the share of the student's updates already made, in [0, 1]. `rows` and `samples`
    say what is this process's of a batch that several share: draws and means are the joint batch's. Each of `regions`
    [N] int64 tells which rows belong together, none of them those of two samples: neighbours in space or time.
    """

    sample: Tensor
    shape: tuple[int, int]
    num_samples: int
    weight: Tensor | None = None
    data: Tensor | None = None
    progress: float = 1.0
    rows: Share | None = None
    samples: Share | None = None
    regions: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", self.rows or Share.whole(self.shape[0]))
        object.__setattr__(self, "samples", self.samples or Share.whole(self.num_samples))

    def noise(self, generator: torch.Generator) -> Tensor:
        """Unit noise [N, C], float32."""
        return self.rows.noise(self.shape[1], generator, torch.empty(0, device=self.sample.device))

    def drawn(self, draw: Callable[..., Tensor | tuple[Tensor, ...]], generator: torch.Generator, *arguments
              ) -> Tensor | tuple[Tensor, ...]:
        """What `draw(count, generator, ...)` draws for each sample (flow.times), [B] each."""
        found = draw(self.samples.total, generator, *arguments)
        return self.samples.of(found) if isinstance(found, Tensor) else tuple(map(self.samples.of, found))


FEW_STEPS = ("none", "jumps", "renoised", "resampled", "inner")
"""One step only; flow.solvers.sample_jumps, sample_renoised, sample_resampled; inner steps of a light head."""


class Method(Protocol):
    """A distillation method with alternating updates.

    `few_steps` says how its student takes more than one step. `student_network` and `auxiliary_network` are the parts
    that these have beyond the teacher's network, as models.student_networks.around takes them; None for no parts. With
    `needs_map` there is a frozen flow map of the teacher, at which the auxiliary starts.
    """

    few_steps: str
    needs_auxiliary: ClassVar[bool]
    needs_map: ClassVar[bool]
    needs_data: bool
    student_network: Mapping | None
    auxiliary_network: Mapping | None

    def auxiliary_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """Loss whose gradient updates the auxiliary; of methods with `needs_auxiliary` alone."""

    def student_loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> Tensor:
        """Loss whose gradient updates the student."""


class PlainNetworks:
    """Mixin: student and auxiliary have no parts beyond the teacher's network, and no map of it is asked for."""

    needs_map: ClassVar[bool] = False
    student_network: ClassVar[Mapping | None] = None
    auxiliary_network: ClassVar[Mapping | None] = None


class WithoutAuxiliary(PlainNetworks):
    """Mixin of the methods whose student is the only network that learns: they have no `auxiliary_loss`."""

    needs_auxiliary: ClassVar[bool] = False
