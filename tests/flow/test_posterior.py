"""Flows to what a noised point leaves open, against exact Gaussian posteriors (docs/methods.md 10 and 11)."""

import pytest
import torch

from occflow.flow.closed_form import GaussianFlow
from occflow.flow.path import noised
from occflow.flow.posterior import (
    joined,
    posterior_velocity,
    transition_velocity,
    unit_gaussian_posterior,
    unit_gaussian_transition,
)
from occflow.flow.solvers import resampled, sample_jumps, sample_resampled

DATA = GaussianFlow(torch.tensor([1.5, -0.5]).double(), torch.tensor([0.3, 2.0]).double())
COUNT = 40_000
INDEX = torch.arange(COUNT)


def velocity(x, t):
    return DATA.velocity(x, t[:, None])


def left_open(x_t, t):
    """p(x | x_t), by the rule of Bayes; t [N, 1]."""
    variance = (1 - t) ** 2 * DATA.std**2 + t**2
    mean = DATA.mean + (1 - t) * DATA.std**2 / variance * (x_t - (1 - t) * DATA.mean)
    return GaussianFlow(mean, DATA.std * t / variance.sqrt())


def exact_posterior(y, r, s, x_t, t):
    return left_open(x_t, t[:, None]).mean_velocity(y, r[:, None], s[:, None])


def case(count: int = COUNT, seed: int = 0):
    """Data, two noises [N, 2], times s and t [N] up to their ends."""
    generator = torch.Generator().manual_seed(seed)
    x, noise, other = (torch.randn(count, 2, generator=generator, dtype=torch.float64) for _ in range(3))
    s, t = torch.rand(2, count, generator=generator, dtype=torch.float64)
    s[0], t[1], s[2], t[2] = 1, 1, 1, 1
    return DATA.mean + DATA.std * x, noise, other, s.clamp(min=0.05), t.clamp(min=0.05)


def test_one_teacher_evaluation_gives_the_exact_velocity_of_the_posterior():
    x, noise, other, s, t = case(200)
    x_t, y = noised(x, noise, t, INDEX[:200]).x_t, noised(x, other, s, INDEX[:200]).x_t
    found = posterior_velocity(velocity, y, s, x_t, t, INDEX[:200])
    assert torch.allclose(found, exact_posterior(y, s, s, x_t, t), rtol=1e-4, atol=1e-4)


def test_with_nothing_decided_it_is_the_teachers_velocity():
    x, noise, other, s, _ = case(200)
    t, y = torch.ones_like(s), noised(x, other, s, INDEX[:200]).x_t
    point, time = joined(y, s, noise, t, INDEX[:200])
    assert torch.allclose(point, y, atol=2e-5) and torch.allclose(time, s, atol=2e-6)


def test_of_noise_alone_the_joined_point_is_the_decided_one():
    x, noise, other, _, t = case(200)
    x_t, t = noised(x, noise, t.clamp(max=0.9), INDEX[:200]).x_t, t.clamp(max=0.9)
    point, time = joined(other, torch.ones_like(t), x_t, t, INDEX[:200])
    assert torch.allclose(point, x_t, atol=1e-4) and torch.allclose(time, t, atol=1e-4)


@pytest.mark.parametrize("outer", [1.0, 0.4])
def test_the_inner_velocity_of_a_transition_is_exact(outer):
    x, noise, other, s, _ = case(200)
    t = torch.full_like(s, outer)
    x_t = noised(x, noise, t, INDEX[:200]).x_t
    w = (1 - s[:, None]) * (noise - x) + s[:, None] * other
    left = left_open(x_t, t[:, None])
    exact = GaussianFlow((x_t - left.mean) / t[:, None], left.std / t[:, None]).velocity(w, s[:, None])
    assert torch.allclose(transition_velocity(velocity, w, s, x_t, t, INDEX[:200]), exact, rtol=1e-4, atol=1e-4)


def test_unit_gaussian_data_have_the_posterior_that_untrained_networks_start_with():
    unit = GaussianFlow(torch.zeros(2).double(), torch.ones(2).double())
    _, noise, other, s, t = case(200)

    def unit_velocity(x, time):
        return unit.velocity(x, time[:, None])

    row = t[:, None]
    exact = unit_gaussian_posterior(noise, row).velocity(other, s[:, None])
    assert torch.allclose(posterior_velocity(unit_velocity, other, s, noise, t, INDEX[:200]), exact, atol=1e-4)
    inner = unit_gaussian_transition(unit.velocity(noise, row), row).velocity(other, s[:, None])
    assert torch.allclose(transition_velocity(unit_velocity, other, s, noise, t, INDEX[:200]), inner, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_resampling_on_any_grid_keeps_the_distribution(steps):
    generator = torch.Generator().manual_seed(3)
    noises = [torch.randn(COUNT, 2, generator=generator, dtype=torch.float64) for _ in range(steps)]
    samples = sample_resampled(exact_posterior, noises, COUNT)
    assert torch.allclose(samples.mean(0), DATA.mean, atol=0.04)
    assert torch.allclose(samples.std(0), DATA.std, rtol=0.02)


def test_a_resampled_future_goes_with_what_was_decided():
    """Pairs (x_t, sample) have the covariance of pairs (x_t, x)."""
    x, noise, other, _, _ = case()
    t = torch.full((COUNT,), 0.4, dtype=torch.float64)
    x_t = noised(x, noise, t, INDEX).x_t
    again = resampled(exact_posterior, x_t, t, other)
    for axis in range(2):
        pairs = [torch.stack([x_t[:, axis], one[:, axis]]) for one in (x, again)]
        assert torch.allclose(torch.cov(pairs[0]), torch.cov(pairs[1]), rtol=0.04, atol=0.01)


@pytest.mark.parametrize("inner", [1, 3])
@pytest.mark.parametrize("outer", [1, 2, 4])
def test_transitions_keep_the_distribution_on_any_outer_and_inner_grid(outer, inner):
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(COUNT, 2, generator=generator, dtype=torch.float64)
    for index in range(outer, 0, -1):
        t = torch.full((COUNT,), index / outer, dtype=torch.float64)
        left = left_open(x, t[:, None])
        flow = GaussianFlow((x - left.mean) / t[:, None], left.std / t[:, None])
        noise = torch.randn(COUNT, 2, generator=generator, dtype=torch.float64)
        x = x - sample_jumps(lambda w, r, s, flow=flow: flow.mean_velocity(w, r[:, None], s[:, None]), noise, COUNT,
                             inner) / outer
    assert torch.allclose(x.mean(0), DATA.mean, atol=0.04) and torch.allclose(x.std(0), DATA.std, rtol=0.02)
