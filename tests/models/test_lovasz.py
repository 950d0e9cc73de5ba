"""The Lovász-softmax loss equals the Jaccard distance where predictions are certain."""

import pytest
import torch

from occflow.models.lovasz import lovasz_softmax


def test_certain_predictions_cost_their_mean_jaccard_distance():
    labels = torch.tensor([0, 0, 0, 2, 2, 2])
    guessed = torch.tensor([0, 0, 2, 2, 2, 1])
    logits = 100.0 * torch.nn.functional.one_hot(guessed, 3)
    assert lovasz_softmax(logits, labels).item() == pytest.approx(((1 - 2 / 3) + (1 - 2 / 4)) / 2)


def test_it_descends_along_its_gradient_as_the_gradient_says():
    torch.manual_seed(0)
    logits, labels = torch.randn(50, 4, requires_grad=True), torch.randint(4, (50,))
    loss = lovasz_softmax(logits, labels)
    loss.backward()
    descent = (loss - lovasz_softmax(logits - logits.grad, labels)).item()
    assert descent == pytest.approx(logits.grad.pow(2).sum().item(), rel=0.05) and descent > 0
