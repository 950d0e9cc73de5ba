"""Counters against hand-computed cases and an independent dense implementation (docs/scores.md, "Windows")."""

import numpy as np
import pytest

from occflow.errors import InputError
from occflow.eval.iou import IoUCounts
from occflow.eval.protocols import PROTOCOLS, horizon_frames, protocol_named
from occflow.grid import FREE, NUM_CLASSES, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame

GRID = VoxelGrid((0, 0, 0), (4, 3, 2), 1.0)
CAR, PEDESTRIAN, ROAD = 4, 7, 11


def frame(voxels: dict[int, int], pose: np.ndarray | None = None) -> OccupancyFrame:
    flat = np.array(sorted(voxels), dtype=np.int64)
    labels = np.array([voxels[int(index)] for index in flat], dtype=np.uint8)
    return OccupancyFrame(flat, labels, np.eye(4) if pose is None else pose, 0.0)


def counted(prediction: dict[int, int], truth: dict[int, int]) -> IoUCounts:
    counts = IoUCounts(1)
    counts.add(0, frame(prediction), frame(truth))
    return counts


def test_hand_computed_case():
    counts = counted({0: CAR, 1: CAR, 2: ROAD, 3: PEDESTRIAN}, {0: CAR, 1: ROAD, 2: ROAD, 5: CAR})
    assert counts.iou()[0] == 3 / 5
    classes = counts.class_iou()[0]
    assert classes[CAR] == 1 / 3 and classes[ROAD] == 1 / 2 and classes[PEDESTRIAN] == 0
    assert np.isnan(classes[0])
    assert counts.miou(released_rule=False)[0] == pytest.approx((1 / 3 + 1 / 2 + 0) / 3)
    assert counts.miou(released_rule=True)[0] == pytest.approx((1 / 3 + 1 / 2 + 1 + 14) / 17)  # no pedestrian is true
    assert counts.movable_iou()[0] == 1 / 4  # voxel 0 of {0, 1, 3, 5}
    assert counts.movable_miou()[0] == pytest.approx((1 / 3 + 0) / 2)


def test_nothing_anywhere_is_absent_not_perfect():
    counts = counted({}, {})
    assert np.isnan(counts.iou()[0]) and np.isnan(counts.miou(False)[0]) and np.isnan(counts.movable_iou()[0])
    assert counts.miou(True)[0] == 1.0


def random_volumes(count: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    volumes = rng.integers(0, NUM_CLASSES, (count, *GRID.shape)).astype(np.uint8)
    volumes[rng.random(volumes.shape) < 0.6] = FREE
    return list(volumes)


def dense_occworld(predictions: list[np.ndarray], truths: list[np.ndarray]) -> tuple[float, float]:
    """The released rule on dense volumes: seen, positive and correct voxels of each class, summed over the data set."""
    per_class = []
    for label in range(NUM_CLASSES):
        seen = positive = correct = 0
        for predicted, true in zip(predictions, truths):
            for ours, theirs in zip(predicted.reshape(-1).tolist(), true.reshape(-1).tolist()):
                seen, positive = seen + (theirs == label), positive + (ours == label)
                correct += ours == theirs == label
        per_class.append(correct / (seen + positive - correct) if seen else 1.0)
    predicted, true = np.stack(predictions) != FREE, np.stack(truths) != FREE
    return (predicted & true).sum() / (predicted | true).sum(), float(np.mean(per_class))


@pytest.mark.parametrize("seed", range(8))
def test_occworld_equals_a_dense_implementation_to_the_last_digit(seed):
    """Odd seeds leave a third of the classes out of the truth, not out of the forecast."""
    predictions, truths = random_volumes(3, seed), random_volumes(3, seed + 100)
    for true in truths if seed % 2 else ():
        true[true % 3 == 0] = FREE
    counts = IoUCounts(1)
    for predicted, true in zip(predictions, truths):
        counts.add(0, OccupancyFrame.from_dense(predicted, np.eye(4)), OccupancyFrame.from_dense(true, np.eye(4)))
    scores = PROTOCOLS["occworld"].scores(counts)
    assert (scores["iou"][0], scores["miou"][0]) == dense_occworld(predictions, truths)


def test_shards_add_up_exactly():
    predictions, truths = random_volumes(6, 1), random_volumes(6, 2)
    frames = [(OccupancyFrame.from_dense(a, np.eye(4)), OccupancyFrame.from_dense(b, np.eye(4)))
              for a, b in zip(predictions, truths)]
    whole, shards = IoUCounts(1), [IoUCounts(1) for _ in range(3)]
    for number, pair in enumerate(frames):
        whole.add(0, *pair)
        shards[number % 3].add(0, *pair)
    shards[0].merge(shards[1])
    shards[0].merge(shards[2])
    assert (shards[0].intersections == whole.intersections).all() and (shards[0].unions == whole.unions).all()


def test_released_and_strict_rule_differ_on_an_absent_class():
    counts = counted({0: CAR}, {1: CAR})
    assert PROTOCOLS["occworld"].scores(counts)["miou"][0] == 16 / 17
    assert PROTOCOLS["occworld-strict"].scores(counts)["miou"][0] == 0.0


def test_a_class_that_only_the_forecast_has_counts_as_one_under_the_released_rule_and_as_zero_under_the_strict():
    """Car: 1 of 1. Pedestrian: forecast, not true. The other 15 classes: nowhere."""
    counts = counted({0: CAR, 1: PEDESTRIAN}, {0: CAR})
    assert PROTOCOLS["occworld"].scores(counts)["miou"][0] == 1.0
    assert PROTOCOLS["occworld-strict"].scores(counts)["miou"][0] == 0.5


def test_other_grid_pose_is_refused():
    moved = np.eye(4)
    moved[0, 3] = 1.0
    with pytest.raises(ValueError, match="grid poses"):
        IoUCounts(1).add(0, frame({0: CAR}, moved), frame({0: CAR}))
    with pytest.raises(ValueError, match="grid poses"):
        IoUCounts(1).add(0, frame({0: CAR}, np.full((4, 4), np.nan)), frame({0: CAR}))


def test_shards_of_other_horizons_are_refused():
    with pytest.raises(ValueError, match="1 horizon frames do not add to 6"):
        IoUCounts(6).merge(IoUCounts(1))


def test_horizons_and_names():
    assert horizon_frames(0.5, 6) == [1, 3, 5]
    assert horizon_frames(0.25, 12) == [3, 7, 11]
    with pytest.raises(InputError, match="1, 2 and 3 s"):
        horizon_frames(0.5, 4)
    with pytest.raises(InputError, match="known: occworld"):
        protocol_named("fancy")
