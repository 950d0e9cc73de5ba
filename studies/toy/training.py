"""What the parts of the toy study share: the methods, the toys, a training, a score."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor

from occflow.distill.consistency import ContinuousConsistency, DiscreteConsistency
from occflow.distill.dmd import DistributionMatching
from occflow.distill.flow_maps import LagrangianMap, SemigroupMap, TerminalVelocityMatching
from occflow.distill.free_flow import FreeFlow
from occflow.distill.mean_flow import MeanFlow, StabilisedMeanFlow
from occflow.distill.meta_flow_map import MetaFlowMap
from occflow.distill.mfd import MeanFlowDistillation
from occflow.distill.protocol import Method
from occflow.distill.transition import TransitionMatching
from occflow.distill.vsd import VariationalScoreDistillation
from studies.toy.distributions import PointToy, energy_distance, ring, two_futures
from studies.toy.point_network import PointNetwork
from studies.toy.points import PointDistillation, PointTraining, fitted

METHODS: dict[str, Method] = {
    "mfd": MeanFlowDistillation(), "mfd, plain": MeanFlowDistillation(normalise=False),
    "vsd": VariationalScoreDistillation(normalise=True), "vsd, plain": VariationalScoreDistillation(),
    "vsd, 3 draws": VariationalScoreDistillation(draws=3, normalise=True),
    "dmd": DistributionMatching(), "dmd, adversarial": DistributionMatching(adversarial=3e-3),
    "consistency": DiscreteConsistency(), "continuous consistency": ContinuousConsistency(),
    "mean flow (eulerian)": MeanFlow(), "mean flow, data": MeanFlow(True, 0.75),
    "stabilised mean flow": StabilisedMeanFlow(), "lagrangian": LagrangianMap(), "semigroup": SemigroupMap(),
    "free flow": FreeFlow(), "terminal velocity": TerminalVelocityMatching(),
    "terminal velocity, data": TerminalVelocityMatching(True), "meta flow map": MetaFlowMap(),
    "transition": TransitionMatching(head_blocks=2)}
"""With the settings of configs/distill, but for the size of a head; "plain" is without the normaliser."""
REGRESSION_BETAS = (0.9, 0.99)  # methods with an auxiliary forget at once, (0, 0.99): their target moves


@lru_cache(maxsize=2)
def started(conditional: bool, seed: int) -> tuple[PointToy, PointNetwork]:
    """A toy and the network at which its students start."""
    toy = two_futures() if conditional else ring()
    return toy, fitted(toy.velocity, toy.draw, seed)


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
