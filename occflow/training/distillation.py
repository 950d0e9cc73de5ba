"""The loop that runs any distillation method on the forecaster: auxiliary and student updates alternate."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from occflow.distill.protocol import Method
from occflow.models.flow_model import FlowModel
from occflow.models.student_networks import around
from occflow.training.bound_networks import DistilledNetworks, EvaluationCount, method_batch
from occflow.training.feeding import FlowFeed
from occflow.training.optimiser import OptimiserSettings, Trainer
from occflow.training.processes import averaging
from occflow.training.randomness import step_generator
from occflow.training.run import TrainingRun
from occflow.training.stability import StabilitySettings, StabilityWatch

UNWATCHED = {"every": 0}


def starting_at(teacher: FlowModel, parts: Mapping | None, seed: int, values: Mapping,
                betas: tuple[float, float], **changes) -> Trainer:
    """A network that starts at the teacher's velocity network, with parts around it, and its optimiser; `steps` 0 is a
    constant rate. The parts' weights follow from the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = around(copy.deepcopy(teacher.velocity), parts).to(teacher.device)
    network.train().requires_grad_(True)
    settings = OptimiserSettings.from_config(values, betas=betas, **changes)
    return Trainer(network, settings, decay=settings.steps > 0)


def distill(forecaster: FlowModel, feed: FlowFeed, method: Method, values: Mapping, seed: int,
            run: TrainingRun, watch: Callable[[Trainer, Trainer | None], None] = lambda student, auxiliary: None
            ) -> FlowModel:
    """A copy of the forecaster whose velocity network is the student.

    A method with `needs_data` is shown true futures, the others conditions alone. stats.jsonl tells the network
    evaluations and the seconds of an update, those of its auxiliary updates among them, and what training.stability
    watches, which may end the training early. `watch` is called after every student update with the trainers of student
    and auxiliary.
    """
    forecaster.velocity.eval().requires_grad_(False)
    title, betas, device = values.get("checkpoint", "student"), tuple(values["betas"]), forecaster.device
    student = starting_at(forecaster, method.student_network, seed, values["student"], betas)
    auxiliary = starting_at(forecaster, method.auxiliary_network, seed, values["auxiliary"], betas, steps=0) \
        if method.needs_auxiliary else None
    warmup = values["auxiliary_warmup"] if auxiliary else 0
    guidance, count = values.get("guidance", 1.0), EvaluationCount()
    networks = DistilledNetworks(forecaster, student.module, auxiliary and auxiliary.module,
                                 student.average if values.get("slow_targets") else None, guidance, count)

    def progress_at(step: int) -> float:
        return max(0, step - warmup) / max(1, student.settings.steps)

    def loss_of(network: Trainer, objective):
        return averaging(network.module, lambda batch, progress, generator: objective(
            networks.bound(batch.condition), method_batch(batch, method.needs_data, progress), generator))

    student_loss = loss_of(student, method.student_loss)
    auxiliary_loss = loss_of(auxiliary, method.auxiliary_loss) if auxiliary else None
    log = run.log(title, warmup + student.settings.steps, values["windows"])
    watched = StabilityWatch(StabilitySettings(**values.get("stability", UNWATCHED)), forecaster,
                             feed.next(values["windows"]), method.few_steps, guidance)
    trainers = {"student": student, **({"auxiliary": auxiliary} if auxiliary else {}), "stability": watched}
    state = run.state(log, trainers, forecaster)
    try:
        first = state.load()
        feed.seek(first * values["windows"])
        for step in range(first, warmup + student.settings.steps):
            if watched.over:
                break
            # one batch a cycle: its layout, rulebooks and mean are built once for all networks and updates
            batch, generator = feed.next(values["windows"]), step_generator(seed, step)
            start, count.total, figures = time.perf_counter(), 0, {}
            updates = (1 if step < warmup else values["auxiliary_updates"]) if auxiliary else 0
            for _ in range(updates):
                loss = precise(run, device, auxiliary_loss, batch, progress_at(step), generator)
                auxiliary.step(loss)
                figures["auxiliary_loss"] = figures.get("auxiliary_loss", 0.0) + loss.item() / updates
            if updates:
                figures |= watched.follow(figures["auxiliary_loss"])
            if step >= warmup:
                loss = precise(run, device, student_loss, batch, progress_at(step), generator)
                figures["gradient_norm"] = student.step(loss)
                watch(student, auxiliary)
                figures |= {"network_evaluations": count.total, "update_seconds": time.perf_counter() - start}
                figures |= watched.compare(student.count, student.average)
            log.add(figures)
            state.save_if_due()
        log.finish()
        state.save()  # until the student's checkpoint stands
    finally:
        log.close()
    result = copy.deepcopy(forecaster)
    result.velocity = watched.chosen(student.average).eval()
    return result


def precise(run: TrainingRun, device, loss, *arguments) -> Tensor:
    """The loss, computed in the run's precision."""
    with run.autocast(device):
        return loss(*arguments)
