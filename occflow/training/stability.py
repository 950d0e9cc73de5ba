"""What tells early that a distillation goes astray, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from occflow.errors import InputError
from occflow.flow.share import Share
from occflow.flow.solvers import METHODS, sample_flow
from occflow.models.flow_model import Condition, FlowModel
from occflow.models.motion import MotionCondition, MotionModel
from occflow.models.student_networks import sample_student
from occflow.training.feeding import FlowBatch
from occflow.training.motion import MotionBatch
from occflow.training.optimiser import NonFiniteLoss
from occflow.training.run_log import Figures

SMOOTHING = 0.9  # of the auxiliary's loss: the mean of some ten updates
SEED = 20_240  # of the noises that are compared


@dataclass(frozen=True)
class StabilitySettings:
    """How a distillation is watched.

    Args:
        every: student updates between two comparisons with the teacher; 0: none.
        conditions: windows that it is compared on, which the training does not draw; at least so many.
        samples: of one condition, of student and teacher each; at least 2.
        teacher_steps, teacher_solver: of the teacher's samples.
        keep_best: keep the weights of the lowest energy, not the last ones.
        patience: comparisons without a lower energy after which the training stops; 0: never.
        auxiliary_limit: the training stops where the auxiliary's loss is so many times its lowest; 0: never.
    """

    every: int = 20
    conditions: int = 8
    samples: int = 2
    teacher_steps: int = 3
    teacher_solver: str = "heun"
    keep_best: bool = True
    patience: int = 0
    auxiliary_limit: float = 0.0

    def __post_init__(self) -> None:
        if self.samples < 2 or min(self.every, self.patience, self.auxiliary_limit) < 0 or \
                min(self.teacher_steps, self.conditions) < 1:
            raise InputError("distill.stability: wants samples >= 2, teacher_steps and conditions >= 1, and no "
                             "negative numbers")
        if self.teacher_solver not in METHODS:
            raise InputError(f"distill.stability.teacher_solver: unknown solver '{self.teacher_solver}'; use "
                             f"{' or '.join(METHODS)}")
        if self.patience and not self.every:
            raise InputError("distill.stability: patience needs every > 0")


class StabilityWatch:
    """Compares the student's moving average with the teacher under fixed conditions, and follows the auxiliary's loss.

    The energy distance is that of one condition (`distance_under`); the figure is the mean over conditions. Noises and
    the teacher's samples stay the same, so that comparisons differ by the student alone. The teacher is guided as the
    one that is distilled. The weights of the lowest energy are what is kept, where a setting asks for it; of
    equal ones the later. A state of it is saved and loaded with those of the trainers; its figures are the joint
    batches', the same in all processes.

    Args:
        batches: the conditions, which can be gone through again and again (`feeding.HeldBack`): nothing of them is
            kept here but the teacher's samples.
        few_steps, steps: how the student takes steps, and how many.
    """

    def __init__(self, settings: StabilitySettings, forecaster: FlowModel | MotionModel,
                 batches: Iterable[FlowBatch | MotionBatch], few_steps: str, guidance: float = 1.0,
                 steps: int = 1) -> None:
        self.settings, self.batches, self.guidance = settings, batches, guidance
        self.few_steps, self.steps = few_steps, steps
        infinite = partial(torch.tensor, math.inf, dtype=torch.float64)
        self.smoothed, self.lowest_loss = (infinite(device=forecaster.device) for _ in range(2))
        self.lowest_energy = infinite()
        self.best: dict[str, Tensor] = {}
        self.count = 0  # comparisons since the lowest energy
        self.teachers = [self._of_teacher(forecaster, *one) for one in enumerate(batches)] if settings.every else []

    def noises(self, place: int, condition: Condition | MotionCondition) -> tuple[list[Tensor], list[Tensor]]:
        """Noises [N, C] of a batch: the student's, and others for the teacher."""
        generator, like = torch.Generator().manual_seed(SEED + place), condition.forecast.mean
        rows, samples = condition.rows or Share.whole(len(like)), self.settings.samples
        drawn = [rows.noise(like.shape[1], generator, like) for _ in range(2 * samples)]
        return drawn[:samples], drawn[samples:]

    @torch.no_grad()
    def _of_teacher(self, forecaster: FlowModel | MotionModel, place: int, batch: FlowBatch | MotionBatch
                    ) -> list[Tensor]:
        velocity, layout = forecaster.velocity_field(batch.condition, self.guidance), batch.condition.layout
        return [sample_flow(velocity, noise, layout.sample, layout.num_samples, self.settings.teacher_steps,
                            self.settings.teacher_solver) for noise in self.noises(place, batch.condition)[1]]

    def follow(self, loss: Tensor) -> Figures:
        """The auxiliary's smoothed loss, of a loss (scalar, float64), relative to its lowest: a blow-up begins here."""
        self.smoothed = torch.where(self.smoothed.isfinite(), torch.lerp(loss, self.smoothed, SMOOTHING), loss)
        self.lowest_loss = torch.minimum(self.lowest_loss, self.smoothed)
        return {"auxiliary_ratio": self.smoothed / self.lowest_loss}

    @torch.no_grad()
    def compare(self, updates: int, student: nn.Module, last: bool = False) -> Figures:
        """Every so many updates and after the last one: the energy distance to the teacher's samples, and how varied
        the samples are, relative to the teacher's.

        Raises:
            NonFiniteLoss: a sample of the student is not finite.
        """
        if not self.settings.every or updates % self.settings.every and not last:
            return {}
        found = [self._compared(student, *one) for one in zip(range(len(self.teachers)), self.batches, self.teachers)]
        energy, among, teachers = torch.stack(found).mean(dim=0).tolist()
        if not math.isfinite(energy):
            raise NonFiniteLoss(f"the student's samples are not finite after {updates} updates (distance to the "
                                f"teacher: {energy}); lower distill.student.learning_rate")
        lowest = float(self.lowest_energy)
        self.count = 0 if energy < lowest else self.count + 1
        if energy <= lowest:
            self.lowest_energy = torch.tensor(energy, dtype=torch.float64)
            if self.keeps_best:
                self.best = {name: tensor.clone() for name, tensor in student.state_dict().items()}
        return {"energy_to_teacher": energy, "spread": among / max(teachers, 1e-12)}

    def _compared(self, student: nn.Module, place: int, batch: FlowBatch | MotionBatch, truth: list[Tensor]) -> Tensor:
        """[3] float64, means over the windows of a joint batch: energy distance, and the mean distance of two samples
        of the student and of the teacher."""
        condition = batch.condition
        own = [sample_student(student, noise, condition.layout.num_samples, self.steps, self.few_steps,
                              condition.forecast, condition.layout) for noise in self.noises(place, condition)[0]]
        distance = distance_under(condition)
        between, among, teachers = (mean_distance(*pair, distance) for pair in ((own, truth), (own, own),
                                                                                 (truth, truth)))
        windows = batch.samples or Share.whole(len(among))
        return torch.stack([windows.joint_mean(one) for one in (2 * between - among - teachers, among, teachers)])

    @property
    def keeps_best(self) -> bool:
        return self.settings.keep_best or self.settings.patience > 0 or self.settings.auxiliary_limit > 0

    @property
    def over(self) -> bool:
        """Whether the training should stop now."""
        limit, patience = self.settings.auxiliary_limit, self.settings.patience
        return bool(patience and self.count >= patience) or bool(
            limit and self.smoothed.isfinite() and self.smoothed > limit * self.lowest_loss)

    def chosen(self, student: nn.Module) -> nn.Module:
        """The student with the weights that are kept: those of the lowest energy where settings ask for it, else its
        own."""
        if self.best:
            student.load_state_dict(self.best)
        return student

    def tensors(self) -> dict[str, Tensor]:
        """All that `load` needs."""
        figures = {name: getattr(self, name) for name in ("smoothed", "lowest_loss", "lowest_energy")}
        return {**figures, **{f"best.{name}": tensor for name, tensor in self.best.items()}}

    def load(self, tensors: Mapping[str, Tensor], count: int) -> None:
        """Go on from `tensors()`."""
        for name in ("smoothed", "lowest_loss", "lowest_energy"):
            setattr(self, name, tensors[name].to(getattr(self, name).device))
        self.best = {name[len("best."):]: tensor for name, tensor in tensors.items() if name.startswith("best.")}
        self.count = count


Distance = Callable[[Tensor, Tensor], Tensor]  # of two samples [N, C] of the windows of a condition, [B] float64


def mean_distance(first: list[Tensor], second: list[Tensor], distance: Distance) -> Tensor:
    """Mean distances [B] of the samples of two lists; pairs of a sample with itself are left out."""
    return torch.stack([distance(a, b) for a in first for b in second if a is not b]).mean(dim=0)


def distance_under(condition: Condition | MotionCondition) -> Distance:
    """How far apart two samples of a flow are, window by window, whatever else is in the batch.

    Of voxels: the Jaccard distance of the sites where something is, which is that of `eval.ensemble` before decoding. A
    norm of whole residuals does not see that a student's occupancy contracts (docs/research/distillation.md). Of
    motions: the root mean square of the residuals, by the weights of the losses. A sample that is not finite is nowhere
    near: nan.
    """
    sample, windows = condition.sample, condition.layout.num_samples

    def summed(values: Tensor) -> Tensor:
        return torch.zeros(windows, dtype=torch.float64, device=values.device).index_add_(0, sample, values.double())

    def jaccard(a: Tensor, b: Tensor) -> Tensor:
        first, second = condition.occupied(a), condition.occupied(b)
        union = summed(first | second)
        broken = summed((0 * a + 0 * b).sum(dim=1))  # 0, or nan
        return torch.where(union > 0, 1 - summed(first & second) / union.clamp(min=1), 0.0) + broken

    def root_mean_square(a: Tensor, b: Tensor) -> Tensor:
        squares = (condition.weight * (a - b).square()).mean(dim=1)
        return (summed(squares) / summed(torch.ones_like(squares)).clamp(min=1)).sqrt()

    return jaccard if isinstance(condition, Condition) else root_mean_square
