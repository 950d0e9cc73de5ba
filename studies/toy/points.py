"""Distillation of toy flows on points: the methods and the optimiser of the forecaster, with a perceptron and an
exact teacher. A point is a sample of one site."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from occflow.distill.protocol import Batch, Method, Networks
from occflow.flow.mean_velocity import mean_velocity
from occflow.flow.path import noised
from occflow.flow.times import intervals
from occflow.models.student_networks import around, sample_student
from occflow.training.optimiser import OptimiserSettings, Trainer
from studies.toy.point_network import PointNetwork

Teacher = Callable[[Tensor, Tensor, Tensor], Tensor]
"""v(x [N, C], t [N], c [N]) -> [N, C]: an exact velocity under conditions c."""

Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
"""(count, generator) -> data [count, C] and their conditions [count]."""


@dataclass(frozen=True)
class PointTraining:
    """How long and how fast.

    Args:
        updates: of the student. batch: points an update.
        auxiliary_updates: a student update; auxiliary_warmup: before the first one.
        learning_rate, auxiliary_learning_rate: of Adam; the student's decays.
        betas: of both optimisers.
    """

    updates: int = 1000
    batch: int = 256
    auxiliary_updates: int = 3
    auxiliary_warmup: int = 100
    learning_rate: float = 5e-4
    auxiliary_learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.0, 0.99)


def fitted(teacher: Teacher, draw: Draw, seed: int, updates: int = 2000, batch: int = 512, steps: int = 0
           ) -> PointNetwork:
    """A network whose velocity u(x, t, t) is regressed on the exact teacher's: where students start.

    With `steps` > 0 half of each batch is regressed on average velocities by so many Heun steps instead: a student
    that is at its teacher's flow map already.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    trainer, index = Trainer(PointNetwork(), OptimiserSettings(updates, 3e-3, 50, 10.0, 0.98)), torch.arange(batch)
    for _ in range(updates):
        data, condition = draw(batch, generator)
        r, t = intervals(batch, generator, equal_share=0.5 if steps else 1.0)
        x_t = noised(data, torch.randn(data.shape, generator=generator), t, index).x_t
        target = mean_velocity(lambda x, s, c=condition: teacher(x, s, c), x_t, r, t, index, max(1, steps), "heun")
        trainer.step((trainer.module(x_t, r, t, condition) - target).pow(2).mean())
    return trainer.average


def bound(network: nn.Module, part: str, condition: Tensor) -> Callable[..., Tensor] | None:
    """A method that networks with parts of their own have, condition bound; None for the others."""
    method = getattr(network, part, None)
    return method and (lambda *inputs: method(*inputs, condition))


class PointDistillation:
    """A method on points: `run()` makes all updates; the networks can be looked at in between.

    Args:
        shown: what the auxiliary is shown of the conditions; anything else than all of it is a mistake, which tests
            and studies make on purpose.
    """

    def __init__(self, method: Method, teacher: Teacher, start: PointNetwork, draw: Draw,
                 settings: PointTraining = PointTraining(), seed: int = 0,
                 shown: Callable[[Tensor], Tensor] = lambda condition: condition) -> None:
        self.method, self.teacher, self.draw, self.settings, self.shown = method, teacher, draw, settings, shown
        self.generator = torch.Generator().manual_seed(seed)
        optimiser = OptimiserSettings(settings.updates, settings.learning_rate, 10, 1.0, 0.99, settings.betas)
        torch.manual_seed(seed)  # for the parts that some students have around the network that they start at
        student, auxiliary = (around(copy.deepcopy(start), parts).requires_grad_(True)
                              for parts in (method.student_network, method.auxiliary_network))
        self.student = Trainer(student, optimiser)
        self.auxiliary = Trainer(auxiliary,
                                 replace(optimiser, learning_rate=settings.auxiliary_learning_rate), decay=False)

    def batch(self, progress: float = 1.0) -> tuple[Networks, Batch]:
        """Networks with the conditions of a fresh batch bound, and the batch."""
        count = self.settings.batch
        data, condition = self.draw(count, self.generator)
        shown, index = self.shown(condition), torch.arange(count)
        student, auxiliary, average = self.student.module, self.auxiliary.module, self.student.average
        networks = Networks(lambda x, t: self.teacher(x, t, condition), lambda x, t: auxiliary(x, t, t, shown),
                            lambda noise: sample_student(student, noise, count, 1, self.method.few_steps, condition),
                            lambda x, r, t: student(x, r, t, condition), lambda x, r, t: average(x, r, t, condition),
                            *(bound(network, part, seen) for network, part, seen in (
                                (student, "posterior", condition), (student, "transition", condition),
                                (auxiliary, "logits", shown))))
        return networks, Batch(index, tuple(data.shape), count, None, data, progress)

    def update_auxiliary(self) -> None:
        """One update of the auxiliary, where the method has one."""
        if self.method.needs_auxiliary:
            self.auxiliary.step(self.method.auxiliary_loss(*self.batch(), self.generator))

    def student_loss(self) -> Tensor:
        """The method's loss on a fresh batch."""
        networks, batch = self.batch(self.student.count / self.settings.updates)
        return self.method.student_loss(networks, batch, self.generator)

    def run(self, updates: int | None = None) -> PointNetwork:
        """Make `updates` of the student (default: all of them); returns its moving average."""
        if self.student.count == 0:
            for _ in range(self.settings.auxiliary_warmup):
                self.update_auxiliary()
        for _ in range(self.settings.updates if updates is None else updates):
            for _ in range(self.settings.auxiliary_updates):
                self.update_auxiliary()
            self.student.step(self.student_loss())
        return self.student.average
