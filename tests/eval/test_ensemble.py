"""The energy score against hand-computed cases and its defining property: the true distribution scores best."""

import numpy as np
import pytest

from occflow.eval.ensemble import Membership, energy_score
from occflow.geometry import planar_pose
from occflow.occupancy.frame import OccupancyFrame

CAR, ROAD = 4, 11


def distance(one: tuple, other: tuple) -> float:
    return Membership.of([one, other], movable_only=False).distances()[0, 1]


def future(*frames: dict[int, int]) -> tuple[OccupancyFrame, ...]:
    """Frames given as {flat voxel: class}."""
    return tuple(OccupancyFrame(np.array(sorted(voxels), dtype=np.int64),
                                np.array([voxels[flat] for flat in sorted(voxels)], dtype=np.uint8), np.eye(4), 0.5 * i)
                 for i, voxels in enumerate(frames))


def cars(*voxels: int) -> dict[int, int]:
    return dict.fromkeys(voxels, CAR)


def test_hand_computed_terms():
    truth = future(cars(0, 1))
    found = energy_score([future(cars(0, 1)), future(cars(1, 2)), future(cars(2, 3))], truth, movable_only=False)
    assert found.distance == pytest.approx((0 + 2 / 3 + 1) / 3)
    assert found.diversity == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)  # the three pairs, no sample with itself
    assert found.score == pytest.approx(5 / 9 - 7 / 18)


def test_one_distance_covers_all_frames():
    truth, late = future(cars(0), cars(1)), future(cars(0), cars(0))
    found = energy_score([late, late], truth, movable_only=False)
    assert found.distance == pytest.approx(1 - 1 / 3)  # (frame, voxel): one common, three in the union
    assert found.diversity == 0.0


def test_movable_only_leaves_the_road_out():
    truth = future({0: ROAD, 1: CAR})
    samples = [future({0: ROAD, 2: CAR}), future({0: CAR, 1: CAR})]
    assert energy_score(samples, truth, movable_only=True).distance == pytest.approx((1 + 1 / 2) / 2)
    assert energy_score(samples, truth, movable_only=False).distance == pytest.approx((2 / 3 + 0) / 2)


def test_empty_futures_agree():
    nothing, road = future({}), future({0: ROAD})
    assert energy_score([nothing, road], road, movable_only=True).score == 0.0
    assert distance(nothing, road) == 1.0


def test_the_true_distribution_beats_its_mode_and_its_union():
    """Two equally likely futures: sampling both is better, on average over the truth, than any one answer."""
    left, right = future(cars(0, 1, 2)), future(cars(2, 3, 4))

    def expected(samples: list) -> float:
        return np.mean([energy_score(samples, truth, movable_only=True).score for truth in (left, right)])

    draws = [[left, left], [left, right], [right, left], [right, right]]  # all two-sample draws of a fair coin
    sampled = np.mean([expected(pair) for pair in draws])
    union, apart = future(cars(0, 1, 2, 3, 4)), distance(left, right)
    assert sampled == pytest.approx(apart / 2 - apart / 4)
    assert sampled < expected([left, left]) and sampled < expected([union, union])


def test_order_of_samples_does_not_matter():
    samples = [future(cars(0)), future(cars(0, 1)), future(cars(3))]
    truth = future(cars(0, 3))
    assert energy_score(samples, truth, False) == energy_score(samples[::-1], truth, False)


def test_what_cannot_be_compared_is_refused():
    truth = future(cars(0), cars(1))
    with pytest.raises(ValueError, match="two samples"):
        energy_score([truth], truth, False)
    with pytest.raises(ValueError, match="1 frames, the truth has 2"):
        energy_score([truth[:1], truth], truth, False)
    moved = tuple(OccupancyFrame(one.flat, one.labels, planar_pose(1, 0, 0), one.stamp_s) for one in truth)
    with pytest.raises(ValueError, match="grid poses"):
        energy_score([truth, moved], truth, False)
