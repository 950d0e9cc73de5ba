"""Intervals on scenes few enough to know what drawing them anew must give."""

import numpy as np
import pytest

from occflow.errors import InputError
from occflow.eval.counts import MeanCounts, SceneCounts
from occflow.eval.intervals import (
    RESAMPLES,
    UNKNOWN,
    intervals,
    mean_intervals,
    mean_row,
    scene_draws,
    vector_intervals,
)
from occflow.eval.iou import NUM_LABELS
from occflow.eval.protocols import PROTOCOLS
from occflow.eval.report_record import COUNTERS, read_counters, write_counters
from occflow.grid import FREE

CAR = 4
STRICT = PROTOCOLS["occworld-strict"]


def scene(right: int, missed: int, frames: int = 1) -> np.ndarray:
    """Counters [F, 18, 18] of cars, `right` of which are forecast."""
    confusion = np.zeros((frames, NUM_LABELS, NUM_LABELS), dtype=np.int64)
    confusion[:, CAR, CAR], confusion[:, FREE, CAR] = right, missed
    return confusion


def means(*values: float) -> MeanCounts:
    counts = MeanCounts()
    for value in values:
        counts.add("x", value)
    return counts


def test_scenes_are_drawn_with_replacement_and_alike_for_a_seed():
    draws = scene_draws(5, 0)
    assert draws.shape == (RESAMPLES, 5) and (draws.sum(axis=1) == 5).all() and draws.max() > 1
    assert draws.mean(axis=0) == pytest.approx(np.ones(5), abs=0.1)
    assert (draws == scene_draws(5, 0)).all() and (draws != scene_draws(5, 1)).any()


def test_two_scenes_by_hand():
    """IoU 1 (of 10 voxels) and 0 (of 30): a quarter of the draws each is one scene twice, so the interval is [0, 1]."""
    found = intervals(np.stack([scene(10, 0), scene(0, 30)]), STRICT, 0)
    assert found["iou"][0] == found["movable_iou"][0] == [0.0, 1.0]
    assert intervals(np.stack([scene(10, 30)] * 4), STRICT, 0)["iou"] == [[0.25, 0.25]] * 2  # scenes alike: no width


def test_the_last_interval_is_of_the_mean_over_the_frames():
    confusion = np.concatenate([scene(1, 1), scene(1, 3)])  # IoU 1/2 and 1/4
    found = intervals(np.stack([confusion, confusion]), STRICT, 0)["iou"]
    assert found == [[0.5, 0.5], [0.25, 0.25], [0.375, 0.375]]


def test_one_scene_or_none_says_nothing():
    assert intervals(scene(1, 1)[None], STRICT, 0)["iou"] == [UNKNOWN] * 2
    assert mean_intervals([means(1.0)], 0) == {"x": UNKNOWN} and mean_intervals([], 0) == {}
    assert vector_intervals([np.ones(2)], lambda v: {"y": v.sum()}, 0) == {"y": UNKNOWN}


def test_means_weigh_scenes_by_their_measurements():
    """Scene one has three measurements of 0, scene two one of 1: together 1/4, not 1/2; drawn twice 0 or 1."""
    scenes = [means(0, 0, 0), means(1)]
    assert mean_intervals(scenes, 0) == {"x": [0.0, 1.0]}
    counts = SceneCounts(MeanCounts)
    for name, one in zip("ab", scenes):
        counts.of(name).merge(one)
    assert mean_row("row", counts, ("x", "z"), 0) == {
        "name": "row", "x": 0.25, "z": None, "intervals": {"x": [0.0, 1.0], "z": UNKNOWN}}


def test_a_wider_world_has_a_wider_interval_that_covers_the_truth():
    """40 scenes, each a normal draw about 0.5: the interval is the textbook one, 1.96 sigma / sqrt(40)."""
    values = np.random.default_rng(0).normal(0.5, 0.1, 40)
    low, high = mean_intervals([means(value) for value in values], 0)["x"]
    assert low < 0.5 < high and (high - low) == pytest.approx(2 * 1.96 * values.std() / np.sqrt(40), rel=0.1)


def test_vectors_are_scored_as_whole_sums():
    found = vector_intervals([np.array([1, 2]), np.array([1, 2])], lambda v: {"share": v[0] / v[1]}, 0)
    assert found == {"share": [0.5, 0.5]}


def test_scenes_of_shards_meet():
    one, other = SceneCounts(MeanCounts), SceneCounts(MeanCounts)
    one.of("a").add("x", 1.0)
    other.of("a").add("x", 3.0)
    other.of("b").add("x", 5.0)
    one.merge(other)
    assert one.of("a").mean("x") == 2.0 and one.total().mean("x") == 3.0 and set(one.by_scene) == {"a", "b"}


def test_counters_come_back_and_broken_ones_are_refused(tmp_path):
    assert read_counters(tmp_path) == ([], {})
    write_counters(tmp_path, ["a", "b"], {"copy": np.stack([scene(1, 2), scene(3, 4)])})
    scenes, rows = read_counters(tmp_path)
    assert scenes == ["a", "b"] and (rows["copy"][1] == scene(3, 4)).all()
    (tmp_path / COUNTERS).write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="counters cannot be read"):
        read_counters(tmp_path)


@pytest.mark.parametrize("changed", [
    {"confusion": np.zeros((1, 2, 3, 18, 18))}, {"confusion": np.full((1, 2, 3, 18, 18), -1)},
    {"confusion": np.full((1, 2, 3, 18, 18), 2 ** 60)}, {"confusion": np.zeros((1, 2, 3, 18, 17), np.int64)},
    {"confusion": np.zeros((2, 2, 3, 18, 18), np.int64), "names": np.array(["copy", "copy"])},
    {"scenes": np.array(["a", "a"])}, {"scenes": np.array([1, 2])}, {"names": np.array("copy")},
    {"scenes": np.array([str(i) for i in range(20_000)]), "names": np.zeros(0, "<U1"), "confusion": np.zeros(0, int)},
    {"confusion": np.array([None])}])
@pytest.mark.filterwarnings("error")
def test_odd_counters_are_refused_in_one_line(tmp_path, changed):
    arrays = {"scenes": np.array(["a", "b"]), "names": np.array(["copy"]),
              "confusion": np.zeros((1, 2, 3, 18, 18), np.int64), **changed}
    np.savez(tmp_path / COUNTERS, **arrays)
    with pytest.raises(InputError, match="counters cannot be read") as refused:
        read_counters(tmp_path)
    assert len(str(refused.value).splitlines()) == 1
