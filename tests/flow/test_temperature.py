"""Tempered samples against exact laws (docs/methods.md 16)."""

import pytest
import torch

from occflow.flow.closed_form import GaussianFlow, MixtureFlow
from occflow.flow.solvers import sample_flow
from occflow.flow.temperature import AS_LEARNT, tempered

COUNT = 4096
QUANTILES = torch.special.ndtri((torch.arange(COUNT, dtype=torch.float64) + 0.5) / COUNT)  # no luck of a draw
INDEX = torch.arange(COUNT)


@pytest.mark.parametrize("temperature", [0.0, 0.25, 0.5, 1.0])
def test_on_a_gaussian_teacher_the_law_is_gaussian_with_the_mean_and_so_many_times_the_deviation(temperature):
    """N(m, S) becomes N(m, T^2 S): every quantile, of correlated channels too, by the exact one-step student."""
    mean, factor = torch.tensor([1.5, -0.5]).double(), torch.tensor([[0.3, 0.0], [0.4, 2.0]]).double()  # S = L L^T
    flow, zeros = GaussianFlow(torch.zeros(2).double(), torch.ones(2).double()), torch.zeros(COUNT, 1).double()
    noise = torch.stack([QUANTILES, QUANTILES[torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))]], 1)
    residual = (noise - flow.mean_velocity(noise, zeros, zeros + 1)) @ factor.T  # about the centre, which is the mean
    samples = mean + tempered(residual, temperature)
    assert torch.allclose(samples, mean + temperature * noise @ factor.T, atol=1e-12)
    covariance = (samples - mean).T @ (samples - mean) / COUNT
    assert torch.allclose(covariance, temperature**2 * (residual.T @ residual / COUNT), atol=1e-12)
    assert torch.allclose(covariance, temperature**2 * factor @ factor.T, atol=0.1)


def test_on_any_law_the_centre_stays_and_distances_shrink_in_proportion():
    """Two futures of weights .7 and .3 about their mean: no mode is lost, each is as far from it as the temperature
    says."""
    flow = MixtureFlow(torch.tensor([0.7, 0.3]).double(), torch.tensor([[0.9], [-2.1]]).double(), 0.2)
    data = sample_flow(lambda x, t: flow.velocity(x, t[:, None]), QUANTILES[:, None], INDEX, COUNT, 50, "heun")
    half = tempered(data, 0.5)
    assert torch.allclose(half.mean(), 0.5 * data.mean()) and abs(float(data.mean())) < 0.02
    assert torch.equal(half.median(), 0.5 * data.median())
    assert torch.allclose(torch.cdist(half, half), 0.5 * torch.cdist(data, data))
    assert 0.68 < float(((half - 0.45).abs() < 0.4).double().mean()) < 0.72


def test_one_is_the_sample_and_zero_the_centre_bit_for_bit():
    residual = torch.randn(64, 5, generator=torch.Generator().manual_seed(1))
    assert torch.equal(tempered(residual, AS_LEARNT), residual)
    assert torch.equal(residual[0] + tempered(residual, 0.0), residual[:1].expand(64, 5))
