"""MFD by maps: both mean velocities against closed forms and a fine integration, and what its auxiliary learns."""

import pytest
import torch

from occflow.distill.mfd import MeanFlowDistillation
from occflow.distill.mfd_map import MappedMeanFlowDistillation
from occflow.distill.protocol import Batch, Networks
from occflow.flow.closed_form import GaussianFlow

COUNT = 2048
INDEX = torch.arange(COUNT)
BATCH = Batch(INDEX, (COUNT, 1), COUNT)
TEACHER = GaussianFlow(torch.tensor([2.0]), torch.tensor([0.5]))


def velocity_of(flow: GaussianFlow):
    return lambda x, t: flow.velocity(x, t[INDEX][:, None])


def map_of(flow: GaussianFlow):
    return lambda x, r, t: flow.mean_velocity(x, r[INDEX][:, None], t[INDEX][:, None])


def networks_of(mean: torch.Tensor, std: torch.Tensor, auxiliary: GaussianFlow) -> Networks:
    """An affine student m + s eps."""
    return Networks(velocity_of(TEACHER), velocity_of(auxiliary), lambda noise: mean + std * noise,
                    teacher_map=map_of(TEACHER), auxiliary_map=map_of(auxiliary))


def learned_auxiliary(share: float) -> GaussianFlow:
    """An affine auxiliary after 300 updates on the samples of a student N(1, 0.7^2)."""
    student_mean, student_std = torch.tensor([1.0]), torch.tensor([0.7])
    own = GaussianFlow(torch.tensor([0.0], requires_grad=True), torch.tensor([1.0], requires_grad=True))
    optimiser, generator = torch.optim.Adam([own.mean, own.std], lr=0.02), torch.Generator().manual_seed(0)
    method = MappedMeanFlowDistillation(auxiliary_equal_share=share)
    for step in range(300):
        optimiser.param_groups[0]["lr"] = 0.02 * (1 - step / 300)
        optimiser.zero_grad()
        method.auxiliary_loss(networks_of(student_mean, student_std, own), BATCH, generator).backward()
        optimiser.step()
    return GaussianFlow(own.mean.detach(), own.std.detach().abs())


def student_gradient(method, auxiliary: GaussianFlow) -> torch.Tensor:
    mean, std = torch.tensor([1.0], requires_grad=True), torch.tensor([0.7], requires_grad=True)
    method.student_loss(networks_of(mean, std, auxiliary), BATCH, torch.Generator().manual_seed(1)).backward()
    return torch.cat([mean.grad, std.grad])


@pytest.mark.chaotic
@pytest.mark.parametrize("share", [1.0, 0.5], ids=["velocities", "velocities and two jumps"])
def test_the_auxiliary_becomes_the_map_of_the_students_samples(share, figure):
    found = learned_auxiliary(share)
    figure("mean", found.mean.item(), above=0.93, below=1.07)
    figure("std", found.std.item(), above=0.63, below=0.77)


@pytest.mark.chaotic
def test_the_gradient_is_that_of_a_fine_integration(figure):
    """The auxiliary learned by maps, against the exact one of the student's samples, integrated in 64 Heun steps."""
    exact = GaussianFlow(torch.tensor([1.0]), torch.tensor([0.7]))
    fine = student_gradient(MeanFlowDistillation(steps=64, solver="heun"), exact)
    found = student_gradient(MappedMeanFlowDistillation(), learned_auxiliary(0.5))
    figure("cosine", torch.cosine_similarity(found, fine, dim=0).item(), above=0.98)


def test_two_jumps_alone_leave_an_exact_map_as_it_is():
    """Their loss vanishes at any exact map, whichever: velocities must say which. What is left is of the few pairs of
    times that are too near for two jumps."""
    own, losses = GaussianFlow(torch.tensor([3.0]), torch.tensor([0.9])), {}
    for share in (0.0, 1.0):
        networks = networks_of(torch.tensor([1.0]), torch.tensor([0.7]), own)
        method = MappedMeanFlowDistillation(auxiliary_equal_share=share)
        losses[share] = method.auxiliary_loss(networks, BATCH, torch.Generator().manual_seed(0)).item()
    assert losses[0.0] < 0.01 * losses[1.0]


def test_only_velocities_cost_no_jumps():
    asked = []

    def counted(x, r, t):
        asked.append(0)
        return map_of(TEACHER)(x, r, t)

    networks = Networks(None, None, lambda noise: noise, auxiliary_map=counted)
    MappedMeanFlowDistillation(auxiliary_equal_share=1.0).auxiliary_loss(networks, BATCH,
                                                                         torch.Generator().manual_seed(0))
    assert len(asked) == 1
