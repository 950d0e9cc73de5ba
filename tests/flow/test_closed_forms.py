"""The mathematics of flow/ against exact answers (docs/methods.md 0)."""

import pytest
import torch

from occflow.flow.closed_form import GaussianFlow, MixtureFlow, unit_gaussian_factor
from occflow.flow.path import data_prediction, flow_matching_loss, noised
from occflow.flow.solvers import integrate, mean_velocity, sample_flow, time_grid
from occflow.flow.times import intervals, logit_normal

GAUSSIAN = GaussianFlow(torch.tensor([1.5, -0.5], dtype=torch.float64), torch.tensor([0.3, 2.0], dtype=torch.float64))
COUNT = 64
SAMPLE = torch.arange(COUNT)


def rows(*values: float) -> list[torch.Tensor]:
    return [torch.full((COUNT,), value, dtype=torch.float64) for value in values]


def velocity(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return GAUSSIAN.velocity(x, t[SAMPLE][:, None])


@pytest.fixture()
def noise() -> torch.Tensor:
    return torch.randn(COUNT, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_integration_reaches_the_exact_flow_map(noise):
    r, t = rows(0.2, 0.9)
    exact = GAUSSIAN.flow_map(noise, r[:, None], t[:, None])
    assert (integrate(velocity, noise, r, t, SAMPLE, 200, "heun") - exact).abs().max() < 1e-4


@pytest.mark.parametrize("method, order", [("euler", 1), ("heun", 2), ("ralston", 2)])
def test_solver_order(noise, method, order):
    r, t = rows(0.2, 0.9)
    exact = GAUSSIAN.flow_map(noise, r[:, None], t[:, None])
    errors = [(integrate(velocity, noise, r, t, SAMPLE, steps, method) - exact).pow(2).mean().sqrt()
              for steps in (16, 32, 64)]
    for coarse, fine in zip(errors, errors[1:]):
        assert coarse / fine == pytest.approx(2**order, rel=0.1)


def test_mean_velocity_and_its_limit(noise):
    r, t = rows(0.3, 0.8)
    exact = GAUSSIAN.mean_velocity(noise, r[:, None], t[:, None])
    assert (mean_velocity(velocity, noise, r, t, SAMPLE, 400, "heun") - exact).abs().max() < 1e-4
    assert torch.equal(mean_velocity(velocity, noise, t, t, SAMPLE, 4), velocity(noise, t))


def test_mixed_intervals_take_the_limit_row_by_row(noise):
    r, t = rows(0.3, 0.8)
    r = torch.where(SAMPLE % 2 == 0, t, r)
    u = mean_velocity(velocity, noise, r, t, SAMPLE, 50, "heun")
    assert torch.allclose(u[::2], velocity(noise, t)[::2])
    exact = GAUSSIAN.mean_velocity(noise, torch.full_like(r, 0.3)[:, None], t[:, None])
    assert (u[1::2] - exact[1::2]).abs().max() < 1e-3


def test_semigroup_identity(noise):
    r, q, t = (value[:, None] for value in rows(0.1, 0.5, 0.9))
    left = (t - r) * GAUSSIAN.mean_velocity(noise, r, t)
    middle = GAUSSIAN.flow_map(noise, q, t)
    right = (t - q) * GAUSSIAN.mean_velocity(noise, q, t) + (q - r) * GAUSSIAN.mean_velocity(middle, r, q)
    assert (left - right).abs().max() < 1e-12


def test_one_step_of_the_exact_mean_velocity_is_a_sample(noise):
    r, t = (value[:, None] for value in rows(0.0, 1.0))
    sample = noise - GAUSSIAN.mean_velocity(noise, r, t)
    assert (sample - (GAUSSIAN.mean + GAUSSIAN.std * noise)).abs().max() < 1e-12


def test_unit_gaussian_factor_is_the_exact_mean_velocity(noise):
    unit = GaussianFlow(torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64))
    r, t = (value[:, None] for value in rows(0.15, 0.7))
    assert (unit_gaussian_factor(r, t) * noise - unit.mean_velocity(noise, r, t)).abs().max() < 1e-12
    assert (unit_gaussian_factor(t, t) * noise - unit.velocity(noise, t)).abs().max() < 1e-12


def test_data_prediction_is_the_posterior_mean():
    t = torch.full((1,), 0.6, dtype=torch.float64)
    x = torch.tensor([[0.4, 1.0]], dtype=torch.float64)
    mean, std = GAUSSIAN.marginal(t[:, None])
    posterior = GAUSSIAN.mean + (1 - t) * GAUSSIAN.std**2 / std**2 * (x - mean)
    predicted = data_prediction(x, GAUSSIAN.velocity(x, t[:, None]), t, torch.zeros(1, dtype=torch.long))
    assert torch.allclose(predicted, posterior)


def test_mixture_samples_keep_their_weights():
    mixture = MixtureFlow(torch.tensor([0.7, 0.3]), torch.tensor([[2.0, 0.0], [-2.0, 0.0]]), 0.2)
    noise = torch.randn(4000, 2, generator=torch.Generator().manual_seed(1))
    index = torch.arange(4000)
    samples = sample_flow(lambda x, t: mixture.velocity(x, t[index][:, None]), noise, index, 4000, 50, "heun")
    assert (samples[:, 0] > 0).float().mean() == pytest.approx(0.7, abs=0.03)
    assert ((samples[:, 0].abs() - 2).abs() < 1.0).float().mean() > 0.99


def test_flow_matching_loss_of_the_exact_velocity_is_the_conditional_variance():
    """E||v - (eps - x)||^2 = E||eps - x||^2 - E||v||^2 at the exact v (docs/methods.md 1)."""
    generator = torch.Generator().manual_seed(2)
    count = 200_000
    index = torch.arange(count)
    data = GAUSSIAN.mean + GAUSSIAN.std * torch.randn(count, 2, generator=generator, dtype=torch.float64)
    t = torch.full((count,), 0.5, dtype=torch.float64)
    loss = flow_matching_loss(lambda x, s: GAUSSIAN.velocity(x, s[:, None]), data, t, index, generator)
    noise = torch.randn(count, 2, generator=generator, dtype=torch.float64)
    point = noised(data, noise, t, index)
    expected = (point.velocity**2).mean() - (GAUSSIAN.velocity(point.x_t, t[:, None]) ** 2).mean()
    assert float(loss) == pytest.approx(float(expected), rel=0.02)


def test_times():
    generator = torch.Generator().manual_seed(3)
    r, t = intervals(10_000, generator)
    assert (r <= t).all() and float(t.mean()) == pytest.approx(2 / 3, abs=0.01)
    r, t = intervals(100, generator, equal_share=1.0)
    assert torch.equal(r, t)
    assert float(logit_normal(10_000, generator).median()) == pytest.approx(0.5, abs=0.02)
    assert torch.equal(time_grid(4, shift=1.0), torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0]))
    assert time_grid(4, shift=3.0)[2] == pytest.approx(0.75)
