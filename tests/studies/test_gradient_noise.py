"""The student's gradient as an estimate, against figures that are known."""

import copy

import pytest
import torch
from one_window import OneWindow

from occflow.models.flow_model import FlowModel
from occflow.training.distillation import DistilledNetworks, EvaluationCount
from studies.distillation.gradients import gradient_results
from studies.gradient_noise import ERROR, ERRORS, ESTIMATORS, noise_and_signal, with_error


def test_noise_and_signal_of_known_vectors():
    mean, generator = torch.tensor([3.0, 4.0, 0.0]), torch.Generator().manual_seed(0)
    noise, signal = noise_and_signal(mean + 2 * torch.randn(3, generator=generator) for _ in range(4000))
    assert noise == pytest.approx(3 * 4, rel=0.05) and signal == pytest.approx(25, rel=0.02)


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_have_one_size(kind):
    sample, t = torch.arange(5000) % 500, torch.linspace(0, 1, 500)
    wrong = with_error(lambda x, t: torch.zeros_like(x), kind, sample, 0)(torch.zeros(5000, 7), t)
    assert float(wrong.pow(2).sum(1).mean() ** 0.5) == pytest.approx(ERROR, rel=0.05)
    alike = [kind == "constant", kind != "white"]  # everywhere; within a sample
    assert [torch.equal(wrong[0], wrong[1]), torch.equal(wrong[0], wrong[500])] == alike


def test_gradients_of_a_forecaster(small_settings, street_window):
    torch.manual_seed(0)
    teacher = FlowModel(small_settings).eval()
    torch.nn.init.normal_(teacher.velocity.out.weight, std=0.2)
    student, auxiliary = (copy.deepcopy(teacher.velocity) for _ in range(2))
    torch.nn.init.normal_(auxiliary.out.weight, std=0.1)
    networks = DistilledNetworks(teacher, student, auxiliary, None, 1.0, EvaluationCount())
    found = gradient_results(networks, [OneWindow(teacher, street_window).next(1)], 4, 2, 0)
    assert set(found["noise"]) == set(ESTIMATORS) and all(value > 0 for value in found["noise"].values())
    assert set(found["change"]) == set(ERRORS)
    assert all(value > 0 for change in found["change"].values() for value in change.values())
