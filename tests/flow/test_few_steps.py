"""Few-step sampling with exact average velocities."""

import pytest
import torch

from occflow.flow.closed_form import GaussianFlow
from occflow.flow.solvers import following_noise, sample_jumps, sample_renoised

FLOW = GaussianFlow(torch.tensor([2.0]), torch.tensor([0.5]))
COUNT = 20_000


def average(x, r, t):
    return FLOW.mean_velocity(x, r[:, None], t[:, None])


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_jumps_along_the_exact_flow_end_where_one_does(steps):
    noise = torch.randn(16, 1)
    assert torch.allclose(sample_jumps(average, noise, 16, steps), 2.0 + 0.5 * noise, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_fresh_noise_keeps_the_distribution(steps):
    generator = torch.Generator().manual_seed(0)
    samples = sample_renoised(average, [torch.randn(COUNT, 1, generator=generator) for _ in range(steps)], COUNT)
    assert samples.mean().item() == pytest.approx(2.0, abs=0.02)
    assert samples.std().item() == pytest.approx(0.5, abs=0.01)


def test_following_noises_are_as_many_as_the_noises_they_follow():
    noises = torch.randn(2000, 4, 2, generator=torch.Generator().manual_seed(0))
    noises[1000:] = noises[:1000]
    noises[1000:, -1, -1] += 1e-3  # half of them differ from another in one number, the last
    first, second = (torch.stack(column) for column in zip(*(following_noise(noise, 2) for noise in noises)))
    assert len(torch.unique(torch.cat([first, second]).flatten(1), dim=0)) == 4000
    assert first.mean().item() == pytest.approx(0, abs=0.03) and first.std().item() == pytest.approx(1, abs=0.03)
    for other in (second, noises, first.roll(1, 0)):  # 16,000 numbers each: independent ones correlate by .008
        assert abs(torch.corrcoef(torch.stack([first.flatten(), other.flatten()]))[0, 1]) < 0.04


def test_following_noise_is_a_function_of_the_numbers_alone():
    noise = torch.randn(6, 3)
    expected = following_noise(noise, 2)
    laid_out_otherwise = noise.t().contiguous().t()
    torch.rand(3)
    for same in (noise.clone(), laid_out_otherwise, noise.clone().requires_grad_()):
        assert all(torch.equal(a, b) for a, b in zip(following_noise(same, 2), expected))
    assert torch.equal(following_noise(noise, 1)[0], expected[0])
    assert following_noise(noise.double(), 1)[0].dtype == torch.float64
    assert following_noise(noise[:0], 1)[0].shape == (0, 3)
