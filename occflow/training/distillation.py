"""The loop that runs a distillation method on the forecaster: auxiliary and student updates alternate."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch

from occflow.distill.protocol import Batch, Method, Networks
from occflow.models.forecaster import Condition, FlowForecaster
from occflow.models.velocity import VelocityNetwork
from occflow.training.feeding import FlowFeed
from occflow.training.optimiser import OptimiserSettings, Trainer
from occflow.training.processes import averaging
from occflow.training.randomness import step_generator
from occflow.training.run import TrainingRun
from occflow.training.teacher import state_weight


def bound_networks(teacher: VelocityNetwork, auxiliary: VelocityNetwork, student: VelocityNetwork,
                   condition: Condition) -> Networks:
    """The three networks with the condition bound; all see the same condition (DISTILLATION section 13)."""
    forecast, layout = condition.forecast, condition.layout

    def one_step(noise: torch.Tensor) -> torch.Tensor:
        r = noise.new_zeros(layout.num_samples)
        return noise - student(noise, r, r + 1, forecast, layout)

    return Networks(teacher=lambda x, t: teacher(x, t, t, forecast, layout),
                    auxiliary=lambda x, t: auxiliary(x, t, t, forecast, layout), student=one_step)


def flow_batch(condition: Condition) -> Batch:
    """The method's view of a condition."""
    shape = tuple(condition.forecast.mean.shape)
    return Batch(condition.sample, shape, condition.layout.num_samples, state_weight(condition))


def distill(forecaster: FlowForecaster, feed: FlowFeed, method: Method, values: Mapping, seed: int,
            run: TrainingRun) -> FlowForecaster:
    """A copy of the forecaster whose velocity network is the one-step student.

    The student and the auxiliary start at the teacher. No true future is used, only conditions.
    """
    teacher = forecaster.velocity.eval().requires_grad_(False)
    student = Trainer(copy.deepcopy(teacher).train().requires_grad_(True),
                      OptimiserSettings.from_config(values["student"], betas=tuple(values["betas"])))
    auxiliary = Trainer(copy.deepcopy(teacher).train().requires_grad_(True),
                        OptimiserSettings.from_config(values["auxiliary"], betas=tuple(values["betas"]), steps=0),
                        decay=False)
    warmup, device = values["auxiliary_warmup"], forecaster.device

    def networks(condition: Condition) -> Networks:
        return bound_networks(teacher, auxiliary.module, student.module, condition)

    auxiliary_loss = averaging(auxiliary.module, lambda condition, generator: method.auxiliary_loss(
        networks(condition), flow_batch(condition), generator))
    student_loss = averaging(student.module, lambda condition, generator: method.student_loss(
        networks(condition), flow_batch(condition), generator))
    log = run.log("student", warmup + student.settings.steps, values["windows"])
    state = run.state(log, {"student": student, "auxiliary": auxiliary}, forecaster)
    try:
        first = state.load()
        feed.seek(first * values["windows"])
        for step in range(first, warmup + student.settings.steps):
            # one batch a cycle: its layout, rulebooks and mean are built once for all networks and updates
            condition, generator = feed.next(values["windows"]).condition, step_generator(seed, step)
            figures: dict[str, list[float]] = {"auxiliary_loss": []}
            for _ in range(1 if step < warmup else values["auxiliary_updates"]):
                with run.autocast(device):
                    loss = auxiliary_loss(condition, generator)
                auxiliary.step(loss)
                figures["auxiliary_loss"].append(loss.item())
            if step >= warmup:
                with run.autocast(device):
                    loss = student_loss(condition, generator)
                figures["gradient_norm"] = [student.step(loss)]
            log.add({name: sum(each) / max(1, len(each)) for name, each in figures.items()})
            state.save_if_due()
        log.finish()
        state.save()  # until the student's checkpoint stands
    finally:
        log.close()
    result = copy.deepcopy(forecaster)
    result.velocity = student.average.eval()
    return result
