"""All networks of an update see one and the same condition, and a network that does not would be noticed."""

import dataclasses

import pytest
import torch

from occflow.distill.mfd import MeanFlowDistillation
from occflow.distill.protocol import Batch, Networks
from occflow.distill.vsd import VariationalScoreDistillation
from occflow.training.distillation import DistilledNetworks, EvaluationCount, method_batch
from occflow.training.feeding import FlowBatch
from studies.toy.points import two_futures

TOY, COUNT = two_futures(), 2048
INDEX = torch.arange(COUNT)
METHODS = {"mfd": MeanFlowDistillation(), "vsd": VariationalScoreDistillation(draws=3)}


def gradient(method, teacher, auxiliary) -> float:
    """Norm of the gradient in a shift of samples that have exactly the data's distribution; teacher and auxiliary are
    velocities v(x, t, condition)."""
    generator, shift = torch.Generator().manual_seed(0), torch.zeros(COUNT, 2, requires_grad=True)
    samples, condition = TOY.draw(COUNT, generator)
    networks = Networks(lambda x, t: teacher(x, t, condition), lambda x, t: auxiliary(x, t, condition),
                        lambda noise: samples + shift)
    method.student_loss(networks, Batch(INDEX, (COUNT, 2), COUNT), generator).backward()
    return shift.grad.norm().item()


def blind(x, t, condition):
    return TOY.guided(x, t, condition, 0.0)


def shuffled(x, t, condition):
    return TOY.velocity(x, t, condition.roll(1))


def guided(x, t, condition):
    return TOY.guided(x, t, condition, 2.0)


@pytest.mark.parametrize("name", METHODS)
def test_an_auxiliary_without_the_condition_or_with_another_moves_a_perfect_student(name):
    assert gradient(METHODS[name], TOY.velocity, TOY.velocity) < 1e-6
    for wrong in (blind, shuffled):
        assert gradient(METHODS[name], TOY.velocity, wrong) > 1e-3


@pytest.mark.parametrize("name", METHODS)
def test_a_guided_teacher_moves_a_student_that_has_the_data_distribution(name):
    assert gradient(METHODS[name], guided, TOY.velocity) > 1e-3


@pytest.fixture()
def networks_and_condition(small_forecaster, street_window):
    """The networks of a distillation at its start, and a condition."""
    torch.nn.init.normal_(small_forecaster.velocity.out.weight, std=0.2)
    small_forecaster.requires_grad_(False)
    velocity = small_forecaster.velocity
    networks = DistilledNetworks(small_forecaster, velocity, velocity, velocity, 1.0, EvaluationCount())
    condition = small_forecaster.condition(small_forecaster.observe(street_window.task))
    return networks, condition


def test_the_forecasters_networks_start_equal_under_every_condition(networks_and_condition):
    """So no gradient reaches the student; a condition that only one of them saw would break that."""
    networks, condition = networks_and_condition
    other = dataclasses.replace(condition, forecast=dataclasses.replace(condition.forecast,
                                                                        features=condition.forecast.features.flip(0)))
    x, t = torch.randn(condition.forecast.mean.shape), torch.full((1,), 0.6)
    found = []
    for one in (condition, other):
        bound = networks.bound(one)
        assert torch.equal(bound.auxiliary(x, t), bound.teacher(x, t))
        assert torch.equal(bound.average(x, t, t), bound.teacher(x, t))
        assert torch.equal(bound.slow_average(x, 0 * t, t), bound.average(x, 0 * t, t))
        found.append(bound.teacher(x, t))
        batch = method_batch(FlowBatch(one, x), False, 0.0)
        assert torch.equal(*MeanFlowDistillation().mean_velocities(bound, batch, x, 0.2 * t, t))
    assert not torch.allclose(*found)
