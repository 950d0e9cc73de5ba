"""Flows of points in the plane with exact teachers: a network, its training, and how far its samples are off."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from occflow.distill.protocol import Batch, Method, Networks
from occflow.flow.closed_form import MixtureFlow
from occflow.flow.path import noised
from occflow.sparse.layers import FourierEmbedding, zero_initialised
from occflow.training.bound_networks import EvaluationCount
from occflow.training.optimiser import OptimiserSettings, Trainer

AUXILIARY_WARMUP = 100  # updates before the student's first


class ToyNetwork(nn.Module):
    """u(x, r, t | condition) of points in the plane; conditions are one-hot [N, K]."""

    def __init__(self, conditions: int = 1, width: int = 96) -> None:
        super().__init__()
        self.time, self.interval = FourierEmbedding(width), FourierEmbedding(width)
        zero_initialised(self.interval.net[-1])
        self.inputs = nn.Linear(2 + conditions, width)
        self.layers = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
                                    nn.Linear(width, 2))

    def forward(self, x: Tensor, r: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """x [N, 2], r and t [N] -> [N, 2]."""
        return self.layers(self.inputs(torch.cat([x, condition], 1)) + self.time(t) + self.interval(t - r))


@dataclass(frozen=True)
class ToyProblem:
    """One mixture a condition, all equally frequent; `guidance` is of the teacher (the blind one knows all of them)."""

    mixtures: tuple[MixtureFlow, ...]
    guidance: float = 1.0

    def conditions(self, count: int, generator: torch.Generator) -> Tensor:
        """One-hot [count, K]."""
        drawn = torch.randint(len(self.mixtures), (count,), generator=generator)
        return nn.functional.one_hot(drawn, len(self.mixtures)).float()

    def data(self, condition: Tensor, generator: torch.Generator) -> Tensor:
        """Exact samples [N, 2]."""
        count, samples = len(condition), torch.zeros(len(condition), 2)
        for index, mixture in enumerate(self.mixtures):
            chosen = torch.multinomial(mixture.weights, count, True, generator=generator)
            drawn = mixture.means[chosen] + mixture.std * torch.randn(count, 2, generator=generator)
            samples = torch.where(condition[:, index:index + 1] > 0, drawn, samples)
        return samples

    def velocity(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """The teacher's velocity [N, 2]."""
        own = sum(condition[:, i:i + 1] * one.velocity(x, t[:, None]) for i, one in enumerate(self.mixtures))
        return own if self.guidance == 1 else torch.lerp(self.everything().velocity(x, t[:, None]), own, self.guidance)

    def everything(self) -> MixtureFlow:
        """The mixture over all conditions."""
        weights = torch.cat([one.weights for one in self.mixtures]) / len(self.mixtures)
        return MixtureFlow(weights, torch.cat([one.means for one in self.mixtures]), self.mixtures[0].std)


def ring(modes: int = 8, radius: float = 2.0, std: float = 0.15) -> ToyProblem:
    """Gaussians on a circle."""
    angles = 2 * math.pi * torch.arange(modes) / modes
    return ToyProblem((MixtureFlow(torch.full((modes,), 1 / modes),
                                   radius * torch.stack([angles.cos(), angles.sin()], 1), std),))


def two_futures(guidance: float = 1.0, share: float = 0.7, std: float = 0.2) -> ToyProblem:
    """Two conditions with two futures each, of weights `share` and the rest; no two futures at one place."""
    weights = torch.tensor([share, 1 - share])
    across, along = torch.tensor([[1.5, 0.0], [-1.5, 0.0]]), torch.tensor([[0.0, 1.5], [0.0, -1.5]])
    return ToyProblem((MixtureFlow(weights, across, std), MixtureFlow(weights, along, std)), guidance)


def rare_share(samples: Tensor, condition: Tensor) -> float:
    """Share of the samples of `two_futures` that are nearer to the rare future of their condition."""
    place = torch.where(condition[:, :1] > 0, samples[:, :1], samples[:, 1:])
    return (place < 0).float().mean().item()


def start_network(problem: ToyProblem, values: Mapping, seed: int) -> ToyNetwork:
    """What students and auxiliaries start at: a network fitted to the teacher's own velocity."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    settings = OptimiserSettings(values["start_steps"], 2e-3, 20, 10.0, 0.99)
    trainer = Trainer(ToyNetwork(len(problem.mixtures)), settings)
    for _ in range(values["start_steps"]):
        condition = problem.conditions(values["samples"], generator)
        t = torch.rand(len(condition), generator=generator)
        x = problem.data(condition, generator)
        x_t = noised(x, torch.randn(x.shape, generator=generator), t, torch.arange(len(t))).x_t
        error = (trainer.module(x_t, t, t, condition) - problem.velocity(x_t, t, condition)) ** 2
        trainer.step(error.mean())
    return trainer.average


@dataclass(frozen=True)
class Distilled:
    """A student, and the network evaluations of its updates."""

    student: ToyNetwork
    evaluations: float


def distil(problem: ToyProblem, start: ToyNetwork, method: Method, values: Mapping, betas: tuple[float, float],
           seed: int, seen_by_auxiliary: Callable[[Tensor], Tensor] = lambda condition: condition) -> Distilled:
    """Alternating updates as for the forecaster; `seen_by_auxiliary` can spoil the auxiliary's condition."""
    def trainer(decay: bool) -> Trainer:
        network = copy.deepcopy(start).train().requires_grad_(True)
        return Trainer(network, OptimiserSettings(values["steps"], values["learning_rate"], 20, 1.0, 0.99, betas),
                       decay)

    student, generator, count = trainer(True), torch.Generator().manual_seed(seed), EvaluationCount()
    auxiliary = trainer(False) if method.needs_auxiliary else None
    index = torch.arange(values["samples"])
    for step in range(-AUXILIARY_WARMUP if auxiliary else 0, values["steps"]):
        for update in range((values["auxiliary_updates"] if auxiliary else 0) + 1):
            is_student = update == (values["auxiliary_updates"] if auxiliary else 0)
            if is_student and step < 0:
                continue
            condition = problem.conditions(len(index), generator)
            networks = bound(problem, student, auxiliary, condition, seen_by_auxiliary(condition), count)
            batch = Batch(index, (len(index), 2), len(index), progress=max(0, step) / values["steps"])
            if method.needs_data:
                batch = replace(batch, data=problem.data(condition, generator))
            loss = (method.student_loss if is_student else method.auxiliary_loss)(networks, batch, generator)
            (student if is_student else auxiliary).step(loss)
        count.total = 0 if step < 0 else count.total
    return Distilled(student.average.eval(), count.total / values["steps"])


def bound(problem: ToyProblem, student: Trainer, auxiliary: Trainer | None, condition: Tensor, seen: Tensor,
          count: EvaluationCount) -> Networks:
    """The networks of a batch; `seen` is the auxiliary's condition."""
    average = count.counted(lambda x, r, t: student.module(x, r, t, condition))

    def one_step(noise: Tensor) -> Tensor:
        r = torch.zeros(len(noise))
        return noise - average(noise, r, r + 1)

    return Networks(count.counted(lambda x, t: problem.velocity(x, t, condition)),
                    auxiliary and count.counted(lambda x, t: auxiliary.module(x, t, t, seen)), one_step, average,
                    count.counted(lambda x, r, t: student.average(x, r, t, condition)))


def energy_distance(a: Tensor, b: Tensor) -> float:
    """Unbiased 2 E|a - b| - E|a - a'| - E|b - b'| of samples [N, D] and [M, D]; 0 in expectation for equal laws."""
    def within(x: Tensor) -> float:
        return torch.cdist(x, x).sum().item() / (len(x) * (len(x) - 1))

    return 2 * torch.cdist(a, b).mean().item() - within(a) - within(b)
