"""What tells early that a distillation goes astray, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from occflow.errors import InputError
from occflow.flow.share import Share
from occflow.flow.solvers import sample_flow
from occflow.models.flow_model import FlowModel
from occflow.models.motion import MotionModel
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
        samples: of one condition, of student and teacher each; at least 2. teacher_steps: Euler steps of the teacher.
        patience: comparisons without a lower energy after which the training stops; 0: never.
        auxiliary_limit: the training stops where the auxiliary's loss is so many times its lowest; 0: never.
    """

    every: int = 20
    samples: int = 2
    teacher_steps: int = 5
    patience: int = 0
    auxiliary_limit: float = 0.0

    def __post_init__(self) -> None:
        if self.samples < 2 or min(self.every, self.patience, self.auxiliary_limit) < 0 or self.teacher_steps < 1:
            raise InputError("distill.stability: wants samples >= 2, teacher_steps >= 1, and no negative numbers")
        if self.patience and not self.every:
            raise InputError("distill.stability: patience needs every > 0")


class StabilityWatch:
    """Compares the student's moving average with the teacher on one fixed condition, and follows the auxiliary's loss.

    The teacher is guided as the one that is distilled. With `patience` or `auxiliary_limit` the weights of the lowest
    energy are what is kept. A state of it is saved and loaded with those of the trainers; its figures are the joint
    batch's, the same in all processes.
    """

    def __init__(self, settings: StabilitySettings, forecaster: FlowModel | MotionModel,
                 batch: FlowBatch | MotionBatch, few_steps: str, guidance: float = 1.0) -> None:
        self.settings, self.condition, self.few_steps = settings, batch.condition, few_steps
        self.context = (batch.condition.forecast, batch.condition.layout)
        infinite = partial(torch.tensor, math.inf, dtype=torch.float64)
        self.smoothed, self.lowest_loss = (infinite(device=batch.condition.forecast.mean.device) for _ in range(2))
        self.lowest_energy = infinite()
        self.best: dict[str, Tensor] = {}
        self.count = 0  # comparisons since the lowest energy
        generator, like = torch.Generator().manual_seed(SEED), batch.condition.forecast.mean
        self.rows = batch.condition.rows or Share.whole(len(like))
        self.noises = [self.rows.noise(like.shape[1], generator, like) for _ in range(2 * settings.samples)]
        self.truth = self._of_teacher(forecaster, guidance) if settings.every else []

    @torch.no_grad()
    def _of_teacher(self, forecaster: FlowModel | MotionModel, guidance: float) -> list[Tensor]:
        velocity, layout = forecaster.velocity_field(self.condition, guidance), self.condition.layout
        return [sample_flow(velocity, noise, layout.sample, layout.num_samples, self.settings.teacher_steps)
                for noise in self.noises[self.settings.samples:]]

    def follow(self, loss: Tensor) -> Figures:
        """The auxiliary's smoothed loss, of a loss (scalar, float64), relative to its lowest: a blow-up begins here."""
        self.smoothed = torch.where(self.smoothed.isfinite(), torch.lerp(loss, self.smoothed, SMOOTHING), loss)
        self.lowest_loss = torch.minimum(self.lowest_loss, self.smoothed)
        return {"auxiliary_ratio": self.smoothed / self.lowest_loss}

    @torch.no_grad()
    def compare(self, updates: int, student: nn.Module) -> Figures:
        """Every so many updates: the energy distance to the teacher's samples (root mean square distances of whole
        residuals), and how varied the samples are, relative to the teacher's.

        Raises:
            NonFiniteLoss: a sample of the student is not finite.
        """
        if not self.settings.every or updates % self.settings.every:
            return {}
        own = [sample_student(student, noise, self.condition.layout.num_samples, 1, self.few_steps, *self.context)
               for noise in self.noises[:self.settings.samples]]
        between, among, teachers = (distances(*pair, self.rows) for pair in (
            (own, self.truth), (own, own), (self.truth, self.truth)))
        energy = 2 * between - among - teachers
        if not math.isfinite(energy):
            raise NonFiniteLoss(f"the student's samples are not finite after {updates} updates (distance to the "
                                f"teacher: {energy}); lower distill.student.learning_rate")
        self.count += 1
        if energy < float(self.lowest_energy):
            self.lowest_energy, self.count = torch.tensor(energy, dtype=torch.float64), 0
            if self.stops_ever:
                self.best = {name: tensor.clone() for name, tensor in student.state_dict().items()}
        return {"energy_to_teacher": energy, "spread": among / max(teachers, 1e-12)}

    @property
    def stops_ever(self) -> bool:
        return self.settings.patience > 0 or self.settings.auxiliary_limit > 0

    @property
    def over(self) -> bool:
        """Whether the training should stop now."""
        limit, patience = self.settings.auxiliary_limit, self.settings.patience
        return bool(patience and self.count >= patience) or bool(
            limit and self.smoothed.isfinite() and self.smoothed > limit * self.lowest_loss)

    def chosen(self, student: nn.Module) -> nn.Module:
        """The student with the weights that are kept: those of the lowest energy where it may stop, else its own."""
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


def distances(first: list[Tensor], second: list[Tensor], rows: Share) -> float:
    """Mean root mean square distance of the samples [N, C] of two lists; pairs of a sample with itself are left out."""
    found = [float(rows.joint_mean((a - b).pow(2)).sqrt()) for a in first for b in second if a is not b]
    return sum(found) / len(found)
