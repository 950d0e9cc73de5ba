"""MFD and VSD proven on closed forms with the code that distils the forecaster (docs/methods.md 7, "Check")."""

import pytest
import torch

from occflow.distill.mfd import MeanFlowDistillation
from occflow.distill.protocol import Batch, Networks
from occflow.flow.closed_form import GaussianFlow

COUNT = 4096
INDEX = torch.arange(COUNT)
BATCH = Batch(INDEX, (COUNT, 1), COUNT)


def gaussian_networks(student_mean, student_std, teacher: GaussianFlow) -> Networks:
    """An affine student m + s eps with the exact auxiliary of its own samples."""
    own = GaussianFlow(student_mean.detach(), student_std.detach())
    return Networks(lambda x, t: teacher.velocity(x, t[INDEX][:, None]),
                    lambda x, t: own.velocity(x, t[INDEX][:, None]), lambda noise: student_mean + student_std * noise)


def parameters(mean: float, std: float) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([mean], requires_grad=True), torch.tensor([std], requires_grad=True)


TEACHER = GaussianFlow(torch.tensor([2.0]), torch.tensor([0.5]))


@pytest.mark.chaotic
@pytest.mark.parametrize("equal_share", [0.0, 1.0], ids=["mfd", "vsd"])
def test_gradient_flow_converges_to_the_teacher(equal_share, figure):
    mean, std = parameters(0.0, 1.0)
    method = MeanFlowDistillation(steps=4, solver="heun", equal_share=equal_share, normalise=False)
    optimiser = torch.optim.Adam([mean, std], lr=0.03)
    generator = torch.Generator().manual_seed(0)
    for _ in range(400):
        loss = method.student_loss(gaussian_networks(mean, std, TEACHER), BATCH, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    figure("mean", mean.item(), above=1.98, below=2.02)
    figure("std", std.item(), above=0.48, below=0.52)


def test_sign_moves_the_mean_towards_the_teacher():
    mean, std = parameters(0.0, 1.0)
    teacher = GaussianFlow(torch.tensor([2.0]), torch.tensor([1.0]))
    MeanFlowDistillation().student_loss(gaussian_networks(mean, std, teacher), BATCH,
                                        torch.Generator().manual_seed(0)).backward()
    assert mean.grad.item() < 0


def test_no_gradient_where_auxiliary_and_teacher_agree():
    mean, std = parameters(2.0, 0.5)
    loss = MeanFlowDistillation().student_loss(gaussian_networks(mean, std, TEACHER), BATCH,
                                               torch.Generator().manual_seed(0))
    loss.backward()
    assert mean.grad.item() == 0 and std.grad.item() == 0


def test_equal_times_are_vsd():
    """r -> t: the direction becomes the difference of velocities."""
    mean, std = parameters(0.0, 1.0)
    networks = gaussian_networks(mean, std, TEACHER)
    x, t = torch.linspace(-2, 2, COUNT)[:, None], torch.full((COUNT,), 0.6)
    method = MeanFlowDistillation(steps=8, solver="heun", normalise=False)
    expected = networks.teacher(x, t) - networks.auxiliary(x, t)
    teacher, auxiliary = method.mean_velocities(networks, BATCH, x, t, t)
    assert torch.allclose(teacher - auxiliary, expected, atol=1e-6)
    teacher, auxiliary = method.mean_velocities(networks, BATCH, x, t - 0.01, t)
    close = teacher - auxiliary
    assert (close - expected).abs().max() < 0.05 * expected.abs().max()


def test_direction_is_the_exact_difference_of_mean_velocities():
    mean, std = parameters(0.0, 1.0)
    own = GaussianFlow(mean.detach(), std.detach())
    x, r, t = torch.linspace(-2, 2, COUNT)[:, None], torch.full((COUNT,), 0.2), torch.full((COUNT,), 0.9)
    method = MeanFlowDistillation(steps=64, solver="heun", normalise=False)
    expected = (TEACHER.mean_velocity(x, r[:, None], t[:, None]) - own.mean_velocity(x, r[:, None], t[:, None]))
    teacher, auxiliary = method.mean_velocities(gaussian_networks(mean, std, TEACHER), BATCH, x, r, t)
    assert torch.allclose(teacher - auxiliary, expected, atol=2e-3)


@pytest.mark.chaotic
def test_auxiliary_learns_the_students_samples(figure):
    """An affine auxiliary fitted by the method's loss approaches the student's own velocity."""
    student_mean, student_std = torch.tensor([1.0]), torch.tensor([0.7])
    own = GaussianFlow(torch.tensor([0.0], requires_grad=True), torch.tensor([1.0], requires_grad=True))
    optimiser = torch.optim.Adam([own.mean, own.std], lr=0.02)
    networks = Networks(None, lambda x, t: own.velocity(x, t[INDEX][:, None]),
                        lambda noise: student_mean + student_std * noise)
    generator = torch.Generator().manual_seed(0)
    for step in range(300):
        optimiser.param_groups[0]["lr"] = 0.02 * (1 - step / 300)
        loss = MeanFlowDistillation().auxiliary_loss(networks, BATCH, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    figure("mean", own.mean.item(), above=0.95, below=1.05)
    figure("std", abs(own.std.item()), above=0.65, below=0.75)
