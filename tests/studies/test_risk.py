"""The study of risks: its paths go where they should, its scores are those of the textbook."""

import numpy as np
import pytest

from occflow.geometry import planar_pose
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.tasks import Target, Task
from studies.risk.manoeuvres import FAN, fan, places
from studies.risk.report import COARSE, HORIZONS, RULES, STUDENT, TRUE, study_markdown, study_scores
from studies.risk.scores import Events, climatology, difference, errors, left_out_errors, parts, recalibrated, row

SECONDS = np.arange(1, 7) / 2


def events(struck: list[int], futures: int = 4, scene: list[str] | None = None) -> Events:
    scene = scene or ["a", "b"] * (len(struck) // 2)
    return Events(np.array(scene), np.array(["keep on"] * len(struck)), np.array(struck), np.full(len(struck), futures))


@pytest.mark.parametrize("name, x, y, heading", [
    ("keep on", 18.0, 0.0, 0.0), ("brake", 6.0, 0.0, 0.0), ("brake hard", 3.0, 0.0, 0.0), ("faster", 27.0, 0.0, 0.0),
    ("much faster", 36.0, 0.0, 0.0), ("lane to the left", None, 3.5, 0.0), ("lane to the right", None, -3.5, 0.0)])
def test_where_manoeuvres_from_6_m_per_s_end(name, x, y, heading):
    end = places(FAN[name], 6.0, 0.0, SECONDS)[-1]
    if x is not None:
        assert end[0] == pytest.approx(x, abs=0.1)
    assert end[1] == pytest.approx(y, abs=0.1) and end[2] == pytest.approx(heading, abs=0.01)


def test_a_turn_is_an_arc_and_who_stands_starts_for_it():
    """0.35 rad/s at 3 m/s: a radius of 8.57 m."""
    end = places(FAN["turn left"], 0.0, 0.0, SECONDS)[-1]
    assert end == pytest.approx([8.571 * np.sin(1.05), 8.571 * (1 - np.cos(1.05)), 1.05], abs=0.01)
    fast = places(FAN["turn left"], 15.0, 0.0, SECONDS)[-1]  # 3 m/s2 across allow 0.2 rad/s
    assert fast[2] == pytest.approx(0.6, abs=0.01)


def test_the_fan_begins_where_the_vehicle_is_and_has_no_path_twice():
    def task(speed: float) -> Task:
        poses = [planar_pose(100.0 + speed * 0.5 * index, 7.0, 0.0) for index in range(2)]
        nothing = np.zeros(0, np.int64), np.zeros(0, np.uint8)
        return Task(tuple(OccupancyFrame(*nothing, pose, 0.5 * index) for index, pose in enumerate(poses)),
                    tuple(Target(poses[-1], 0.5 + one) for one in SECONDS))

    driving, standing = fan(task(6.0)), fan(task(0.0))
    assert set(driving) == set(FAN) and set(FAN) - set(standing) == {"brake", "brake hard"}
    keep = driving["keep on"]
    np.testing.assert_allclose(keep.world_from_vehicle[:, 0, 3], 103.0 + 6.0 * SECONDS, atol=1e-6)
    np.testing.assert_allclose(keep.stamps_s, 0.5 + SECONDS)
    ends = {tuple(np.round(one.world_from_vehicle[-1, :2, 3], 2)) for one in standing.values()}
    assert len(ends) == len(standing)


def test_a_brier_score_is_reliability_less_resolution_and_uncertainty():
    random = np.random.default_rng(0)
    share = random.integers(0, 5, 200) / 4
    said = random.integers(0, 9, 200) / 8
    found, count = parts(said, share), 4
    outcomes = np.repeat(share[:, None], count, axis=1) > np.arange(count) / count  # [E, 4], each future's own
    brier = ((said[:, None] - outcomes) ** 2).mean()
    assert errors(said, share).mean() == pytest.approx(brier)
    assert found["reliability"] - found["resolution"] + found["uncertainty"] == pytest.approx(brier)
    perfect = parts(share, share)
    assert perfect["reliability"] == pytest.approx(0)


def test_what_the_true_futures_say_of_each_other():
    """2 of 4: each of the struck hears 1/3, each other 2/3: (2/3)^2 for all; all or none: nothing is wrong."""
    np.testing.assert_allclose(left_out_errors(events([2, 0, 4, 0])), [4 / 9, 0, 0, 0])


def test_other_scenes_tell_the_climate_and_recalibrate():
    some = events([4, 0, 4, 0])  # scene a is always struck, b never
    np.testing.assert_allclose(climatology(some), [0.0, 1.0, 0.0, 1.0])
    said = np.array([1.0, 0.0, 1.0, 0.0])
    np.testing.assert_allclose(recalibrated(said, some), [0.0, 1.0, 0.0, 1.0])  # no other scene was told the same
    mixed = events([4, 0, 4, 0], scene=["a", "a", "b", "b"])
    found = row("x", said, mixed, 0)
    assert found["brier"] == 0 and found["skill"] == 1 and found["missed"] == 0 and found["false_alarms"] == 0
    assert found["recalibrated"] == pytest.approx(0.25 ** 2)  # (1 + 1/2) / 2 = 3/4, since one other event is not many
    assert found["table"] == [{"events": 2, "said": 0.0, "happened": 0.0}, {"events": 2, "said": 1.0, "happened": 1.0}]
    better = difference(errors(said, mixed.share), errors(1 - said, mixed.share), mixed, 0)
    assert better == {"less": 1.0, "interval": [1.0, 1.0]}


def test_the_page_has_all_rows():
    values = {"samples": 16, "fewer": [8], "teacher_samples": 8, "teacher_every": 1}

    def hits(count: int) -> dict:
        return {kind: [count] * 6 for kind in ("movable", "any")}

    names = [TRUE, COARSE, STUDENT, f"{STUDENT}, 8", "student-central", "consensus", *RULES, "teacher-10",
             f"{COARSE}: as it is", "student: as it is"]
    windows = {f"{scene}/{start}": {"paths": {"keep on": {name: hits(min(start, 1)) for name in names}},
                                    "futures": {TRUE: 4, "teacher-10": 8}, "unseen": 0.1, "ms": 5.0}
               for scene in "ab" for start in (0, 1)}
    found = {**study_scores(windows, values, 0), "settings": values, "input": "occupancy", "simulation_seed": 3,
             "machine": {"cpu": "some", "cores": 2, "gpu": None}, "versions": {"commit": "c"}}
    page = study_markdown(found)
    assert found["kinds"]["movable"]["rows"][0]["happened"] == 0.125 and set(found["horizons"]) == set(HORIZONS)
    for said in ("4 windows of 2", "| teacher-10 |", "| climatology |", "| as it is | student |", "4 events, 2 of "):
        assert said in page
