"""The student's gradient as an estimate: how noisy it is, and what an error of the auxiliary does to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from occflow.distill.mfd import MeanFlowDistillation
from occflow.distill.protocol import Batch, Method, Networks
from occflow.flow.path import Velocity, per_row

ESTIMATORS = {"vsd": MeanFlowDistillation(equal_share=1.0, normalise=False),
              "vsd, 3 draws": MeanFlowDistillation(equal_share=1.0, draws=3, normalise=False),
              "mfd": MeanFlowDistillation(steps=3, normalise=False)}
"""All draw t alike (the larger of two uniforms); "mfd" and "vsd, 3 draws" ask each network three times."""
ERROR = 0.3  # root mean square of the auxiliary's error at a site, in units of the data
ERRORS = ("constant", "wave 10", "wave 30", "white")

Draw = Callable[[], tuple[Networks, Batch]]


def gradient(method: Method, networks: Networks, batch: Batch, generator: torch.Generator,
             parameters: Sequence[Tensor]) -> Tensor:
    """The method's gradient in the student's parameters, flat."""
    found = torch.autograd.grad(method.student_loss(networks, batch, generator), parameters, allow_unused=True)
    return torch.cat([one.flatten() for one in found if one is not None])


def noise_and_signal(gradients: Iterable[Tensor]) -> tuple[float, float]:
    """tr Cov and |E g|^2 of gradients that are drawn alike; the mean's own noise is taken off the latter."""
    count, total, squares = 0, 0.0, 0.0
    for one in gradients:
        one = one.double()
        count, total, squares = count + 1, total + one, squares + float(one.pow(2).sum())
    mean_squared = float((total / count).pow(2).sum())
    noise = (squares - count * mean_squared) / (count - 1)
    return noise, mean_squared - noise / count


def noise_to_signal(conditions: Iterable[Iterable[Tensor]]) -> float:
    """Mean tr Cov over mean |E g|^2 of the gradients that were drawn under each condition."""
    noise, signal = (sum(column) for column in zip(*map(noise_and_signal, conditions)))
    return noise / max(signal, 1e-12)


def change_by_error(method: Method, kind: str, draw: Draw, generator: torch.Generator, parameters: Sequence[Tensor],
                    pairs: int, seed: int) -> float:
    """Root mean square over `pairs` draws of |g with an error of the auxiliary - g without|, the same noise in both."""
    squared = 0.0
    for _ in range(pairs):
        networks, batch = draw()
        state = generator.get_state()
        without = gradient(method, networks, batch, generator, parameters)
        generator.set_state(state)
        wrong = replace(networks, auxiliary=with_error(networks.auxiliary, kind, batch.sample, seed))
        squared += float((gradient(method, wrong, batch, generator, parameters) - without).pow(2).sum())
    return (squared / pairs) ** 0.5


def with_error(velocity: Velocity, kind: str, sample: Tensor, seed: int) -> Velocity:
    """A velocity that is off by ERROR, one of ERRORS: everywhere alike, as a wave of an angular frequency in t, or
    anew at every call."""
    generator = torch.Generator().manual_seed(seed)

    def wrong(x: Tensor, t: Tensor) -> Tensor:
        channels = x.shape[1]
        if kind == "white":
            error = torch.randn(x.shape, generator=generator).to(x)
        else:
            size = torch.ones_like(t) if kind == "constant" else 2**0.5 * torch.sin(float(kind.split()[1]) * t)
            error = per_row(size, sample) * (1 - 2 * (torch.arange(channels, device=x.device) % 2))
        return velocity(x, t) + ERROR / channels**0.5 * error

    return wrong
