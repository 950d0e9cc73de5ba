"""DMD's normaliser against its definition: data predictions, written out."""

import pytest
import torch

from occflow.distill.dmd import DistributionMatching
from occflow.distill.free_flow import FreeFlow
from occflow.distill.losses import weighted
from occflow.distill.mfd import MeanFlowDistillation
from occflow.distill.protocol import Batch, Networks
from occflow.distill.vsd import VariationalScoreDistillation
from occflow.flow.closed_form import GaussianFlow

COUNT, CHANNELS = 4096, 8
ROWS = 2  # of a sample: its distance is a mean over rows and channels
TEACHER, STUDENT = (GaussianFlow(torch.full((CHANNELS,), 2.0), torch.full((CHANNELS,), std)) for std in (0.5, 0.6))
INDEX = torch.arange(COUNT).repeat_interleave(ROWS)
BATCH = Batch(INDEX, (COUNT * ROWS, CHANNELS), COUNT)
AT_EQUAL_TIMES = {"vsd": VariationalScoreDistillation(normalise=True), "dmd": DistributionMatching(),
                  "mfd": MeanFlowDistillation(equal_share=1.0)}


def data_prediction(flow: GaussianFlow, x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """E[x | x_t] of Gaussian data, by Gauss and not by a velocity; t [N, 1]."""
    variance = (1 - t) ** 2 * flow.std**2 + t**2
    return flow.mean + (1 - t) * flow.std**2 / variance * (x_t - (1 - t) * flow.mean)


def sample_mean(values: torch.Tensor) -> torch.Tensor:
    """Mean of each sample, on its rows [N, 1]."""
    return values.view(COUNT, -1).mean(1)[INDEX][:, None]


def gradient(method) -> tuple[torch.Tensor, ...]:
    """The gradient in the samples [N, C], they, and where the teacher was asked last: x_t [N, C] and t [N, 1]."""
    generator, asked = torch.Generator().manual_seed(0), []
    samples = (STUDENT.mean + STUDENT.std * torch.randn(BATCH.shape, generator=generator)).requires_grad_()

    def teacher(x, t):
        asked[:] = [x, t[INDEX][:, None]]
        return TEACHER.velocity(*asked)

    networks = Networks(teacher, lambda x, t: STUDENT.velocity(x, t[INDEX][:, None]), lambda noise: samples,
                        lambda x, r, t: STUDENT.mean_velocity(x, r[INDEX][:, None], t[INDEX][:, None]))
    method.student_loss(networks, BATCH, generator).backward()
    return samples.grad, samples.detach(), *asked


def of_dmd(samples: torch.Tensor, x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """(D_P - D_Q) / mean|x - D_Q| (1 - t) [N, C] (arXiv 2311.18828, eq. 7 and 8)."""
    fake, true = (data_prediction(flow, x_t, t) for flow in (STUDENT, TEACHER))
    return (fake - true) / sample_mean((samples - true).abs()) * (1 - t)


@pytest.mark.parametrize("name", AT_EQUAL_TIMES)
def test_at_equal_times_the_gradient_is_dmds(name):
    found, samples, x_t, t = gradient(AT_EQUAL_TIMES[name])
    expected = of_dmd(samples, x_t, t) / samples.numel()
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


def test_the_corrector_of_free_flow_is_dmds():
    """Its predictor does not touch the samples."""
    found, samples, x_t, t = gradient(FreeFlow(correction=1.0))
    expected = of_dmd(samples, x_t, t) / samples.numel()
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize("name", AT_EQUAL_TIMES)
def test_low_noise_has_no_larger_share_of_the_gradient_than_dmd_gives_it(name):
    """Divided by a distance that falls with t, but not multiplied by t, two thirds of VSD's would come from t < .2."""
    found, samples, x_t, t = gradient(AT_EQUAL_TIMES[name])

    def share(gradients: torch.Tensor) -> float:
        energy = gradients.pow(2).mean(1, keepdim=True)
        return (energy[t < 0.2].sum() / energy.sum()).item()

    assert share(found) == pytest.approx(share(of_dmd(samples, x_t, t)), rel=0.01)
    assert share(found) < 0.3


def test_over_an_interval_the_data_predictions_are_those_of_the_average_velocities():
    """At r = 0 they are the ends of the two flows."""
    t, r = torch.full((COUNT,), 0.7), torch.zeros(COUNT)
    row_r, row_t = r[INDEX][:, None], t[INDEX][:, None]
    samples = STUDENT.mean + STUDENT.std * torch.randn(BATCH.shape, generator=torch.Generator().manual_seed(0))
    x_t = (1 - row_t) * samples + row_t * torch.randn(BATCH.shape, generator=torch.Generator().manual_seed(1))
    networks = Networks(lambda x, s: TEACHER.velocity(x, s[INDEX][:, None]),
                        lambda x, s: STUDENT.velocity(x, s[INDEX][:, None]), None)
    velocities = MeanFlowDistillation(steps=32, solver="heun").mean_velocities(networks, BATCH, x_t, r, t)
    found = weighted(*velocities, x_t, samples, t, BATCH, normalise=True)
    fake, true = (flow.flow_map(x_t, row_r, row_t) for flow in (STUDENT, TEACHER))
    assert torch.allclose(found, (fake - true) / sample_mean((samples - true).abs()), rtol=1e-2, atol=2e-3)
