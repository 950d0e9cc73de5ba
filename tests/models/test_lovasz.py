"""The Lovász extension of the Jaccard distance: against the distance itself, its definition, its gradient."""

import itertools

import pytest
import torch
from torch.nn import functional

from occflow.models.lovasz import lovasz_jaccard, lovasz_softmax


def jaccard_distance(said: torch.Tensor, member: torch.Tensor) -> float:
    """One minus intersection over union of two masks."""
    return 1 - ((said & member).sum() / (said | member).sum()).item()


def test_certain_predictions_cost_their_mean_jaccard_distance():
    labels = torch.tensor([0, 0, 0, 2, 2, 2])
    guessed = torch.tensor([0, 0, 2, 2, 2, 1])
    logits = 100.0 * functional.one_hot(guessed, 3)
    assert lovasz_softmax(logits, labels).item() == pytest.approx(((1 - 2 / 3) + (1 - 2 / 4)) / 2)


@pytest.mark.parametrize("guessed", itertools.product(range(3), repeat=4))
def test_certain_predictions_beside_a_class_that_is_not_judged(guessed):
    """The last class is free space: a voxel wrongly filled or missed counts against the class, never for another."""
    labels, guessed = torch.tensor([0, 1, 1, 2]), torch.tensor(guessed)
    probabilities = functional.one_hot(guessed, 3)[:, :2].float()
    wanted = sum(jaccard_distance(guessed == number, labels == number) for number in (0, 1)) / 2
    assert lovasz_jaccard(probabilities, labels).item() == pytest.approx(wanted)


def test_between_certain_predictions_it_is_their_mean_over_all_levels():
    """The extension of a set function is its mean over the sets of errors above a level, drawn from [0, 1]."""
    torch.manual_seed(0)
    labels, probability = torch.randint(2, (12,)), torch.rand(12)
    errors = torch.where(labels == 0, 1 - probability, probability)
    levels = (torch.arange(100_000) + 0.5) / 100_000
    wrong = errors[None] > levels[:, None]
    said, member = wrong ^ (labels == 0), (labels == 0).expand_as(wrong)
    distances = 1 - (said & member).sum(1) / (said | member).sum(1)
    assert lovasz_jaccard(probability[:, None], labels).item() == pytest.approx(distances.mean().item(), abs=1e-4)


def test_negligible_errors_cost_next_to_nothing():
    torch.manual_seed(0)
    logits, labels = 4 * torch.randn(500, 6), torch.randint(7, (500,))
    probabilities = logits.softmax(1)
    whole = lovasz_jaccard(probabilities, labels).item()
    assert lovasz_jaccard(probabilities, labels, 0.01).item() == pytest.approx(whole, abs=0.01)
    assert lovasz_jaccard(probabilities, labels, 0.01).item() != whole


def test_without_a_class_nothing_is_lost():
    probabilities = torch.rand(5, 3, requires_grad=True)
    for labels in (torch.full((5,), 3), torch.full((5,), 255)):
        loss = lovasz_jaccard(probabilities, labels)
        loss.backward()
        assert loss.item() == 0
    assert lovasz_jaccard(probabilities[:0], labels[:0]).item() == 0 and not probabilities.grad.any()


def test_it_descends_along_its_gradient_as_the_gradient_says():
    torch.manual_seed(0)
    logits, labels = torch.randn(50, 4, requires_grad=True), torch.randint(4, (50,))
    loss = lovasz_softmax(logits, labels)
    loss.backward()
    descent = (loss - lovasz_softmax(logits - logits.grad, labels)).item()
    assert descent == pytest.approx(logits.grad.pow(2).sum().item(), rel=0.05) and descent > 0
