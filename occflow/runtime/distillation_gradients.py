"""The study of distillation: noise of the student's gradient on the forecaster, and what an auxiliary's error does."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch

from occflow.distill.methods import method_from_config
from occflow.distill.protocol import Batch, Networks
from occflow.models.forecaster import FlowForecaster
from occflow.runtime.gradient_noise import ERRORS, ESTIMATORS, change_by_error, gradient, noise_and_signal
from occflow.training.bound_networks import DistilledNetworks, EvaluationCount, method_batch
from occflow.training.distillation import distill
from occflow.training.feeding import FlowBatch, FlowFeed
from occflow.training.optimiser import Trainer
from occflow.training.run import TrainingRun


def gradient_results(teacher: FlowForecaster, feed: FlowFeed, values: Mapping, seed: int, conditions: int, drawn: int,
                     paired: int) -> dict:
    """At the networks of an MFD training of `values`: noise and signal of the gradient, and its change by errors.

    Args:
        conditions: training windows that are asked one by one; figures are means over them.
        drawn: gradients of each, for the noise; paired: pairs of gradients with and without each error.

    Returns:
        {"noise": {estimator: tr Cov / |E g|^2}, "change": {kind of error: {estimator: root mean square}}}.
    """
    networks = trained_networks(teacher, feed, values, seed)
    parameters = list(networks.student.parameters())
    batches = [feed.next(1) for _ in range(conditions)]
    noise = {name: noise_to_signal(networks, batches, method, drawn, seed) for name, method in ESTIMATORS.items()}
    return {"noise": noise, "change": {
        kind: {name: mean_change(networks, batches, method, kind, paired, seed, parameters)
               for name, method in ESTIMATORS.items()} for kind in ERRORS}}


def trained_networks(teacher: FlowForecaster, feed: FlowFeed, values: Mapping, seed: int) -> DistilledNetworks:
    """Student and auxiliary as the last update of a training left them."""
    kept: list[Trainer] = []

    def watch(student: Trainer, auxiliary: Trainer | None) -> None:
        kept[:] = student, auxiliary

    with tempfile.TemporaryDirectory() as folder:
        distill(teacher, feed, method_from_config(values), values, seed, TrainingRun(Path(folder)), watch)
    student, auxiliary = (copy.deepcopy(one.module).eval() for one in kept)
    return DistilledNetworks(teacher, student, auxiliary, None, 1.0, EvaluationCount())


def noise_to_signal(networks: DistilledNetworks, batches: list[FlowBatch], method, drawn: int, seed: int) -> float:
    """Mean tr Cov over mean |E g|^2 of the gradient under each condition."""
    generator, parameters = torch.Generator().manual_seed(seed), list(networks.student.parameters())
    pairs = [noise_and_signal(gradient(method, *asked(networks, batch), generator, parameters) for _ in range(drawn))
             for batch in batches]
    noise, signal = (sum(column) for column in zip(*pairs))
    return noise / max(signal, 1e-12)


def mean_change(networks: DistilledNetworks, batches: list[FlowBatch], method, kind: str, paired: int, seed: int,
                parameters: list[torch.Tensor]) -> float:
    """Root mean square change over conditions and draws."""
    generator = torch.Generator().manual_seed(seed)
    changes = [change_by_error(method, kind, lambda batch=batch: asked(networks, batch), generator, parameters, paired,
                               seed) for batch in batches]
    return (sum(change**2 for change in changes) / len(changes)) ** 0.5


def asked(networks: DistilledNetworks, batch: FlowBatch) -> tuple[Networks, Batch]:
    """Networks and batch of one condition."""
    return networks.bound(batch.condition), method_batch(batch, False, 0.0)
