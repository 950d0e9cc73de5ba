"""The toy study of the student's gradient: its noise at equal cost, and what an error of the auxiliary does to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from torch import Tensor

from occflow.distill.protocol import Method
from studies.gradient_noise import ERRORS, ESTIMATORS, change_by_error, gradient, noise_to_signal
from studies.toy.points import PointDistillation
from studies.toy.training import METHODS, distillation, started

DRAWN = 200  # gradients that a variance is measured on
PAIRED = 60  # gradients with and without the error


def variance_jobs(values: Mapping) -> dict[str, Callable[[], dict]]:
    """At two moments of a training."""
    return {f"{share:g}/{seed}": partial(variances, values, share, seed)
            for seed in values["seeds"] for share in (0.1, 1.0)}


def variances(values: Mapping, share: float, seed: int) -> dict:
    """Noise-to-signal of the student's gradient, tr Cov / |mean|^2, by estimator, at one state of the networks."""
    training = trained(values, share, seed)
    return {name: noise_to_signal([drawn(training, method)]) for name, method in ESTIMATORS.items()}


def trained(values: Mapping, share: float, seed: int) -> PointDistillation:
    """MFD's training on the ring, a share of the way."""
    toy, start = started(False, seed)
    training = distillation(values, toy, start, METHODS["mfd"], seed)
    training.run(max(1, int(share * values["updates"])))
    return training


def drawn(training: PointDistillation, method: Method) -> Iterator[Tensor]:
    """Gradients of the method in the student's parameters."""
    return (gradient(method, *training.batch(), training.generator, training.student.parameters) for _ in range(DRAWN))


def error_jobs(values: Mapping) -> dict[str, Callable[[], dict]]:
    """By kind of error and seed."""
    return {f"{kind}/{seed}": partial(error_row, values, kind, seed) for seed in values["seeds"] for kind in ERRORS}


def error_row(values: Mapping, kind: str, seed: int) -> dict:
    """Root mean square change of a gradient by an error of the auxiliary, same draws, by estimator.

    A tenth into MFD's training. Absolute: the estimators' own gradients have the same mean but for their noise.
    """
    training = trained(values, 0.1, seed)
    return {name: change_by_error(method, kind, training.batch, training.generator, training.student.parameters,
                                  PAIRED, training.student.count) for name, method in ESTIMATORS.items()}
