"""Two futures with weights .7 and .3: an auxiliary that is shown another condition than student and teacher loses the
rare one. Each sample looks fine then; only the weights tell.
"""

import pytest
import torch

from occflow.distill.mfd import MeanFlowDistillation
from occflow.models.student_networks import sample_student
from studies.toy.points import PointDistillation, PointTraining, energy_distance, fitted, ring, two_futures

TOY = two_futures()
SETTINGS = PointTraining(updates=180, batch=128, auxiliary_updates=2, auxiliary_warmup=30, learning_rate=2e-3)
SHOWN = {"right": lambda c: c, "without": lambda c: torch.full_like(c, 0.5), "shuffled": lambda c: c.roll(1)}


@pytest.fixture(scope="module")
def at_the_flow_map():
    """A network at the teacher's flow map: what is left to see is whether a method leaves it."""
    return fitted(TOY.velocity, TOY.draw, 0, updates=300, batch=128, steps=2)


def weight_of_the_common_future(network) -> float:
    condition = torch.arange(2000).remainder(2).float()
    noise = torch.randn(2000, 2, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        samples = sample_student(network, noise, 2000, 1, "jumps", condition)
    return float((TOY.nearest_mode(samples) == condition.long()).float().mean())


def distillation(start, shown: str) -> PointDistillation:
    return PointDistillation(MeanFlowDistillation(), TOY.velocity, start, TOY.draw, SETTINGS, shown=SHOWN[shown])


@pytest.mark.chaotic
@pytest.mark.parametrize("shown, bounds", [("right", {"below": 0.92}), ("without", {"above": 0.92}),
                                           ("shuffled", {"above": 0.92})], ids=SHOWN)
def test_an_auxiliary_without_the_right_condition_loses_the_rare_future(at_the_flow_map, shown, bounds, figure):
    """Why it must, without a training: distill/test_rare_future.py."""
    figure("weight", weight_of_the_common_future(distillation(at_the_flow_map, shown).run()), **bounds)


def test_the_auxiliary_alone_is_shown_another_condition(at_the_flow_map):
    """Student and teacher see the right one."""
    x, t = torch.randn(128, 2), torch.full((128,), 0.5)
    (right, batch), (blind, same) = (distillation(at_the_flow_map, shown).batch() for shown in ("right", "without"))
    assert torch.equal(batch.data, same.data)
    assert torch.equal(right.teacher(x, t), blind.teacher(x, t)) and torch.equal(right.student(x), blind.student(x))
    assert not torch.allclose(right.auxiliary(x, t), blind.auxiliary(x, t))
    assert torch.equal(blind.auxiliary(x, t), at_the_flow_map(x, t, t, torch.full((128,), 0.5)))


def test_guidance_tilts_the_exact_teacher_as_its_formula_says():
    """Scale 1 is the conditional flow, scale 0 the one of all conditions together."""
    noise, t = torch.randn(64, 2, generator=torch.Generator().manual_seed(0)), torch.linspace(0.05, 1, 64)
    condition = torch.ones(64)
    assert torch.equal(TOY.guided(noise, t, condition, 1.0), TOY.velocity(noise, t, condition))
    middle = (TOY.guided(noise, t, condition, 0.0) + TOY.guided(noise, t, condition, 2.0)) / 2
    assert torch.allclose(middle, TOY.velocity(noise, t, condition), atol=1e-5)


def test_energy_distance_is_near_zero_for_equal_distributions_only():
    toy = ring()
    first, second = (toy.draw(2000, torch.Generator().manual_seed(seed))[0] for seed in (1, 2))
    assert abs(energy_distance(first, second)) < 0.01 < energy_distance(first, second + 0.5)
