"""The loop that runs a distillation method on the forecaster: auxiliary and student updates alternate."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import torch

from occflow.distill.protocol import Batch, Method, Networks
from occflow.models.forecaster import Condition, FlowForecaster
from occflow.models.velocity import VelocityNetwork
from occflow.training.engine import OptimiserSettings, RunLog, Trainer
from occflow.training.feeding import FlowFeed
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
            stats: Path) -> FlowForecaster:
    """A copy of the forecaster whose velocity network is the one-step student.

    The student and the auxiliary start at the teacher. No true future is used, only conditions.
    """
    generator = torch.Generator().manual_seed(seed)
    teacher = forecaster.velocity.eval().requires_grad_(False)
    student = Trainer(copy.deepcopy(teacher).train().requires_grad_(True),
                      OptimiserSettings.from_config(values["student"], betas=tuple(values["betas"])))
    auxiliary = Trainer(copy.deepcopy(teacher).train().requires_grad_(True),
                        OptimiserSettings.from_config(values["auxiliary"], betas=tuple(values["betas"]), steps=0),
                        decay=False)
    log = RunLog(stats, "student", student.settings.steps, values["windows"])

    def update_auxiliary(condition: Condition) -> float:
        networks = bound_networks(teacher, auxiliary.module, student.module, condition)
        loss = method.auxiliary_loss(networks, flow_batch(condition), generator)
        auxiliary.step(loss)
        return loss.item()

    try:
        for _ in range(values["auxiliary_warmup"]):
            update_auxiliary(feed.next(values["windows"]).condition)
        for _ in range(student.settings.steps):
            # one batch a cycle: its layout, rulebooks and mean are built once for all networks and updates
            condition = feed.next(values["windows"]).condition
            losses = [update_auxiliary(condition) for _ in range(values["auxiliary_updates"])]
            networks = bound_networks(teacher, auxiliary.module, student.module, condition)
            loss = method.student_loss(networks, flow_batch(condition), generator)
            norm = student.step(loss)
            log.add({"auxiliary_loss": sum(losses) / max(1, len(losses)), "gradient_norm": norm})
    finally:
        log.close()
    result = copy.deepcopy(forecaster)
    result.velocity = student.average.eval()
    return result
