"""The toy: points in the plane whose exact velocity is known, and the forecaster's methods, optimiser and student
networks on them. A point is a sample of one site.

Read from top to bottom: what is drawn and its exact teacher, a network for it, one training, and what all trainings
of the study have in common.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn

from occflow.distill.consistency import ContinuousConsistency, DiscreteConsistency
from occflow.distill.dmd import DistributionMatching
from occflow.distill.energy import EnergyStudent
from occflow.distill.flow_maps import LagrangianMap, SemigroupMap, TerminalVelocityMatching
from occflow.distill.free_flow import FreeFlow
from occflow.distill.mean_flow import MeanFlow, StabilisedMeanFlow
from occflow.distill.meta_flow_map import MetaFlowMap
from occflow.distill.mfd import MeanFlowDistillation
from occflow.distill.mfd_map import MappedMeanFlowDistillation
from occflow.distill.protocol import Batch, Method, Networks
from occflow.distill.transition import TransitionMatching
from occflow.distill.vsd import VariationalScoreDistillation
from occflow.flow.closed_form import MixtureFlow, unit_gaussian_factor
from occflow.flow.path import noised
from occflow.flow.solvers import mean_velocity
from occflow.flow.times import intervals
from occflow.models.student_networks import around, sample_student
from occflow.sparse.layers import FourierEmbedding, zero_initialised
from occflow.training.optimiser import OptimiserSettings, Trainer

# What is drawn, and the exact teacher


@dataclass(frozen=True)
class PointToy:
    """Mixtures that share their modes and differ in the modes' weights by condition.

    Args:
        weights: [conditions, K], each row sums to one; means: [K, 2]; std: of every mode.
    """

    weights: Tensor
    means: Tensor
    std: float

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Data [count, 2] and their conditions [count], uniform, as the floats 0, 1, ..."""
        condition = torch.randint(len(self.weights), (count,), generator=generator)
        mode = torch.multinomial(self.weights[condition], 1, generator=generator)[:, 0]
        points = self.means[mode] + self.std * torch.randn(count, 2, generator=generator)
        return points, condition.float()

    def velocity(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """The exact v(x, t | c) [N, 2]; t and c are [N]."""
        return MixtureFlow(self.weights[condition.long()], self.means, self.std).velocity(x, t[:, None])

    def guided(self, x: Tensor, t: Tensor, condition: Tensor, scale: float) -> Tensor:
        """Classifier-free guidance v + scale (v_c - v), with v of all conditions together (arXiv 2207.12598)."""
        blind = MixtureFlow(self.weights.mean(0), self.means, self.std).velocity(x, t[:, None])
        return torch.lerp(blind, self.velocity(x, t, condition), scale)

    def nearest_mode(self, x: Tensor) -> Tensor:
        """Index of the mode next to each point [N]."""
        return torch.cdist(x, self.means).argmin(dim=1)

    def off_mode(self, x: Tensor, deviations: float = 4.0) -> float:
        """Share of the points farther than so many standard deviations from every mode."""
        return float((torch.cdist(x, self.means).min(dim=1).values > deviations * self.std).float().mean())


def ring(modes: int = 8, radius: float = 2.0, std: float = 0.15) -> PointToy:
    """Gaussians of equal weight on a ring, without a condition."""
    angles = torch.arange(modes) * (2 * math.pi / modes)
    return PointToy(torch.full((1, modes), 1 / modes), radius * torch.stack([angles.cos(), angles.sin()], 1), std)


def two_futures(common: float = 0.7) -> PointToy:
    """Two futures; under one condition the first is the common one, under the other the second."""
    weights = torch.tensor([[common, 1 - common], [1 - common, common]])
    return PointToy(weights, torch.tensor([[1.5, 0.0], [-1.5, 0.0]]), 0.2)


def energy_distance(first: Tensor, second: Tensor) -> float:
    """2 E|a - b| - E|a - a'| - E|b - b'| of two sets of points, over pairs of different ones (unbiased)."""
    def among(points: Tensor) -> Tensor:
        return torch.cdist(points, points).sum() / (len(points) * (len(points) - 1))

    return float(2 * torch.cdist(first, second).mean() - among(first) - among(second))


# The network

EMBEDDING_CHANNELS = 32


class PointBlock(nn.Module):
    """A residual perceptron that is shown times."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden, self.timed = nn.Linear(width, width), nn.Linear(EMBEDDING_CHANNELS, width)
        self.out = nn.Linear(width, width)

    def forward(self, features: Tensor, embedding: Tensor) -> Tensor:
        return features + self.out(nn.functional.silu(self.hidden(features) + self.timed(embedding)))


class PointNetwork(nn.Module):
    """u(x, r, t | c) of points, built like the forecaster's velocity network, with the same methods: the average
    velocity of unit Gaussian data plus a correction; the interval's embedding starts at zero, so that a student starts
    at its teacher."""

    embedding_channels = EMBEDDING_CHANNELS

    def __init__(self, channels: int = 2, width: int = 64) -> None:
        super().__init__()
        self.state_channels, self.width = channels, width
        self.time, self.interval = FourierEmbedding(EMBEDDING_CHANNELS), FourierEmbedding(EMBEDDING_CHANNELS)
        zero_initialised(self.interval.net[-1])
        self.first = nn.Linear(channels + 1 + EMBEDDING_CHANNELS, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.out = zero_initialised(nn.Linear(width, channels))

    def forward(self, x: Tensor, r: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """x [N, C], r, t and condition [N] -> u(x, r, t) [N, C]."""
        return unit_gaussian_factor(r, t)[:, None] * x + self.out(self.features(x, r, t, condition))

    def features(self, x: Tensor, r: Tensor, t: Tensor, condition: Tensor, shown: Tensor | None = None) -> Tensor:
        """What the last layer reads, [N, W]; `shown` [N, W] is added to the first layer's result."""
        embedding = self.time(t) + self.interval(t - r)
        features = self.first(torch.cat([x, condition[:, None], embedding], dim=1))
        features = nn.functional.silu(features if shown is None else features + shown)
        for layer in self.hidden:
            features = nn.functional.silu(layer(features))
        return features

    def sample_of(self, x: Tensor, condition: Tensor) -> Tensor:
        """Sample index [N]: a point is a sample."""
        return torch.arange(len(x))

    def new_blocks(self, count: int) -> nn.ModuleList:
        return nn.ModuleList(PointBlock(self.width) for _ in range(count))

    def run_blocks(self, blocks: nn.ModuleList, features: Tensor, embedding: Tensor, condition: Tensor) -> Tensor:
        """Features [N, W] through blocks; embedding [N, E]."""
        for block in blocks:
            features = block(features, embedding)
        return features


# A training

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
        teacher_map: a flow map of the teacher, for a method that needs one.
        shown: what the auxiliary is shown of the conditions; anything else than all of it is a mistake, which tests
            and studies make on purpose.
    """

    def __init__(self, method: Method, teacher: Teacher, start: PointNetwork, draw: Draw,
                 settings: PointTraining = PointTraining(), seed: int = 0,
                 shown: Callable[[Tensor], Tensor] = lambda condition: condition,
                 teacher_map: PointNetwork | None = None) -> None:
        self.method, self.teacher, self.draw, self.settings, self.shown = method, teacher, draw, settings, shown
        self.generator, self.teacher_map = torch.Generator().manual_seed(seed), teacher_map
        optimiser = OptimiserSettings(settings.updates, settings.learning_rate, 10, 1.0, 0.99, settings.betas)
        torch.manual_seed(seed)  # for the parts that some students have around the network that they start at
        student, auxiliary = (around(copy.deepcopy(base), parts).requires_grad_(True)
                              for base, parts in ((start, method.student_network),
                                                  (teacher_map or start, method.auxiliary_network)))
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
                                (auxiliary, "logits", shown))),
                            self.teacher_map and (lambda x, r, t: self.teacher_map(x, r, t, condition)),
                            lambda x, r, t: auxiliary(x, r, t, shown))
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


# What the trainings of the study have in common

METHODS: dict[str, Method] = {
    "mfd": MeanFlowDistillation(), "mfd, plain": MeanFlowDistillation(normalise=False),
    "mfd, ralston": MeanFlowDistillation(steps=1, solver="ralston"), "mfd, maps": MappedMeanFlowDistillation(),
    "mfd, two steps": MeanFlowDistillation(student_steps=2),
    "vsd, two steps": VariationalScoreDistillation(student_steps=2, normalise=True),
    "vsd": VariationalScoreDistillation(normalise=True), "vsd, plain": VariationalScoreDistillation(),
    "vsd, 3 draws": VariationalScoreDistillation(draws=3, normalise=True),
    "dmd": DistributionMatching(), "dmd, adversarial": DistributionMatching(adversarial=3e-3),
    "consistency": DiscreteConsistency(), "continuous consistency": ContinuousConsistency(),
    "mean flow (eulerian)": MeanFlow(), "mean flow, data": MeanFlow(True, 0.75),
    "stabilised mean flow": StabilisedMeanFlow(), "lagrangian": LagrangianMap(), "semigroup": SemigroupMap(),
    "free flow": FreeFlow(), "terminal velocity": TerminalVelocityMatching(),
    "terminal velocity, data": TerminalVelocityMatching(True), "meta flow map": MetaFlowMap(),
    "transition": TransitionMatching(head_blocks=2), "energy": EnergyStudent()}
"""With the settings of configs/distill, but for the size of a head and what a name says; "plain" is without the
normaliser."""
REGRESSION_BETAS = (0.9, 0.99)  # methods with an auxiliary forget at once, (0, 0.99): their target moves


@lru_cache(maxsize=2)
def started(conditional: bool, seed: int) -> tuple[PointToy, PointNetwork]:
    """A toy and the network at which its students start."""
    toy = two_futures() if conditional else ring()
    return toy, fitted(toy.velocity, toy.draw, seed)


@lru_cache(maxsize=2)
def mapped(conditional: bool, seed: int) -> PointNetwork:
    """A frozen flow map of the exact teacher."""
    toy, _ = started(conditional, seed)
    return fitted(toy.velocity, toy.draw, seed, steps=8)


def distillation(values: Mapping, toy: PointToy, start: PointNetwork, method: Method, seed: int,
                 auxiliary_updates: int | None = None, updates: int | None = None, **changes) -> PointDistillation:
    """A method on a toy with the study's settings, but for those given."""
    settings = PointTraining(updates or values["updates"], values["batch"],
                             auxiliary_updates or values["auxiliary_updates"],
                             betas=(0.0, 0.99) if method.needs_auxiliary else REGRESSION_BETAS)
    return PointDistillation(method, changes.pop("teacher", toy.velocity), start, toy.draw, settings, seed, **changes)


def noise_and_truth(toy: PointToy, count: int) -> tuple[Tensor, Tensor]:
    """Fixed noise and fixed exact data [count, 2] for the scores."""
    generator = torch.Generator().manual_seed(1234)
    return torch.randn(count, 2, generator=generator), toy.draw(count, generator)[0]


def score(toy: PointToy, samples: Tensor) -> dict:
    """Energy distance to exact data, and the share off the modes."""
    return {"energy": energy_distance(samples, noise_and_truth(toy, len(samples))[1]), "off": toy.off_mode(samples)}
