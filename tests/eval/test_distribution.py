"""Forecasters as distributions, against toys whose scores are known exactly."""

import numpy as np
import pytest

from occflow.eval.distribution import DistributionCounts, MarginalCounts
from occflow.eval.ensemble import Membership, set_scores
from occflow.eval.iou import IoUCounts
from occflow.occupancy.frame import OccupancyFrame

CAR = 4


def future(*voxels: int) -> tuple[OccupancyFrame, ...]:
    flat = np.array(sorted(voxels), dtype=np.int64)
    return (OccupancyFrame(flat, np.full(len(flat), CAR, np.uint8), np.eye(4), 0.0),)


def drawn(probabilities: np.ndarray, rng: np.random.Generator) -> tuple[OccupancyFrame, ...]:
    return future(*np.flatnonzero(rng.random(len(probabilities)) < probabilities))


def toy(samples: int, windows: int, confident: bool) -> MarginalCounts:
    """Voxels filled with known probabilities; the over-confident forecaster fills those above one half always."""
    rng, counts = np.random.default_rng(0), MarginalCounts(samples)
    for _ in range(windows):
        probabilities = rng.random(2000)
        believed = (probabilities > 0.5).astype(float) if confident else probabilities
        member = Membership.of([*(drawn(believed, rng) for _ in range(samples)), drawn(probabilities, rng)], False)
        counts.add(member, 2000)
    return counts


def test_a_calibrated_forecaster_has_no_calibration_error_and_an_over_confident_one_has():
    """With K samples of the true probabilities p uniform in [0, 1], the share k / K tells E p = (k + 1) / (K + 2)."""
    calibrated, confident = toy(64, 20, False), toy(64, 20, True)
    assert calibrated.calibration_error() < 0.02
    assert confident.calibration_error() == pytest.approx(0.25, abs=0.01)  # says 0 for 1/4, 1 for 3/4
    assert calibrated.brier() == pytest.approx(1 / 6 + 1 / 6 / 64, abs=0.005)  # E p(1-p), and the noise of 64 samples
    assert confident.brier() == pytest.approx(1 / 4, abs=0.005)  # E min(p, 1-p)
    assert calibrated.nll() < confident.nll()


def test_marginal_scores_by_hand():
    """Two samples and the truth on four voxels: shares 1, 1/2, 0, 0 against 1, 0, 1, 0."""
    counts = MarginalCounts(2)
    counts.add(Membership.of([future(0, 1), future(0), future(0, 2)], False), 4)
    assert counts.voxels.tolist() == [2, 1, 1] and counts.occupied.tolist() == [1, 0, 1]
    assert counts.brier() == pytest.approx((0 + 1 / 4 + 1 + 0) / 4)
    sure, wrong = -np.log(1 - 1e-3), -np.log(1e-3)
    assert counts.nll() == pytest.approx((sure + np.log(2) + wrong + sure) / 4)
    assert counts.calibration_error() == pytest.approx((2 * 0.5 + 1 * 0.5 + 0) / 4)
    assert counts.calibration_error(filled_only=True) == pytest.approx(0.5 / 2)
    assert [one["voxels"] for one in counts.reliability()] == [2, 1, 1]
    assert counts.reliability()[1] == {"forecast": 0.5, "occurred": 0.0, "voxels": 1}


def test_random_shards_add_up_exactly():
    rng = np.random.default_rng(3)
    whole, shards = DistributionCounts(3), [DistributionCounts(3) for _ in range(4)]
    for _ in range(12):
        futures = [drawn(np.full(50, 0.4), rng) for _ in range(4)]
        for counts in (whole, shards[rng.integers(4)]):
            counts.add(futures[:3], futures[3], 50)
    for shard in shards[1:]:
        shards[0].merge(shard)
    assert shards[0].row() == whole.row()
    with pytest.raises(ValueError, match="2 samples"):
        MarginalCounts(3).merge(MarginalCounts(2))


LEFT, RIGHT, BOTH = (0, 1, 2, 3), (2, 3, 4, 5), (2, 3)


def scores_of(first: tuple, second: tuple, truth: tuple) -> dict:
    counts = DistributionCounts(2)
    counts.add([future(*first), future(*second)], future(*truth), 10)
    return counts.row()


def expected_iou(pairs: list[tuple[tuple, tuple]]) -> float:
    """The benchmark's IoU (counts summed) over equally likely pairs of forecast and truth."""
    counts = IoUCounts(1)
    for forecast, truth in pairs:
        counts.add(0, *future(*forecast), *future(*truth))
    return counts.iou()[0]


def test_a_mean_forecaster_has_the_better_iou_and_the_worse_energy_score():
    """Two equally likely futures of 4 voxels that share 2, d = 2/3; the mean fills all 6 (each with at least 1/2).

    IoU: the sampler is right in half of the cases, (4 + 2) / (4 + 6) = 3/5; the mean always has 4 / 6. Energy: the
    sampler 1/2 * 2/3 - 1/2 * 1/2 * 2/3 = 1/6; the mean 1 - 4/6 - 0 = 1/3.
    """
    mean, modes = (0, 1, 2, 3, 4, 5), (LEFT, RIGHT)
    assert expected_iou([(draw, truth) for draw in modes for truth in modes]) == pytest.approx(3 / 5)
    assert expected_iou([(mean, truth) for truth in modes]) == pytest.approx(2 / 3)
    draws = [scores_of(a, b, truth)["energy"] for a in modes for b in modes for truth in modes]
    assert np.mean(draws) == pytest.approx(1 / 6, abs=1e-6)
    assert np.mean([scores_of(mean, mean, truth)["energy"] for truth in modes]) == pytest.approx(1 / 3, abs=1e-6)


def test_best_of_k_and_mean_of_k():
    found = scores_of(LEFT, RIGHT, LEFT)
    assert found["best_iou"] == 1.0 and found["mean_iou"] == pytest.approx((1 + 1 / 3) / 2, abs=1e-6)
    assert found["movable_energy"] == found["energy"] == pytest.approx(1 / 3 - 1 / 3, abs=1e-6)


def test_coverage_precision_and_energy_distance():
    left, right, odd = future(*LEFT), future(*RIGHT), future(8, 9)
    same = set_scores([left, right], [left, right])
    assert (same.coverage, same.precision) == (1.0, 1.0)
    assert same.energy_distance == pytest.approx(2 * (1 / 3) - 2 / 3 - 2 / 3)  # below 0: pairs of different ones only
    collapsed = set_scores([left, left], [left, right])
    assert (collapsed.coverage, collapsed.precision) == (0.5, 1.0)
    assert collapsed.energy_distance == pytest.approx(2 * (1 / 3) - 0 - 2 / 3)
    wild = set_scores([left, odd], [left, left])
    assert (wild.coverage, wild.precision, wild.nearest) == (1.0, 0.5, 0.5)
    seeking = set_scores([future(*BOTH)] * 2, [left, right])  # what both share: near neither
    assert (seeking.coverage, seeking.precision, seeking.nearest) == (0.0, 0.0, 0.5)
    with pytest.raises(ValueError, match="two or more"):
        set_scores([left, left], [left])
