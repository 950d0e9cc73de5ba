"""All networks of an update see one and the same condition, and a network that does not would be noticed."""

import dataclasses

import pytest
import torch

from occflow.distill.mfd import MeanFlowDistillation
from occflow.distill.protocol import Batch, Networks
from occflow.distill.vsd import VariationalScoreDistillation
from occflow.runtime.toy import ToyProblem, energy_distance, rare_share, two_futures
from occflow.training.bound_networks import DistilledNetworks, EvaluationCount, method_batch
from occflow.training.feeding import FlowBatch

COUNT = 2048
INDEX = torch.arange(COUNT)
METHODS = {"mfd": MeanFlowDistillation(), "vsd": VariationalScoreDistillation(draws=3)}


def gradient(method, problem: ToyProblem, seen_by_auxiliary) -> float:
    """Norm of the gradient in a shift of samples that have exactly the teacher's distribution."""
    generator = torch.Generator().manual_seed(0)
    condition, shift = problem.conditions(COUNT, generator), torch.zeros(COUNT, 2, requires_grad=True)
    samples = problem.data(condition, generator)
    auxiliary = seen_by_auxiliary(problem, condition)
    networks = Networks(lambda x, t: problem.velocity(x, t, condition), auxiliary, lambda noise: samples + shift)
    method.student_loss(networks, Batch(INDEX, (COUNT, 2), COUNT), generator).backward()
    return shift.grad.norm().item()


def exact(problem, condition):
    return lambda x, t: problem.velocity(x, t, condition)


def blind(problem, condition):
    return lambda x, t: problem.everything().velocity(x, t[:, None])


def shuffled(problem, condition):
    return lambda x, t: problem.velocity(x, t, condition.roll(1, 0))


@pytest.mark.parametrize("name", METHODS)
def test_an_auxiliary_without_the_condition_or_with_another_moves_a_perfect_student(name):
    problem = two_futures()
    assert gradient(METHODS[name], problem, exact) < 1e-6
    assert gradient(METHODS[name], problem, blind) > 1e-3
    assert gradient(METHODS[name], problem, shuffled) > 1e-3


def test_a_guided_teacher_moves_a_student_that_has_the_data_distribution():
    """A guided field is not the velocity of the data: the student is pushed away from the right weights."""
    guided, plain = two_futures(guidance=2.0), two_futures()
    assert gradient(METHODS["mfd"], guided, lambda problem, condition: exact(plain, condition)) > 1e-3


@pytest.fixture()
def networks_of(small_forecaster, street_window):
    """networks_of(change): bound networks of the forecaster with a condition that `change` has made of the true one."""
    torch.nn.init.normal_(small_forecaster.velocity.out.weight, std=0.2)
    small_forecaster.requires_grad_(False)
    velocity = small_forecaster.velocity
    networks = DistilledNetworks(small_forecaster, velocity, velocity, velocity, 1.0, EvaluationCount())
    condition = small_forecaster.condition(small_forecaster.observe(street_window))
    return networks, condition


def test_the_forecasters_networks_start_equal_under_every_condition(networks_of):
    """So no gradient reaches the student; a condition that only one of them saw would break that."""
    networks, condition = networks_of
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
        direction = MeanFlowDistillation().direction(bound, batch, x, x, 0.2 * t, t)
        assert direction.abs().max() == 0
    assert not torch.allclose(*found)


def test_weights_and_distances_of_the_toy_are_those_of_its_data():
    problem, generator = two_futures(), torch.Generator().manual_seed(0)
    condition = problem.conditions(4000, generator)
    data, other = problem.data(condition, generator), problem.data(condition, generator)
    assert rare_share(data, condition) == pytest.approx(0.3, abs=0.03)
    assert abs(energy_distance(data, other)) < 0.01 < energy_distance(data, data + 0.5)
