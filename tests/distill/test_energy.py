"""The energy score of a student: what it is, that it is proper, what each size of region tells. All expectations are
sums over what is possible, so that nothing is left to a draw."""

from itertools import product

import pytest
import torch

from occflow.distill.energy import EnergyScore, EnergyStudent
from occflow.distill.mfd import MeanFlowDistillation
from occflow.distill.protocol import Batch, Networks

ROWS_ALONE, REGIONS_ALONE, SAMPLES_ALONE = EnergyScore(1, 0, 0), EnergyScore(0, 1, 0), EnergyScore(0, 0, 1)


def batch_of(truth: torch.Tensor, weight: torch.Tensor | None = None) -> Batch:
    """One sample of so many rows [N, C], each pair of them a region."""
    rows = len(truth)
    return Batch(torch.zeros(rows, dtype=torch.long), tuple(truth.shape), 1, weight, truth,
                 regions=(torch.arange(rows) // 2,))


def expected(score: EnergyScore, futures: list[torch.Tensor], student: list[float], truth: list[float]) -> float:
    """The score of two samples in expectation, futures [N, C] being drawn with these probabilities."""
    total = 0.0
    for (y, p), (a, q), (b, r) in product(zip(futures, truth), *[list(zip(futures, student))] * 2):
        if p * q * r:
            total += p * q * r * float(score([a, b], y, batch_of(y)))
    return total


def test_it_is_the_formula():
    generator = torch.Generator().manual_seed(0)
    truth, *samples = torch.randn(4, 4, 3, generator=generator)
    weight = torch.rand(4, 3, generator=generator)

    def distance(a, b):
        squared = ((a - b) ** 2 * weight).mean(1)
        sizes = [squared, squared.view(2, 2).mean(1), squared.mean()[None]]
        return sum(factor * ((one + 0.01).sqrt() - 0.1).mean() for factor, one in zip((1, 2, 3), sizes))

    found = EnergyScore(1, 2, 3, softening=0.1, fairness=0.7)(samples, truth, batch_of(truth, weight))
    to_truth = sum(distance(one, truth) for one in samples) / 3
    between = sum(distance(*pair) for pair in ((samples[0], samples[1]), (samples[0], samples[2]),
                                               (samples[1], samples[2]))) / 3
    assert torch.allclose(found, to_truth - (1 - 0.3 / 3) / 2 * between, atol=1e-6)


@pytest.mark.parametrize("score", [ROWS_ALONE, REGIONS_ALONE, SAMPLES_ALONE, EnergyScore()])
@pytest.mark.parametrize("true", [0.5, 0.7, 0.95])
def test_the_true_weight_of_a_rare_future_has_the_least_score(score, true):
    futures = [torch.full((4, 1), 1.5), torch.full((4, 1), -1.5)]
    at = {weight: expected(score, futures, [weight, 1 - weight], [true, 1 - true])
          for weight in (true - 0.1, true - 0.02, true, true + 0.02, min(true + 0.1, 1.0))}
    assert min(at, key=at.get) == true


@pytest.mark.parametrize("score, sees", [(ROWS_ALONE, False), (REGIONS_ALONE, True), (SAMPLES_ALONE, True)])
def test_what_is_jointly_possible_is_seen_by_regions_and_not_by_single_rows(score, sees):
    """Two rows are both 1 or both -1. A student that draws each by itself has the same marginals."""
    futures = [torch.tensor([[x], [y]]) for x, y in product((1.0, -1.0), (1.0, -1.0))]
    jointly, apart = [0.5, 0.0, 0.0, 0.5], [0.25] * 4
    right, wrong = (expected(score, futures, student, jointly) for student in (jointly, apart))
    assert wrong > right * 1.1 if sees else wrong == pytest.approx(right, rel=1e-5)


def test_a_score_that_is_unbiased_neither_spreads_nor_collapses_and_one_that_is_not_draws_together():
    """Five places on a line, and the true probabilities; those of a student that has them sharper or flatter."""
    futures = [torch.full((2, 1), place) for place in (-2.0, -1.0, 0.0, 1.0, 2.0)]
    true = torch.tensor([0.05, 0.2, 0.5, 0.2, 0.05])

    def best(score: EnergyScore) -> float:
        powers = (0.6, 0.8, 1.0, 1.25, 1.6)  # of the probabilities; above 1 is sharper
        students = [(true**power / (true**power).sum()).tolist() for power in powers]
        return min(zip(powers, students), key=lambda one: expected(score, futures, one[1], true.tolist()))[0]

    assert best(EnergyScore()) == 1.0
    assert best(EnergyScore(fairness=0.5)) > 1.0


@pytest.mark.parametrize("score", [EnergyScore(), EnergyScore(softening=1e-3)])
def test_equal_samples_have_a_gradient(score):
    truth = torch.zeros(4, 2)
    samples = [torch.zeros(4, 2, requires_grad=True) for _ in range(2)]
    score(samples, truth, batch_of(truth)).backward()
    assert all(torch.equal(one.grad, torch.zeros(4, 2)) for one in samples)


def test_what_has_no_weight_does_not_matter():
    """Motions of bodies that nobody knows."""
    truth, weight = torch.zeros(4, 2), torch.ones(4, 2)
    weight[1] = 0
    samples = list(torch.randn(2, 4, 2, generator=torch.Generator().manual_seed(0)))
    others = [one.index_fill(0, torch.tensor([1]), 9.0 + index) for index, one in enumerate(samples)]
    batch = batch_of(truth, weight)
    assert torch.allclose(EnergyScore()(samples, truth, batch), EnergyScore()(others, truth, batch))


def test_mfd_takes_it_with_a_weight_and_its_first_sample_with_it():
    noises, truth = [], torch.full((4, 1), 3.0)
    shift = torch.zeros(1, requires_grad=True)

    def student(noise):
        noises.append(noise)
        return noise + shift

    def velocity(x, t):
        return torch.zeros_like(x)

    def gradient(weight: float) -> float:
        noises.clear()
        loss = MeanFlowDistillation(energy=weight).student_loss(
            Networks(velocity, velocity, student), batch_of(truth), torch.Generator().manual_seed(0))
        return torch.autograd.grad(loss, shift)[0].item()

    assert gradient(0.0) == 0 and len(noises) == 1
    once = gradient(1.0)
    assert len(noises) == 2 and once < 0  # towards the truth
    assert gradient(2.0) == pytest.approx(2 * once, rel=1e-5)
    assert MeanFlowDistillation(energy=1.0).needs_data and not MeanFlowDistillation().needs_data
    assert not MeanFlowDistillation(energy=1.0, teacher_steps=2).needs_data


def test_more_samples_have_the_same_gradient_and_a_quieter_one():
    truth = torch.zeros(4, 1)

    def gradients(count: int) -> torch.Tensor:
        found, generator = [], torch.Generator().manual_seed(0)
        for _ in range(100):
            spread = torch.tensor(1.5, requires_grad=True)
            networks = Networks(None, None, lambda noise, spread=spread: spread * noise)
            EnergyStudent(count).student_loss(networks, batch_of(truth), generator).backward()
            found.append(spread.grad)
        return torch.stack(found)

    two, six = gradients(2), gradients(6)
    assert two.mean().item() == pytest.approx(six.mean().item(), abs=4 * two.std().item() / 10)
    assert six.std() < 0.75 * two.std()
    assert EnergyStudent(6).needs_data
