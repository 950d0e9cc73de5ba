"""The study of distillation: noise of the student's gradient on the forecaster, and what an auxiliary's error does."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from occflow.distill.protocol import Batch, Method, Networks
from occflow.training.distillation import DistilledNetworks, method_batch
from occflow.training.feeding import FlowBatch
from studies.gradient_noise import ERRORS, ESTIMATORS, change_by_error, gradient, noise_to_signal


def gradient_results(networks: DistilledNetworks, batches: Sequence[FlowBatch], drawn: int, paired: int, seed: int
                     ) -> dict:
    """Noise and signal of the student's gradient, and its change by errors of the auxiliary.

    Args:
        batches: training windows, asked one by one; figures are means over them.
        drawn: gradients of each, for the noise; paired: pairs of gradients with and without each error.

    Returns:
        {"noise": {estimator: tr Cov / |E g|^2}, "change": {kind of error: {estimator: root mean square}}}.
    """
    parameters = list(networks.student.parameters())

    def asked(batch: FlowBatch) -> tuple[Networks, Batch]:
        return networks.bound(batch.condition), method_batch(batch, False, 0.0)

    def noise(method: Method) -> float:
        generator = torch.Generator().manual_seed(seed)
        return noise_to_signal((gradient(method, *asked(batch), generator, parameters) for _ in range(drawn))
                               for batch in batches)

    def change(method: Method, kind: str) -> float:
        generator = torch.Generator().manual_seed(seed)
        squares = [change_by_error(method, kind, lambda batch=batch: asked(batch), generator, parameters, paired,
                                   seed)**2 for batch in batches]
        return (sum(squares) / len(squares)) ** 0.5

    return {"noise": {name: noise(method) for name, method in ESTIMATORS.items()},
            "change": {kind: {name: change(method, kind) for name, method in ESTIMATORS.items()} for kind in ERRORS}}
