"""Matching on the second of two steps: the first is the student's own, and has no gradient (DMD2's simulation)."""

import pytest
import torch

from occflow.distill.dmd import DistributionMatching
from occflow.distill.mfd import MeanFlowDistillation
from occflow.distill.mfd_map import MappedMeanFlowDistillation
from occflow.distill.protocol import Batch, Networks
from occflow.distill.vsd import VariationalScoreDistillation
from occflow.flow.closed_form import GaussianFlow
from occflow.flow.solvers import sample_renoised

COUNT = 4096
INDEX = torch.arange(COUNT)
BATCH = Batch(INDEX, (COUNT, 1), COUNT)
TEACHER = GaussianFlow(torch.tensor([2.0]), torch.tensor([0.5]))
METHODS = {"mfd": MeanFlowDistillation(steps=2, solver="heun", student_steps=2),
           "mfd, maps": MappedMeanFlowDistillation(student_steps=2),
           "vsd": VariationalScoreDistillation(student_steps=2, normalise=True),
           "dmd": DistributionMatching(student_steps=2)}


def student(first, second):
    """u(x, 0, t) whose one step from noise is N(first, 1), and whose step from t < 1 is x_t + second: of the Gaussian
    about `first` that the first step has left there."""
    def average(x, r, t):
        row_t = t[:, None]
        return torch.where(row_t == 1, -first * torch.ones_like(x), -second / row_t * torch.ones_like(x))

    return average


def networks_of(first, second) -> Networks:
    average = student(first, second)
    with torch.no_grad():
        own = samples_of(average).detach()
    auxiliary = GaussianFlow(own.mean()[None], own.std()[None])
    return Networks(lambda x, t: TEACHER.velocity(x, t[:, None]), lambda x, t: auxiliary.velocity(x, t[:, None]),
                    lambda noise: noise - average(noise, torch.zeros(COUNT), torch.ones(COUNT)), average,
                    teacher_map=lambda x, r, t: TEACHER.mean_velocity(x, r[:, None], t[:, None]),
                    auxiliary_map=lambda x, r, t: auxiliary.mean_velocity(x, r[:, None], t[:, None]))


def samples_of(average) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    return sample_renoised(average, [torch.randn(COUNT, 1, generator=generator) for _ in range(2)], COUNT)


@pytest.mark.parametrize("name", METHODS)
def test_the_second_step_alone_has_a_gradient_and_it_is_the_right_way(name):
    for shift, sign in ((0.0, -1), (4.0, 1)):
        first, second = (torch.tensor([value], requires_grad=True) for value in (0.0, shift))
        METHODS[name].student_loss(networks_of(first, second), BATCH, torch.Generator().manual_seed(0)).backward()
        assert first.grad is None or first.grad.item() == 0
        assert second.grad.item() * sign > 0


@pytest.mark.parametrize("name", METHODS)
def test_samples_are_those_of_a_forecast_in_two_steps(name):
    """N(first, 1), half noise again, and the second step: mean first / 2 + second, variance 1 / 2."""
    networks = networks_of(torch.tensor([1.0]), torch.tensor([0.3]))
    found = METHODS[name].samples(networks, BATCH, torch.Generator().manual_seed(0))
    assert found.mean().item() == pytest.approx(0.8, abs=0.05) and found.std().item() == pytest.approx(0.707, abs=0.04)


def test_one_step_is_as_it_was():
    asked = []
    networks = Networks(None, None, lambda noise: asked.append(noise) or noise)
    MeanFlowDistillation().samples(networks, BATCH, torch.Generator().manual_seed(0))
    assert len(asked) == 1


@pytest.mark.parametrize("method", [MeanFlowDistillation, VariationalScoreDistillation, DistributionMatching])
def test_how_a_student_takes_steps_follows_from_how_many_it_learned(method):
    assert method().few_steps == "none" and method(student_steps=2).few_steps == "renoised"
