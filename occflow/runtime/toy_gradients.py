"""The toy study of the student's gradient: its noise at equal cost, and what an error of the auxiliary does to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from occflow.distill.mfd import MeanFlowDistillation
from occflow.distill.protocol import Batch, Method, Networks
from occflow.flow.path import Velocity
from occflow.runtime.toy_training import METHODS, distillation, started
from occflow.training.points import PointDistillation

DRAWN = 200  # gradients that a variance is measured on
ESTIMATORS = {"vsd": MeanFlowDistillation(equal_share=1.0, normalise=False),
              "vsd, 3 draws": MeanFlowDistillation(equal_share=1.0, draws=3, normalise=False),
              "mfd": MeanFlowDistillation(steps=3, normalise=False)}
ERROR = 0.3  # root mean square of the auxiliary's error, in units of the data
ERRORS = ("constant", "wave 10", "wave 30", "white")
PAIRED = 60  # gradients with and without the error


def variance_jobs(values: Mapping) -> dict[str, Callable[[], dict]]:
    """At two moments of a training."""
    return {f"{share:g}/{seed}": partial(variances, values, share, seed)
            for seed in values["seeds"] for share in (0.1, 1.0)}


def variances(values: Mapping, share: float, seed: int) -> dict:
    """Noise-to-signal of the student's gradient, tr Cov / |mean|^2, by estimator, at one state of the networks.

    All estimators draw t alike (the larger of two uniforms) and are not normalised; "mfd" and "vsd, 3 draws" ask each
    network three times.
    """
    toy, start = started(False, seed)
    training = distillation(values, toy, start, METHODS["mfd"], seed)
    training.run(max(1, int(share * values["updates"])))
    return {name: noise_to_signal(training, method) for name, method in ESTIMATORS.items()}


def noise_to_signal(training: PointDistillation, method: Method) -> float:
    """tr Cov / |E g|^2 of the method's gradient in the student's parameters."""
    stacked = torch.stack([gradient(training, method, *training.batch()) for _ in range(DRAWN)])
    noise = float(stacked.var(dim=0).sum())
    return noise / max(float(stacked.mean(0).pow(2).sum()) - noise / DRAWN, 1e-12)  # the mean's own noise taken off


def gradient(training: PointDistillation, method: Method, networks: Networks, batch: Batch) -> Tensor:
    """The method's gradient in the student's parameters, flat."""
    loss = method.student_loss(networks, batch, training.generator)
    found = torch.autograd.grad(loss, training.student.parameters, allow_unused=True)
    return torch.cat([one.flatten() for one in found if one is not None])


# error

def error_jobs(values: Mapping) -> dict[str, Callable[[], dict]]:
    """By kind of error and seed."""
    return {f"{kind}/{seed}": partial(error_row, values, kind, seed) for seed in values["seeds"] for kind in ERRORS}


def error_row(values: Mapping, kind: str, seed: int) -> dict:
    """Root mean square change of a gradient by an error of the auxiliary, same draws, by estimator.

    A tenth into MFD's training. Absolute: the estimators' own gradients have the same mean but for their noise.
    """
    toy, start = started(False, seed)
    training = distillation(values, toy, start, METHODS["mfd"], seed)
    training.run(max(1, int(0.1 * values["updates"])))
    return {name: changed_by_error(training, method, kind) for name, method in ESTIMATORS.items()}


def changed_by_error(training: PointDistillation, method: Method, kind: str) -> float:
    """Root mean square over draws of |g with the error - g without|."""
    squared = 0.0
    for _ in range(PAIRED):
        networks, batch = training.batch()
        state = training.generator.get_state()
        without = gradient(training, method, networks, batch)
        training.generator.set_state(state)
        wrong = replace(networks, auxiliary=with_error(networks.auxiliary, kind, training.student.count))
        squared += float((gradient(training, method, wrong, batch) - without).pow(2).sum())
    return (squared / PAIRED) ** 0.5


def with_error(velocity: Velocity, kind: str, seed: int) -> Velocity:
    """A velocity that is off by ERROR: everywhere alike, as a wave of an angular frequency in t, or anew at every
    call."""
    generator, direction = torch.Generator().manual_seed(seed), torch.tensor([1.0, -1.0]) / 2**0.5

    def wrong(x: Tensor, t: Tensor) -> Tensor:
        if kind == "white":
            return velocity(x, t) + ERROR * torch.randn(x.shape, generator=generator) / 2**0.5
        size = torch.ones_like(t) if kind == "constant" else 2**0.5 * torch.sin(float(kind.split()[1]) * t)
        return velocity(x, t) + ERROR * size[:, None] * direction

    return wrong
