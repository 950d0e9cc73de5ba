"""The Lovász extension of the Jaccard distance: a loss that falls as the IoU of each class rises."""

from __future__ import annotations

import torch
from torch import Tensor

from occflow.flow.share import Share


def lovasz_softmax(logits: Tensor, labels: Tensor, share: Share | None = None) -> Tensor:
    """`lovasz_jaccard` of a softmax: logits [N, K], labels [N] int64."""
    return lovasz_jaccard(logits.float().softmax(1), labels, share=share)


def lovasz_jaccard(probabilities: Tensor, labels: Tensor, negligible: float = 0.0, share: Share | None = None
                   ) -> Tensor:
    """A surrogate of the mean of the classes' Jaccard distances (Berman et al., arXiv 1705.08790).

    Args:
        probabilities: [N, K] of the classes; a row may sum to less than one: the rest is of a class that is not judged.
        labels: [N] int64; those from K on are of that class.
        negligible: of what is not of a class, errors up to it are left out, which together would add no more than this:
            there is then little more to sort than the class itself.
        share: of a batch that several processes share, where the rows are some of it.

    Returns:
        the mean over the classes that occur; scalar, 0 where none does.
    """
    if share is not None and not share.alone:
        return _joint_lovasz(probabilities, labels, negligible, share)
    distances = []
    for number in torch.unique(labels[labels < probabilities.shape[1]]).tolist():
        member, probability = labels == number, probabilities[:, number]
        kept = (member | (probability.detach() > negligible)).nonzero()[:, 0]
        member, probability = member[kept], probability[kept]
        errors, order = torch.where(member, 1 - probability, probability).sort(descending=True)
        distances.append((errors * jaccard_slope(member[order].float())).sum())
    return torch.stack(distances).mean() if distances else probabilities.sum() * 0


def _joint_lovasz(probabilities: Tensor, labels: Tensor, negligible: float, share: Share) -> Tensor:
    """`lovasz_jaccard` of the joint batch as a figure of this process (flow.share): the errors of all processes are
    sorted together, each multiplies its own by the slopes there."""
    members = labels[:, None] == torch.arange(probabilities.shape[1], device=labels.device)  # [N, K]
    occurs = share.summed(members.sum(0)) > 0
    row, number = ((members | (probabilities.detach() > negligible)) & occurs).nonzero(as_tuple=True)
    member = members[row, number]
    errors = torch.where(member, 1 - probabilities[row, number], probabilities[row, number])
    told = torch.stack([number.to(errors), member.to(errors), errors.detach()], dim=1)
    all_told, first = share.gathered(told)
    slopes = torch.zeros_like(all_told[:, 2])
    for one in occurs.nonzero()[:, 0].tolist():
        places = (all_told[:, 0] == one).nonzero()[:, 0]
        places = places[all_told[places, 2].sort(descending=True).indices]
        slopes[places] = jaccard_slope(all_told[places, 1])
    total = (errors * slopes[first:first + len(errors)]).sum()
    return total * share.processes / occurs.sum().clamp(min=1)


def jaccard_slope(member: Tensor) -> Tensor:
    """Growth [N] of the Jaccard distance with each next error, for membership [N] (0 or 1, some 1) of a class in the
    errors' order (algorithm 1 of the paper)."""
    intersection = member.sum() - member.cumsum(0)
    distance = 1 - intersection / (member.sum() + (1 - member).cumsum(0))
    return torch.diff(distance, prepend=torch.zeros_like(distance[:1]))
