"""Noise of the student's gradient on a toy where student and teacher are known exactly: MFD against VSD."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from occflow.distill.mfd import MeanFlowDistillation
from occflow.distill.protocol import Batch, Method, Networks
from occflow.distill.vsd import VariationalScoreDistillation
from occflow.flow.closed_form import MixtureFlow
from occflow.runtime.toy import ring

STEPS = 6  # of a mean velocity; as many draws for VSD at equal network evaluations
BATCH, REPEATS, REFERENCE_REPEATS = 64, 400, 1600
METHODS: dict[str, Method] = {
    "vsd": VariationalScoreDistillation(), f"vsd, {STEPS} draws": VariationalScoreDistillation(draws=STEPS),
    f"mfd, {STEPS} Euler steps": MeanFlowDistillation(STEPS, normalise=False),
    f"mfd, {STEPS // 2} Heun steps": MeanFlowDistillation(STEPS // 2, "heun", normalise=False)}
FREQUENCIES = (0.0, 10.0, 100.0)  # radians a unit of time, of the auxiliary's error


def gradient_noise() -> dict[str, dict[str, float]]:
    """By method: network evaluations, noise-to-signal tr Cov / |E g|^2 of a batch's gradient, and by frequency w the
    share of the gradient's mean square that an auxiliary's error sin(w t + phase of the sample) of unit size adds."""
    found = {}
    for name, method in METHODS.items():
        clean = gradients(method, lambda x, t: 0.0, REPEATS)
        mean = gradients(method, lambda x, t: 0.0, REFERENCE_REPEATS, first=10_000).mean(0)
        noise = ((clean - mean) ** 2).sum(1).mean() / (mean**2).sum()
        row = {"evaluations": 1 + 2 * (STEPS if name != "vsd" else 1), "noise_to_signal": noise.item()}
        for frequency in FREQUENCIES:
            spoiled = gradients(method, wave(frequency), REPEATS)
            row[f"error_{frequency:g}"] = (((spoiled - clean) ** 2).sum(1).mean() / (mean**2).sum()).item()
        found[name] = row
    return found


def wave(frequency: float) -> Callable[[Tensor, Tensor], Tensor]:
    """An error of unit size that oscillates in time, its phase another for every sample."""
    def error(x: Tensor, t: Tensor) -> Tensor:
        phase = 2 * math.pi * torch.rand(len(x), generator=torch.Generator().manual_seed(len(x)))
        return (2**0.5 * torch.sin(frequency * t + phase))[:, None].expand_as(x)

    return error


def gradients(method: Method, error: Callable, repeats: int, first: int = 0) -> Tensor:
    """[repeats, 6]: gradients of batches in the student's affine map x = W y + b, y exact samples of the ring. The
    student is the ring turned by 10 degrees, scaled by 0.9 and shifted; its auxiliary is exact plus `error`."""
    teacher, index = ring().mixtures[0], torch.arange(BATCH)
    angle = math.radians(10)
    turn = 0.9 * torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    shift = torch.tensor([0.1, -0.1])
    own = MixtureFlow(teacher.weights, teacher.means @ turn.T + shift, 0.9 * teacher.std)
    batch, rows = Batch(index, (BATCH, 2), BATCH), []
    for repeat in range(first, first + repeats):
        generator = torch.Generator().manual_seed(repeat)
        matrix, offset = turn.clone().requires_grad_(True), shift.clone().requires_grad_(True)

        def student(noise: Tensor, matrix=matrix, offset=offset, generator=generator) -> Tensor:
            chosen = torch.multinomial(teacher.weights, len(noise), True, generator=generator)
            return (teacher.means[chosen] + teacher.std * noise) @ matrix.T + offset

        networks = Networks(lambda x, t: teacher.velocity(x, t[:, None]),
                            lambda x, t: own.velocity(x, t[:, None]) + error(x, t), student)
        method.student_loss(networks, batch, generator).backward()
        rows.append(torch.cat([matrix.grad.flatten(), offset.grad]))
    return torch.stack(rows)
