"""Whom a stream believes: figures by hand, the rule with its hysteresis, and nothing from the future."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from small_forecaster import GRID, SMALL_SETTINGS
from stream_world import WALL, Drive, FakeClock, moved

from occflow.errors import InputError
from occflow.forecasting.rules import PERSISTENCE, persisted
from occflow.geometry import planar_pose
from occflow.grid import CLASS_NAMES
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.settings import OccupancySettings
from occflow.occupancy.tasks import Target
from occflow.stream.console import Notices
from occflow.stream.forecaster import LOSING, MISSING, NAMES, UNPROVED, Futures, StreamForecaster, scored_frames
from occflow.stream.judge import Judge
from occflow.stream.latency import LatencyRecord
from occflow.stream.settings import CENTRE, DELIVERS, SAMPLE, StreamSettings
from occflow.stream.source import Arrival

CAR, TREE = CLASS_NAMES.index("car"), CLASS_NAMES.index("vegetation")
HERE = np.eye(4)


def frame(voxels: dict[tuple[int, int, int], int], stamp_s: float, pose: np.ndarray = HERE,
          observed: list[tuple[int, int, int]] | None = None) -> OccupancyFrame:
    """Voxels and their classes, in a grid; `observed`: only these could be seen."""
    flat = GRID.flatten(np.array(list(voxels) or np.zeros((0, 3)), dtype=np.int64).reshape(-1, 3))
    order, mask = np.argsort(flat), None
    if observed is not None:
        mask = np.zeros(GRID.num_voxels, dtype=bool)
        mask[GRID.flatten(np.array(observed))] = True
        mask = np.packbits(mask)
    labels = np.array(list(voxels.values()), dtype=np.uint8)
    return OccupancyFrame(flat[order], labels[order], pose, stamp_s, observed=mask)


def judge(**settings) -> Judge:
    return Judge(GRID, [1], "student-central", StreamSettings(**settings))


def targets(stamp_s: float, pose: np.ndarray = HERE) -> list[Target]:
    return [Target(pose, stamp_s + seconds) for seconds in (0.5, 1.0, 1.5)]


NOW = {(9, 9, 2): CAR, (10, 9, 2): CAR, (3, 3, 3): TREE}
THEN = {(10, 9, 2): CAR, (11, 9, 2): CAR, (3, 3, 3): TREE}
FORESEEN = {(10, 9, 2): CAR, (11, 9, 2): CAR, (12, 9, 2): CAR, (3, 3, 3): TREE}


def test_figures_against_those_by_hand():
    """The car went on by one voxel: of 4 voxels persistence has 2 (the tree, and one of 3 of the car's)."""
    one = judge()
    one.foresee(frame(NOW, 0.0), targets(0.0), {"student-central": [frame(FORESEEN, 1.0)] * 3})
    one.see(frame(THEN, 1.0))
    rows = one.figures()
    assert rows["student-central"]["iou"] == pytest.approx([3 / 4])
    assert rows[PERSISTENCE]["iou"] == pytest.approx([2 / 4])
    assert rows["student-central"]["movable_iou"] == pytest.approx([2 / 3])
    assert rows[PERSISTENCE]["movable_iou"] == pytest.approx([1 / 3])
    assert rows["student-central"]["miou"] == pytest.approx([(2 / 3 + 1) / 2])
    assert rows[PERSISTENCE]["miou"] == pytest.approx([(1 / 3 + 1) / 2])
    assert one.advantage == pytest.approx(1 / 4) and one.instants == 1
    assert one.line == "student-central 75.0, persistence 50.0"


def test_what_no_ray_reached_and_what_lies_outside_of_what_is_seen_counts_for_nobody():
    one = judge()
    seen = [*THEN, (9, 9, 2)]
    one.foresee(frame(NOW, 0.0), targets(0.0), {"student-central": [frame(FORESEEN, 1.0)] * 3})
    one.see(frame(THEN, 1.0, observed=seen))  # (12, 9, 2) is behind something
    assert one.figures()["student-central"]["iou"] == [1.0]
    assert one.figures()[PERSISTENCE]["iou"] == pytest.approx([2 / 4])
    one = judge()
    shifted = planar_pose(2 * GRID.voxel_size_m, 0.0, 0.0)
    far = {**FORESEEN, (0, 0, 1): TREE}  # two voxels behind the grid of what is seen
    one.foresee(frame(NOW, 0.0), targets(0.0), {"student-central": [frame(far, 1.0)] * 3})
    moved_on = {(x - 2, y, z): label for (x, y, z), label in THEN.items()}
    one.see(frame(moved_on, 1.0, shifted))  # the ego went on farther than it was guessed to; the world is the same
    assert one.figures()["student-central"]["iou"] == pytest.approx([3 / 4])
    assert one.figures()[PERSISTENCE]["iou"] == pytest.approx([2 / 4])


def test_the_window_forgets_and_a_new_drive_keeps_what_is_known():
    one = judge(running_s=2.0)
    for stamp_s, then in ((0.0, FORESEEN), (10.0, NOW)):
        one.foresee(frame(NOW, stamp_s), targets(stamp_s), {"student-central": [frame(FORESEEN, stamp_s + 1)] * 3})
        one.see(frame(then, stamp_s + 1.0))
    assert one.figures()[PERSISTENCE]["iou"] == [1.0]  # of the second alone
    one.foresee(frame(NOW, 12.0), targets(12.0), {"student-central": [frame(FORESEEN, 13.0)] * 3})
    one.forget()
    one.see(frame({}, 13.0))
    assert one.instants == 2 and one.figures()[PERSISTENCE]["iou"] == [1.0]


def test_each_forecast_is_scored_once_at_most_and_what_is_past_does_not_wait():
    one = judge(rate_hz=10.0)
    one.foresee(frame(NOW, 0.0), targets(0.0), {"student-central": [frame(FORESEEN, 1.0)] * 3})
    for stamp_s in (0.9, 0.96, 1.04, 1.1):
        one.see(frame(THEN, stamp_s))
    assert one.instants == 1 and not one._waiting
    one.foresee(frame(NOW, 2.0), targets(2.0), {"student-central": [frame(FORESEEN, 3.0)] * 3})
    one.see(frame(THEN, 3.3))
    assert one.instants == 1 and not one._waiting


def feed(one: Judge, stamp_s: float, advantage: float) -> None:
    """An instant at which the network has so many of ten voxels more than persistence (or fewer)."""
    ten = {(x, 4, 4): TREE for x in range(10)}
    foreseen = dict(list(ten.items())[:5 + round(10 * advantage)])
    one.foresee(frame(dict(list(ten.items())[:5]), stamp_s), targets(stamp_s),
                {"student-central": [frame(foreseen, 0.0)] * 3})
    one.see(frame(ten, stamp_s + 1.0))


def test_the_rule_has_a_hysteresis():
    """Believed once it is not below on average; left when it is below by more than the margin."""
    one, believed = judge(fallback_instants=2, fallback_margin=0.1), []
    for number, advantage in enumerate((0.2, -0.1, -0.1, -0.1, -0.3, 0.1, 0.0, 0.0)):
        feed(one, 10.0 * number, advantage)
        believed.append(one.believed)
    # means of two:      -     0.05  -0.1  -0.1  -0.2   -0.1   0.05  0.0
    assert believed == [False, True, True, True, False, False, True, True]
    never = judge(fallback="never")
    feed(never, 0.0, -0.5)
    assert never.believed and never.advantage == pytest.approx(-0.5)


class FakeNetwork:
    """Foresees what persistence does, or next to nothing."""

    def __init__(self, delivers: str = CENTRE) -> None:
        self.model, self.good = SimpleNamespace(settings=SMALL_SETTINGS), False
        self.name, self.other_name = (NAMES[CENTRE], NAMES[SAMPLE])[::1 if delivers == CENTRE else -1]

    def encode(self, kept: OccupancyFrame) -> None:
        return None

    def futures(self, task, encoded, seed) -> Futures:
        still = persisted(GRID, task.with_classes())
        frames = still if self.good else tuple(replace(one, flat=one.flat[:3], labels=one.labels[:3]) for one in still)
        return Futures(frames, lambda horizon: frames)


class FakePerceiver:
    """Takes all that returns met for a wall."""

    def frame(self, sighting):
        labels = np.full(len(sighting.flat), WALL, np.uint8)
        return OccupancyFrame(sighting.flat, labels, sighting.world_from_grid, sighting.stamp_s,
                              observed=sighting.observed)


@pytest.fixture
def stream():
    """Makes a forecaster on a fake network and a fake perceiver, with all that it says."""
    def make(**settings) -> SimpleNamespace:
        told: list[str] = []
        settings = StreamSettings(fallback_instants=3, **settings)
        network = FakeNetwork(settings.delivers)
        forecaster = StreamForecaster(network, OccupancySettings(), settings, 0, LatencyRecord(FakeClock()),
                                      Notices(told.append), FakePerceiver())
        return SimpleNamespace(network=network, forecaster=forecaster, told=told)
    return make


def driven(forecaster: StreamForecaster, sweeps, look=lambda due: None) -> list[tuple[str, str]]:
    """Name and reason of every forecast."""
    made = []
    for sweep in sweeps:
        due = forecaster.observe(Arrival(sweep, (0, "drive"), 0.0))
        if due:
            look(due)
            one = forecaster.forecast(due)
            list(forecaster.look_back(True))
            made.append((one.name, one.why))
    return made


@pytest.mark.parametrize("delivers", DELIVERS)
def test_a_bad_network_is_left_and_a_good_one_comes_back(stream, delivers):
    """From 4 s to 9 s of a drive the network is good; persistence before it has proved itself."""
    one = stream(delivers=delivers)

    def turn(due) -> None:
        one.network.good = 4.0 <= due.arrival.sweep.stamp_s < 9.0

    made = driven(one.forecaster, [Drive().sweep(index) for index in range(60)], turn)
    assert made[:2] == [(PERSISTENCE, MISSING), (PERSISTENCE, UNPROVED)]
    # bad ones of 0.5, 1 and 1.5 s were scored by 2.5 s, good ones of 4, 4.5 and 5 s by 6 s, bad of 9 s at 10 s
    assert made[6] == (PERSISTENCE, LOSING) and made[12] == (PERSISTENCE, LOSING)
    assert made[13:21] == [(NAMES[delivers], "")] * 8
    assert made[21:] == [(PERSISTENCE, LOSING)] * (len(made) - 21)
    kinds = [text.split(":")[0] for text in one.told]
    assert kinds == ["persistence", "persistence", "persistence", "forecasting", "persistence"]
    assert "the network loses (-" in one.told[-1] and "network is believed (+0.0%" in one.told[3]


@pytest.mark.parametrize("delivers", DELIVERS)
def test_never_means_never(stream, delivers):
    made = driven(stream(fallback="never", delivers=delivers).forecaster, [Drive().sweep(index) for index in range(20)])
    assert made == [(PERSISTENCE, MISSING)] + [(NAMES[delivers], "")] * (len(made) - 1)


@pytest.mark.parametrize("good_one", DELIVERS)
@pytest.mark.parametrize("delivers", DELIVERS)
def test_what_is_delivered_is_judged_and_both_have_their_figures(stream, delivers, good_one):
    """A network whose samples are bad and whose centre is good, and the other way round."""
    one = stream(delivers=delivers)
    futures = one.network.futures

    def torn(task, encoded, seed) -> Futures:
        one.network.good = delivers == good_one
        frames = futures(task, encoded, seed).frames
        one.network.good = not one.network.good
        return Futures(frames, futures(task, encoded, seed).other)

    one.network.futures = torn
    made = driven(one.forecaster, [Drive().sweep(index) for index in range(20)])
    rows = one.forecaster.judge.figures()
    assert set(rows) == {"student-1", "student-central", PERSISTENCE}
    good, bad = NAMES[good_one], NAMES[next(kind for kind in DELIVERS if kind != good_one)]
    assert rows[good] == rows[PERSISTENCE] and rows[bad]["iou"][0] < 0.1 < rows[good]["iou"][0]
    assert made[-1] == ((good, "") if delivers == good_one else (PERSISTENCE, LOSING))
    assert one.forecaster.judge.line.startswith(f"{NAMES[delivers]} ")


def test_after_a_late_forecast_there_is_no_second_turn(stream):
    """The network would make the next one late, too; what was foreseen before is scored all the same."""
    one, made = stream(), []
    futures = one.network.futures
    one.network.futures = lambda *given: made.append(1) or futures(*given)
    for index in range(20):
        due = one.forecaster.observe(Arrival(Drive().sweep(index), (0, "drive"), 0.0))
        if due:
            one.forecaster.forecast(due)
            list(one.forecaster.look_back(delivered=index < 6))
    assert len(made) == 2 and one.forecaster.judge.instants == 2  # of 0.5 and 1 s, scored at 1.5 and 2 s


def test_a_judgement_knows_no_sweep_that_came_later(stream):
    """What the judge says at an instant is the same whatever happens afterwards."""
    def said(until: int) -> list:
        found, one = [], stream()
        one.network.good = True
        sweeps = [Drive().sweep(index) for index in range(until)]
        sweeps += [replace(Drive().sweep(index), points_sensor=Drive().sweep(index).points_sensor + [0, 0, 1])
                   for index in range(until, 24)]
        judge = one.forecaster.judge
        for sweep in sweeps:
            driven(one.forecaster, [sweep])
            found.append((judge.figures(), judge.advantage, judge.believed))
        return found

    whole, cut = said(24), said(16)
    assert str(whole[:16]) == str(cut[:16]) and str(whole) != str(cut)


def test_a_pose_jump_leaves_nothing_to_score_by(stream):
    """Before and after it the same coordinates mean other places."""
    judges = []
    for jump_m in (0.0, 5.0):
        one = stream()
        driven(one.forecaster, [moved(Drive().sweep(index), jump_m * (index >= 9)) for index in range(24)])
        judges.append(one.forecaster.judge)
    (smooth,), (jumped,) = (judge.figures()[PERSISTENCE]["iou"] for judge in judges)
    assert judges[1].instants == judges[0].instants - 3 and abs(jumped - smooth) < 0.05


def test_memory_is_bounded(stream):
    one = stream(rate_hz=4.0)
    driven(one.forecaster, [Drive().sweep(index) for index in range(200)])
    assert len(one.forecaster.judge._waiting) <= 5 and len(one.forecaster.judge._scored) <= 4 * 20 + 1


def test_perceiving_needs_a_perceiver():
    with pytest.raises(InputError, match="stream.labels"):
        StreamForecaster(FakeNetwork(), OccupancySettings(), StreamSettings(), 0, LatencyRecord(FakeClock()),
                         Notices(print))


def test_scored_are_whole_seconds_or_the_last_frame():
    assert scored_frames(0.5 * np.arange(1, 7)) == [1, 3, 5] and scored_frames(np.array([0.25, 0.5])) == [1]
