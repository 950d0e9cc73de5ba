"""Few-step sampling with exact average velocities."""

import pytest
import torch

from occflow.flow.closed_form import GaussianFlow
from occflow.flow.few_steps import sample_jumps, sample_renoised

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
