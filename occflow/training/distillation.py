"""The loop that runs any distillation method on the forecaster: auxiliary and student updates alternate."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from occflow.distill.protocol import Batch, Method, Networks
from occflow.models.forecaster import Condition, FlowForecaster
from occflow.models.velocity import VelocityNetwork
from occflow.training.feeding import FlowBatch, FlowFeed
from occflow.training.optimiser import OptimiserSettings, Trainer
from occflow.training.processes import averaging
from occflow.training.randomness import step_generator
from occflow.training.run import TrainingRun
from occflow.training.teacher import state_weight


class Distillation:
    """The networks of a method, and its two kinds of update. Student and auxiliary start at the teacher.

    `evaluations` counts the calls of all networks; a call inside a forward-mode derivative counts as one, and costs
    about two.
    """

    def __init__(self, forecaster: FlowForecaster, method: Method, values: Mapping, run: TrainingRun) -> None:
        self.teacher = forecaster.velocity.eval().requires_grad_(False)
        self.method, self.values, self.run, self.device = method, values, run, forecaster.device
        self.evaluations, betas = 0, tuple(values["betas"])
        self.student = self._trainer(OptimiserSettings.from_config(values["student"], betas=betas))
        self.auxiliary = self._trainer(OptimiserSettings.from_config(values["auxiliary"], betas=betas, steps=0),
                                       decay=False) if method.needs_auxiliary else None
        self.student_loss = averaging(self.student.module, self._bound(method.student_loss))
        if self.auxiliary:
            self.auxiliary_loss = averaging(self.auxiliary.module, self._bound(method.auxiliary_loss))

    def _trainer(self, settings: OptimiserSettings, decay: bool = True) -> Trainer:
        return Trainer(copy.deepcopy(self.teacher).train().requires_grad_(True), settings, decay)

    def _bound(self, loss: Callable[[Networks, Batch, torch.Generator], Tensor]) -> Callable[..., Tensor]:
        """A loss of the method as a function of (batch of windows, progress, generator)."""
        return lambda batch, progress, generator: loss(self.networks(batch.condition),
                                                       flow_batch(batch, progress), generator)

    @property
    def trainers(self) -> dict[str, Trainer]:
        """The networks that learn, by name."""
        return {"student": self.student} | ({"auxiliary": self.auxiliary} if self.auxiliary else {})

    @property
    def warmup(self) -> int:
        """Cycles with an auxiliary update only."""
        return self.values["auxiliary_warmup"] if self.auxiliary else 0

    def networks(self, condition: Condition) -> Networks:
        """All networks with the condition bound; all see the same one (DISTILLATION section 13)."""
        forecast, layout = condition.forecast, condition.layout

        def average_of(network: VelocityNetwork) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
            def average(x: Tensor, r: Tensor, t: Tensor) -> Tensor:
                self.evaluations += 1
                return network(x, r, t, forecast, layout)
            return average

        def velocity_of(network: VelocityNetwork) -> Callable[[Tensor, Tensor], Tensor]:
            average = average_of(network)
            return lambda x, t: average(x, t, t)

        def one_step(noise: Tensor) -> Tensor:
            r = noise.new_zeros(layout.num_samples)
            return noise - student(noise, r, r + 1)

        student = average_of(self.student.module)
        return Networks(velocity_of(self.teacher), velocity_of(self.auxiliary.module) if self.auxiliary else None,
                        one_step, student, average_of(self.student.average))

    def cycle(self, step: int, batch: FlowBatch, generator: torch.Generator) -> dict[str, float]:
        """The updates of one step on one batch, whose layout, rulebooks and mean are shared by all of them.

        Returns:
            means over the step's updates, for the record; of the student only where it was updated.
        """
        start, before, figures = time.perf_counter(), self.evaluations, {}
        if self.auxiliary:
            losses = [self._update_auxiliary(batch, generator)
                      for _ in range(1 if step < self.warmup else self.values["auxiliary_updates"])]
            figures["auxiliary_loss"] = sum(losses) / max(1, len(losses))
        if step >= self.warmup:
            progress = self.student.count / self.student.settings.steps
            with self.run.autocast(self.device):
                loss = self.student_loss(batch, progress, generator)
            figures |= {"student_loss": loss.item(), "gradient_norm": self.student.step(loss)}
        return {**figures, "network_evaluations": self.evaluations - before,
                "cycle_seconds": time.perf_counter() - start}

    def _update_auxiliary(self, batch: FlowBatch, generator: torch.Generator) -> float:
        with self.run.autocast(self.device):
            loss = self.auxiliary_loss(batch, 0.0, generator)
        self.auxiliary.step(loss)
        return loss.item()


def flow_batch(batch: FlowBatch, progress: float = 1.0) -> Batch:
    """The method's view of a batch of windows."""
    condition = batch.condition
    return Batch(condition.sample, tuple(condition.forecast.mean.shape), condition.layout.num_samples,
                 state_weight(condition), batch.data, progress)


def distill(forecaster: FlowForecaster, feed: FlowFeed, method: Method, values: Mapping, seed: int,
            run: TrainingRun, title: str = "student") -> FlowForecaster:
    """A copy of the forecaster whose velocity network is the student.

    True futures are used only by methods that need data; the others see conditions alone.
    """
    distillation = Distillation(forecaster, method, values, run)
    steps = distillation.warmup + distillation.student.settings.steps
    log = run.log(title, steps, values["windows"])
    state = run.state(log, distillation.trainers, forecaster)
    try:
        first = state.load()
        feed.seek(first * values["windows"])
        for step in range(first, steps):
            log.add(distillation.cycle(step, feed.next(values["windows"]), step_generator(seed, step)))
            state.save_if_due()
        log.finish()
        state.save()  # until the student's checkpoint stands
    finally:
        log.close()
    result = copy.deepcopy(forecaster)
    result.velocity = distillation.student.average.eval()
    return result
