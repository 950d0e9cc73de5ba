"""The Lovász-softmax loss: a surrogate of a class's Jaccard distance (Berman et al., arXiv 1705.08790)."""

from __future__ import annotations

import torch
from torch import Tensor


def lovasz_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits [N, K], labels [N] int64 -> mean of the loss over the classes that occur; scalar."""
    errors = (torch.nn.functional.one_hot(labels, logits.shape[1]) - logits.float().softmax(1)).abs()  # [N, K]
    errors = errors[:, torch.unique(labels)]
    sorted_errors, order = errors.sort(dim=0, descending=True)
    members = (labels[:, None] == torch.unique(labels)).gather(0, order).float()
    return (sorted_errors * jaccard_slope(members)).sum(0).mean()


def jaccard_slope(members: Tensor) -> Tensor:
    """Growth [N, K] of the Jaccard distance with each next error, for class membership [N, K] in the errors' order
    (algorithm 1 of the paper)."""
    intersection = members.sum(0) - members.cumsum(0)
    distance = 1 - intersection / (members.sum(0) + (1 - members).cumsum(0))
    return torch.diff(distance, dim=0, prepend=torch.zeros_like(distance[:1]))
