"""What a stream's forecasts were worth, by the occupancy that is built of its log afterwards."""

from dataclasses import replace

import numpy as np
import pytest
from small_forecaster import GRID
from stream_world import Drive

from occflow.errors import InputError
from occflow.forecasting.rules import PERSISTENCE
from occflow.occupancy.building.scene_frames import build_scene
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.settings import OccupancySettings
from occflow.occupancy.tasks import EXTRAPOLATED, Target, Task
from occflow.stream.accuracy import ForecastsToScore, accuracy
from occflow.stream.forecaster import LookedBack, StreamForecast

OCCUPANCY = OccupancySettings()


@pytest.fixture(scope="module")
def built() -> list[OccupancyFrame]:
    return build_scene(Drive(num_sweeps=21), "drive-1", GRID, OCCUPANCY)


def looked_back(present: OccupancyFrame, frames: list[OccupancyFrame], name: str = "student-1") -> LookedBack:
    """Forecasts of the network, of which one by `name` was delivered."""
    targets = tuple(Target(one.world_from_grid, one.stamp_s) for one in frames)
    task = Task((present,), targets, EXTRAPOLATED, "drive-1")
    return LookedBack(StreamForecast(name, task, tuple(frames), 0.0), task, {"student-1": tuple(frames)})


def test_the_truth_itself_is_right_and_half_of_it_half_right(built):
    kept = ForecastsToScore([1])
    kept.watch(looked_back(built[2], built[3:6]))
    found = accuracy(kept.kept, Drive(num_sweeps=21), GRID, OCCUPANCY, [1.0])
    assert found["instants"] == 1 and found["seconds"] == [1.0]
    assert found["rows"]["student-1"] == found["rows"]["delivered"]
    assert found["rows"]["student-1"]["iou"] == found["rows"]["student-1"]["miou"] == [1.0]
    still, true = found["rows"][PERSISTENCE]["iou"][0], len(built[4].flat)
    assert 0.5 < still < 1.0
    half = [replace(one, flat=one.flat[::2], labels=one.labels[::2]) for one in built[3:6]]
    kept = ForecastsToScore([1])
    kept.watch(looked_back(built[2], half, PERSISTENCE))
    rows = accuracy(kept.kept, Drive(num_sweeps=21), GRID, OCCUPANCY, [1.0])["rows"]
    assert rows["student-1"]["iou"][0] == pytest.approx(np.ceil(true / 2) / true)
    assert rows["delivered"] == rows[PERSISTENCE] and rows[PERSISTENCE]["iou"][0] == pytest.approx(still)


def test_a_guess_of_the_ego_that_was_wrong_costs_nothing_in_the_world(built):
    """The truth is moved into the forecast's grid, and what lies outside of the truth's own is not counted."""
    shift = np.eye(4)
    shift[0, 3] = -2 * GRID.voxel_size_m  # it was taken to be two voxels farther back
    coordinates = GRID.unflatten(built[4].flat) + [2, 0, 0]
    inside = coordinates[:, 0] < GRID.shape[0]
    guessed = OccupancyFrame(np.sort(GRID.flatten(coordinates[inside])), built[4].labels[inside],
                             built[4].world_from_grid @ shift, built[4].stamp_s)
    kept = ForecastsToScore([0])
    kept.watch(looked_back(built[2], [guessed]))
    rows = accuracy(kept.kept, Drive(num_sweeps=21), GRID, OCCUPANCY, [1.0])["rows"]
    assert rows["student-1"]["iou"] == [1.0]


def test_no_more_is_kept_than_fits(built):
    one = looked_back(built[2], built[3:6])
    kept = ForecastsToScore([1])
    kept.watch(one)
    size = kept.kept[0].num_bytes
    assert size == 5 * (len(built[2].flat) + len(built[4].flat))
    few = ForecastsToScore([1], most_bytes=3 * size)
    for _ in range(10):
        few.watch(one)
    assert len(few.kept) == 3


def test_forecasts_at_whose_times_there_is_no_keyframe_do_not_count(built):
    late = [replace(one, stamp_s=one.stamp_s + 0.2) for one in built[3:6]]
    kept = ForecastsToScore([1])
    kept.watch(looked_back(built[2], late))
    assert accuracy(kept.kept, Drive(num_sweeps=21), GRID, OCCUPANCY, [1.0]) == {"seconds": [1.0], "instants": 0,
                                                                                 "rows": {}}


def test_a_log_without_keyframes_says_so(built):
    class Bare(Drive):
        def keyframes(self, scene: str) -> list:
            return []

    kept = ForecastsToScore([1])
    kept.watch(looked_back(built[2], built[3:6]))
    with pytest.raises(InputError, match="no keyframes"):
        accuracy(kept.kept, Bare(num_sweeps=21), GRID, OCCUPANCY, [1.0])
