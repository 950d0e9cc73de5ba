"""Any distillation method on the forecaster: its networks as a method takes them, and the training, in which auxiliary
and student updates alternate."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from occflow.distill.protocol import Batch, Method, Networks
from occflow.flow.path import AverageVelocity, Velocity
from occflow.models.flow_model import Condition, FlowModel
from occflow.models.motion import MotionCondition, MotionModel
from occflow.models.student_networks import around
from occflow.training.engine import make_steps, step_generator
from occflow.training.feeding import FlowBatch, FlowFeed
from occflow.training.motion import MotionBatch, MotionFeed
from occflow.training.optimiser import OptimiserSettings, Trainer
from occflow.training.processes import start_alike
from occflow.training.run import TrainingRun
from occflow.training.run_log import Figures
from occflow.training.stability import StabilitySettings, StabilityWatch

UNWATCHED = {"every": 0}
Flow = TypeVar("Flow", FlowModel, MotionModel)
AnyCondition = Condition | MotionCondition


class EvaluationCount:
    """Counts network evaluations: passes of one network over one batch; a forward-mode derivative is one more.

    Backward passes are not counted, nor the light head of a transition: its heavy part alone is.
    """

    def __init__(self) -> None:
        self.total = 0

    def counted(self, network: Callable[..., Tensor], cost: int = 1) -> Callable[..., Tensor]:
        """The same network, counted; `cost` is the number of passes of a call."""

        def call(x: Tensor, *times: Tensor) -> Tensor:
            with_derivative = forward_ad.unpack_dual(x).tangent is not None
            self.total += 2 * cost if with_derivative else cost
            return network(x, *times)

        return call


@dataclass(frozen=True)
class DistilledNetworks:
    """The networks of a distillation; all see the same condition (docs/methods.md 13).

    Args:
        teacher: the forecaster whose flow is distilled, frozen.
        student, auxiliary: start at the teacher's velocity network; None where the method needs no auxiliary.
        slow_student: moving average of the student, where it makes the targets; else None.
        map: a frozen average velocity of the teacher, where a method asks for one; the auxiliary is one too then.
        guidance: classifier-free guidance of the teacher alone; 1 is none.
        count: of the evaluations.
    """

    teacher: FlowModel | MotionModel
    student: nn.Module
    auxiliary: nn.Module | None
    slow_student: nn.Module | None
    guidance: float
    count: EvaluationCount
    map: nn.Module | None = None

    def bound(self, condition: AnyCondition) -> Networks:
        """The networks of a batch."""
        layout, average = condition.layout, self._average(self.student, condition)

        def one_step(noise: Tensor) -> Tensor:
            r = noise.new_zeros(layout.num_samples)
            return noise - average(noise, r, r + 1)

        teacher = self.count.counted(self.teacher.velocity_field(condition, self.guidance),
                                     1 if self.guidance == 1 else 2)
        return Networks(teacher, self.auxiliary and self._velocity(self.auxiliary, condition), one_step, average,
                        self.slow_student and self._average(self.slow_student, condition),
                        self._part(self.student, "posterior", condition),
                        self._part(self.student, "transition", condition),
                        self._part(self.auxiliary, "logits", condition),
                        self.map and self._average(self.map, condition),
                        self.map and self._average(self.auxiliary, condition))

    def _part(self, network: nn.Module | None, name: str, condition: AnyCondition) -> Callable[..., Tensor] | None:
        """A method that networks with parts of their own have (models.student_networks), condition bound."""
        part = getattr(network, name, None)
        return part and self.count.counted(lambda *inputs: part(*inputs, condition.forecast, condition.layout))

    def _average(self, network: nn.Module, condition: AnyCondition) -> AverageVelocity:
        return self.count.counted(lambda x, r, t: network(x, r, t, condition.forecast, condition.layout))

    def _velocity(self, network: nn.Module, condition: AnyCondition) -> Velocity:
        return self.count.counted(lambda x, t: network(x, t, t, condition.forecast, condition.layout))


def method_batch(batch: FlowBatch | MotionBatch, with_data: bool, progress: float) -> Batch:
    """The method's view of a batch; the true future is in it only `with_data`."""
    condition = batch.condition
    return Batch(condition.sample, tuple(condition.forecast.mean.shape), condition.layout.num_samples,
                 batch.weight if with_data else condition.weight, batch.data if with_data else None, progress,
                 condition.rows, batch.samples, condition.layout.regions)


def _with_parts(velocity: nn.Module, parts: Mapping | None, seed: int) -> nn.Module:
    """A copy of a velocity network with parts around it, whose weights follow from the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return around(copy.deepcopy(velocity), parts).to(next(velocity.parameters()).device)


def student_of(teacher: FlowModel | MotionModel, method: Method, seed: int) -> nn.Module:
    """The student that a method begins with: the teacher itself, with the method's parts around it."""
    return _with_parts(teacher.velocity, method.student_network, seed).eval().requires_grad_(False)


def starting_at(velocity: nn.Module, parts: Mapping | None, seed: int, values: Mapping,
                betas: tuple[float, float], **changes) -> Trainer:
    """A network that starts at a velocity network, with parts around it, and its optimiser; `steps` 0 is a constant
    rate."""
    network = _with_parts(velocity, parts, seed).train().requires_grad_(True)
    settings = OptimiserSettings.from_config(values, betas=betas, **changes)
    return Trainer(network, settings, decay=settings.steps > 0)


def distill(forecaster: Flow, feed: FlowFeed | MotionFeed, method: Method, values: Mapping, seed: int,
            run: TrainingRun, watch: Callable[[Trainer, Trainer | None], None] = lambda student, auxiliary: None,
            start: nn.Module | None = None, teacher_map: nn.Module | None = None) -> Flow:
    """A copy of a flow, that of the voxels or that of the motions, whose velocity network is the student.

    A method with `needs_data` is shown true futures, the others conditions alone. stats.jsonl tells the network
    evaluations and the seconds of an update, those of its auxiliary updates among them, and what training.stability
    watches, which may end the training early. `watch` is called after every student update with the trainers of student
    and auxiliary. `start` is the velocity network of a student that this one goes on from; None: the teacher's.
    `teacher_map` is that of a student that is a flow map of the teacher, for a method with `needs_map`.
    """
    forecaster.velocity.eval().requires_grad_(False)
    title, betas, device = values.get("checkpoint", "student"), tuple(values["betas"]), forecaster.device
    student = starting_at(start or forecaster.velocity, method.student_network, seed, values["student"], betas)
    teacher_map = teacher_map and copy.deepcopy(teacher_map).eval().requires_grad_(False)
    auxiliary = starting_at(teacher_map or forecaster.velocity, method.auxiliary_network, seed, values["auxiliary"],
                            betas, steps=0) if method.needs_auxiliary else None
    warmup = values["auxiliary_warmup"] if auxiliary else 0
    guidance, count = values.get("guidance", 1.0), EvaluationCount()
    networks = DistilledNetworks(forecaster, student.module, auxiliary and auxiliary.module,
                                 student.average if values.get("slow_targets") else None, guidance, count,
                                 teacher_map)

    def loss_of(network: Trainer, objective):
        start_alike(network.module)
        start_alike(network.average)
        return lambda batch, progress, generator: objective(
            networks.bound(batch.condition), method_batch(batch, method.needs_data, progress), generator)

    student_loss = loss_of(student, method.student_loss)
    auxiliary_loss = loss_of(auxiliary, method.auxiliary_loss) if auxiliary else None
    log = run.log(title, warmup + student.settings.steps, values["windows"])
    stability = StabilitySettings(**values.get("stability", UNWATCHED))
    held_back = feed.held_back(stability.conditions, values["windows"]) if stability.every else []
    watched = StabilityWatch(stability, forecaster, held_back, method.few_steps, guidance,
                             getattr(method, "student_steps", 1))

    def update(network: Trainer, loss_of_batch, *drawn) -> tuple[Tensor, Tensor]:
        """The loss, and the gradient's norm."""
        with run.autocast(device):
            loss = loss_of_batch(*drawn)
        norm = network.step(loss)
        return network.loss.double(), norm

    def make_step(step: int) -> Figures:
        # one batch a step: its layout, rulebooks and mean are built once for all networks and updates
        progress = max(0, step - warmup) / max(1, student.settings.steps)
        drawn = feed.next(values["windows"]), progress, step_generator(seed, step)
        start, count.total, figures = time.perf_counter(), 0, {}
        updates = (1 if step < warmup else values["auxiliary_updates"]) if auxiliary else 0
        for _ in range(updates):
            loss, _ = update(auxiliary, auxiliary_loss, *drawn)
            figures["auxiliary_loss"] = figures.get("auxiliary_loss", 0.0) + loss / updates
        if updates:
            figures |= watched.follow(figures["auxiliary_loss"])
        if step >= warmup:
            _, figures["gradient_norm"] = update(student, student_loss, *drawn)
            watch(student, auxiliary)
            figures |= {"network_evaluations": count.total, "update_seconds": time.perf_counter() - start}
            figures |= watched.compare(student.count, student.average, step == log.total_steps - 1)
        return figures

    trainers = {"student": student, **({"auxiliary": auxiliary} if auxiliary else {}), "stability": watched}
    from_here = forecaster if start is None else nn.ModuleList([forecaster, start])
    make_steps(run, log, trainers, from_here, make_step, feed, over=lambda: watched.over)
    result = copy.deepcopy(forecaster)
    result.velocity = watched.chosen(student.average).eval()
    return result
