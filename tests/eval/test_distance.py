"""The distance to a reference's samples, against pairs of distributions whose energy distance is known."""

import itertools
import pickle

import numpy as np
import pytest

from occflow.eval.distribution import DistributionCounts, EnsembleCounts, Referee, count_distributions
from occflow.eval.ensemble import ReferenceFutures, reference_distance
from occflow.eval.intervals import UNKNOWN, paired_difference
from occflow.eval.report import ensemble_lines
from occflow.eval.sections import SECTIONS
from occflow.forecasting.forecast import Forecast
from occflow.grid import VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.windows import Window, WindowKey

CAR, ROAD = 4, 11
APART = 2 / 3  # Jaccard distance of LEFT and RIGHT, which share 2 of 6 voxels


def future(*voxels: int, label: int = CAR) -> tuple[OccupancyFrame, ...]:
    flat = np.array(sorted(voxels), dtype=np.int64)
    return (OccupancyFrame(flat, np.full(len(flat), label, np.uint8), np.eye(4), 0.0),)


LEFT, RIGHT = future(0, 1, 2, 3), future(2, 3, 4, 5)


def expected(row: float, reference: float) -> float:
    """The mean over all draws of 2 and 2 samples of the estimate, of distributions that are LEFT with these
    probabilities, else RIGHT."""
    total = 0.0
    for sides in itertools.product((True, False), repeat=4):
        chance = np.prod([share if left else 1 - share for left, share in zip(sides, (row, row, reference, reference))])
        drawn = [LEFT if left else RIGHT for left in sides]
        total += chance * reference_distance(drawn[:2], ReferenceFutures([LEFT, LEFT], drawn[2:]), False).distance
    return total


@pytest.mark.parametrize("row, reference", [(0.5, 0.5), (0.2, 0.2), (1.0, 1.0), (1.0, 0.0), (0.5, 1.0), (0.3, 0.8)])
def test_the_estimate_is_the_energy_distance_in_expectation(row, reference):
    """Of shares p and q of two futures d apart it is 2 (p - q)^2 d: 0 of equal ones, 2 d of two point masses."""
    assert expected(row, reference) == pytest.approx(2 * (row - reference) ** 2 * APART, abs=1e-12)


def test_the_same_noise_on_both_sides_would_be_a_distance_below_zero():
    """Each sample would meet itself: -d / 2 for two that are d apart."""
    drawn = [LEFT, RIGHT]
    assert reference_distance(drawn, ReferenceFutures(drawn, drawn), False).distance == pytest.approx(-APART)


def test_the_floor_is_the_references_own_distance_and_movers_are_looked_at_alone():
    reference = ReferenceFutures([LEFT, RIGHT], [LEFT, LEFT])
    own = reference_distance(reference.paired, reference, False)
    assert own.distance == own.floor == pytest.approx(2 * APART / 2 - APART) and own.beyond_floor == 0
    far = reference_distance([RIGHT, RIGHT], reference, False)
    assert (far.distance, far.beyond_floor) == (pytest.approx(2 * APART), pytest.approx(2 * APART))
    assert (far.diversity, far.reference_diversity) == (0, pytest.approx(APART))
    road = [future(7, label=ROAD), future(8, label=ROAD)]
    still = reference_distance(road, ReferenceFutures(road, road[::-1]), True)
    assert (still.distance, still.floor, still.diversity) == (0, 0, 0)  # nothing moves: all agree
    for few in (ReferenceFutures([LEFT], [LEFT, LEFT]), ReferenceFutures([LEFT, LEFT], [LEFT])):
        with pytest.raises(ValueError, match="two of its samples"):
            reference_distance([LEFT, LEFT], few, False)


GRID = VoxelGrid((-4.0, -4.0, 0.0), (4, 4, 1), 1.0)


class Coin:
    """A forecaster whose futures are LEFT for a share of the seeds, else RIGHT."""

    nfe = 1

    def __init__(self, name: str, share: float) -> None:
        self.name, self.share, self.asked = name, share, 0

    def samples(self, task, seeds):
        self.asked += len(seeds)
        return [Forecast(LEFT if np.random.default_rng(seed).random() < self.share else RIGHT) for seed in seeds]


class Streets:
    """A source of windows; the truth is RIGHT."""

    class store:
        grid = GRID

    @staticmethod
    def read(key: WindowKey) -> Window:
        return Window.of(key, (LEFT[0],), RIGHT)


KEYS = [WindowKey(f"s{number % 4}", number) for number in range(40)]


def counted(keys, referred=KEYS, samples: int = 8, seed: int = 1) -> EnsembleCounts:
    rows = [Coin("like", 0.5), Coin("sure", 1.0)]
    return count_distributions(Streets, keys, rows, samples, seed, progress=lambda keys, title: keys,
                               referee=Referee(Coin("teacher-50", 0.5), referred))


def test_rows_stand_at_their_distance_with_the_floor_and_intervals_beside():
    """The reference is a coin: a row of the same coin has the floor's distance (of the same noises: the very same), one
    that is always LEFT 2 (1/2)^2 d = 1/3 and no diversity."""
    report = counted(KEYS).report()
    like, sure = report["rows"]
    floor = report["reference"]
    assert (floor["name"], floor["windows"]) == ("teacher-50", 40)
    assert like["to_teacher"] == floor["to_teacher"] and like["beyond_floor"] == 0
    assert abs(floor["to_teacher"]) < 0.08 and sure["to_teacher"] == pytest.approx(2 * 0.25 * APART, abs=0.1)
    assert sure["beyond_floor"] == pytest.approx(sure["to_teacher"] - floor["to_teacher"], abs=2e-6)
    assert (sure["diversity_ratio"], like["diversity_ratio"]) == (0, 1)
    for row in (like, sure, floor):
        for score in ("to_teacher", "beyond_floor", "diversity_ratio", "movable_to_teacher"):
            low, high = row["intervals"][score]
            assert low <= row[score] <= high
        assert set(row["scenes"]) == {"s0", "s1", "s2", "s3"} and row["scenes"]["s0"]["windows"] == 10
        assert not any("spread" in name for name in (*row, *row["intervals"]))
    assert sure["intervals"]["beyond_floor"][0] > 0


def test_shards_count_what_one_does_wherever_the_reference_was_drawn():
    """In every third window alone, so that some shards have none."""
    referred, whole = KEYS[::3], counted(KEYS, KEYS[::3])
    shards = [pickle.loads(pickle.dumps(counted(KEYS[start:start + 2], referred))) for start in range(0, 40, 2)]
    for shard in shards[1:]:
        shards[0].merge(shard)
    report = whole.report()
    assert report["reference"]["windows"] == len(referred) and report["windows"] == 40
    by_name = [{row["name"]: row for row in one["rows"]} for one in (report, shards[0].report())]
    for name in by_name[0]:
        assert {key: value for key, value in by_name[0][name].items() if key not in ("intervals", "scenes")} == \
            {key: value for key, value in by_name[1][name].items() if key not in ("intervals", "scenes")}
        assert by_name[0][name]["scenes"] == by_name[1][name]["scenes"]
    assert shards[0].report()["reference"]["to_teacher"] == report["reference"]["to_teacher"]


def test_without_a_reference_nothing_is_said_of_a_distance():
    for found in (counted(KEYS, []).report(), count_distributions(
            Streets, KEYS, [Coin("like", 0.5)], 2, 0, progress=lambda keys, title: keys).report()):
        assert "reference" not in found and "to_teacher" not in found["rows"][0] and "scenes" not in found["rows"][0]
        assert "distance to `" not in "\n".join([*ensemble_lines(found), *SECTIONS["ensembles"](found)])
    counts = DistributionCounts(2)
    counts.add([LEFT, RIGHT], LEFT, 16)
    assert "diversity_ratio" not in counts.row()


def test_the_tables_show_distance_floor_and_windows():
    found = counted(KEYS, KEYS[::2]).report()
    page, detail = "\n".join(ensemble_lines(found)), "\n".join(SECTIONS["ensembles"](found))
    assert "distance to `teacher-50` on 20 of them" in page and "| teacher-50, against itself | - | - | - |" in page
    assert "20 windows" in detail and "| forecast, movable voxels | distance | beyond the floor |" in detail
    assert detail.count("| teacher-50 |") == 2


def test_a_referee_that_remembers_draws_once():
    coin = Coin("teacher-50", 0.5)
    referee, window = Referee(coin, remember=True), Streets.read(KEYS[0])
    first = referee.futures(window, 3, 0)
    assert referee.futures(window, 3, 0) is first and coin.asked == 6
    assert referee.futures(window, 2, 0) is not first and Referee(coin, []).futures(window, 3, 0) is None


def test_differences_are_paired_by_scenes():
    """A steady gap is sure though scenes differ much; one that hangs on the scenes is not."""
    base = {f"s{number}": {"windows": 1 + number % 2, "to_teacher": 0.01 * number} for number in range(8)}
    steady, swayed = ({scene: {**one, "to_teacher": one["to_teacher"] + gap(number)}
                       for number, (scene, one) in enumerate(base.items())}
                      for gap in (lambda number: 0.001, lambda number: 0.01 * (-1) ** (number // 2)))
    gap, span = paired_difference(base, steady, "to_teacher", 0)
    assert gap == pytest.approx(0.001) and span == [pytest.approx(0.001), pytest.approx(0.001)]
    low, high = paired_difference(base, swayed, "to_teacher", 0)[1]
    assert low < 0 < high
    assert paired_difference({"s0": base["s0"]}, steady, "to_teacher", 0)[1] == UNKNOWN
    assert np.isnan(paired_difference(base, {}, "to_teacher", 0)[0])
