"""Means by sample, and the losses that are built of them."""

from __future__ import annotations

import torch
from torch import Tensor

from occflow.distill.protocol import Batch


def sample_mean(values: Tensor, batch: Batch) -> Tensor:
    """Mean over the rows and channels of each sample: [N, C] -> [B]."""
    totals = values.new_zeros(batch.num_samples).index_add(0, batch.sample, values.mean(1))
    counts = values.new_zeros(batch.num_samples).index_add(0, batch.sample, torch.ones_like(values[:, 0]))
    return totals / counts.clamp(min=1)


def regression_loss(predicted: Tensor, target: Tensor, batch: Batch, power: float = 0.0,
                    constant: float = 1e-2) -> Tensor:
    """Mean over samples of e / sg(e + constant)^power, e the sample's mean squared error (arXiv 2505.13447, eq. 22).

    The target is held fixed. power 0 is the plain squared error; 1 makes samples with large errors count alike.
    """
    squared = (predicted - target.detach()) ** 2
    error = sample_mean(squared if batch.weight is None else squared * batch.weight, batch)
    return (error / (error.detach() + constant) ** power).mean()
