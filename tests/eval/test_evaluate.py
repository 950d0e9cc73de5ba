"""The evaluation loop on a store in memory: streaming, seeds, counts a scene."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from occflow.errors import InputError
from occflow.eval.evaluate import ForecasterScores, evaluate, forecast_seed
from occflow.eval.iou import IoUCounts
from occflow.forecasting.forecast import Forecast
from occflow.forecasting.rules import baselines
from occflow.geometry import planar_pose
from occflow.grid import FREE, NUM_CLASSES, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.tasks import Task
from occflow.occupancy.window_index import scored_windows
from occflow.occupancy.windows import WindowKey, WindowSource, window_keys

HISTORY, HORIZON = 2, 3


@dataclass
class MemoryStore:
    """Scenes of random frames; `read` notes every frame that was asked for."""

    lengths: dict[str, int]
    grid: VoxelGrid = VoxelGrid((-2, -2, 0), (4, 4, 2), 1.0)
    path: Path = Path("memory")
    read: list[tuple[str, int]] = field(default_factory=list)

    def scenes(self, split: str | None) -> list[str]:
        return list(self.lengths)

    def num_frames(self, scene: str) -> int:
        return self.lengths[scene]

    def parts(self, split: str | None) -> list[tuple[str, range]]:
        return [(scene, range(count)) for scene, count in self.lengths.items()]

    def stamps_s(self, scene: str) -> list[float]:
        return [0.5 * index for index in range(self.lengths[scene])]

    def frame(self, scene: str, index: int) -> OccupancyFrame:
        self.read.append((scene, index))
        rng = np.random.default_rng((len(scene), ord(scene[-1]), index))
        volume = rng.integers(0, NUM_CLASSES, self.grid.shape).astype(np.uint8)
        volume[rng.random(self.grid.shape) < 0.5] = FREE
        return OccupancyFrame.from_dense(volume, planar_pose(0.0, 0.0, 0.0), 0.5 * index)


def what_happens(task: Task) -> tuple[OccupancyFrame, ...]:
    return tuple(MemoryStore({}).frame(task.scene, round(target.stamp_s / 0.5)) for target in task.targets)


class Oracle:
    """Gives what happens then, which no task tells, out of the store; notes the seeds that it was given."""

    nfe = 3

    def __init__(self, name: str, ms: dict[str, float] | None = None) -> None:
        self.name, self.ms, self.seeds = name, ms or {}, []

    def forecast(self, task: Task, seed: int) -> Forecast:
        self.seeds.append(seed)
        stretched = {stage: value * len(self.seeds) for stage, value in self.ms.items()}
        return Forecast(what_happens(task), stretched)


@pytest.fixture()
def store() -> MemoryStore:
    return MemoryStore({"a": 6, "b": 5, "c": 7})


def scored(store: MemoryStore, keys: list[WindowKey], forecasters: list, seed: int = 0) -> list[ForecasterScores]:
    return evaluate(WindowSource(store, HISTORY, HORIZON), keys, forecasters, seed)


def test_the_truth_scores_one_everywhere(store):
    (found,) = scored(store, window_keys(store, None, HISTORY, HORIZON), [Oracle("oracle")])
    assert (found.total().iou() == 1).all() and (found.total().miou(False) == 1).all()
    assert set(found.by_scene) == {"a", "b", "c"} and found.nfe == 3


def test_scenes_add_up_to_the_whole_and_shards_to_the_run(store):
    keys = window_keys(store, None, HISTORY, HORIZON)
    whole = scored(store, keys, baselines(store.grid, with_boxes=False))
    for index, found in enumerate(whole):
        total = IoUCounts(HORIZON)
        for scene in store.scenes(None):
            shard = [key for key in keys if key.scene == scene]
            part = scored(store, shard, baselines(store.grid, with_boxes=False))[index]
            assert (part.total().unions == found.by_scene[scene].unions).all()
            total.merge(part.total())
        assert (total.intersections == found.total().intersections).all()
        assert (total.unions == found.total().unions).all()


def test_windows_are_read_one_at_a_time(store):
    keys = window_keys(store, None, HISTORY, HORIZON)
    seen = []
    evaluate(WindowSource(store, HISTORY, HORIZON), keys, [Oracle("x")], 0,
             watch=lambda window, forecasts: seen.append((window.key, len(store.read), set(forecasts))))
    assert seen == [(key, (HISTORY + HORIZON) * (number + 1), {"x"}) for number, key in enumerate(keys)]


def test_every_forecaster_starts_from_the_same_seed_of_a_window(store):
    keys = window_keys(store, None, HISTORY, HORIZON)
    teacher, student, again, other = (Oracle(name) for name in ("teacher", "student", "again", "other"))
    scored(store, keys, [teacher, student])
    scored(store, keys, [again])
    scored(store, keys, [other], seed=1)
    assert teacher.seeds == student.seeds == again.seeds == [forecast_seed(0, key) for key in keys]
    assert len(set(teacher.seeds)) == len(keys) and not set(teacher.seeds) & set(other.seeds)


def test_a_window_has_the_same_noise_in_any_shard(store):
    keys = window_keys(store, None, HISTORY, HORIZON)
    whole, part = Oracle("x"), Oracle("x")
    scored(store, keys, [whole])
    scored(store, keys[3:], [part])
    assert part.seeds == whole.seeds[3:]
    assert len({forecast_seed(0, keys[0], k) for k in range(8)}) == 8 and forecast_seed(0, keys[0]) == whole.seeds[0]


def test_windows_by_a_named_rule(store):
    """Scenes of 6, 5 and 7 frames: windows of 2 + 3 frames that fit are 2, 1 and 3."""
    def starts(rule: str, stride: int = 1) -> list[tuple[str, int]]:
        return [(key.scene, key.start) for key in scored_windows(store, None, HISTORY, HORIZON, rule, stride)]

    assert starts("all") == [("a", 0), ("a", 1), ("b", 0), ("c", 0), ("c", 1), ("c", 2)]
    assert starts("occfm") == [("a", 0), ("c", 0), ("c", 1)] and starts("occworld") == [("c", 0)]
    assert starts("one_per_scene") == [("a", 0), ("b", 0), ("c", 0)]
    assert starts("all", 2) == [("a", 0), ("b", 0), ("c", 0), ("c", 2)]
    with pytest.raises(InputError, match="known: occworld"):
        starts("mine")


def test_median_milliseconds(store):
    keys = window_keys(store, None, HISTORY, HORIZON)[:3]
    timed, untimed = scored(store, keys, [Oracle("timed", {"flow": 10.0, "decode": 1.0}), Oracle("untimed")])
    assert timed.median_ms() == {"encode": None, "flow": 20.0, "decode": 2.0, "total": 22.0}
    assert untimed.median_ms() == {"encode": None, "flow": None, "decode": None, "total": None}


def test_a_forecast_of_too_few_frames_is_refused(store):
    class Short(Oracle):
        def forecast(self, task: Task, seed: int) -> Forecast:
            return Forecast(what_happens(task)[:-1])

    with pytest.raises(ValueError, match="short: 2 frames forecast of 3"):
        scored(store, window_keys(store, None, HISTORY, HORIZON), [Short("short")])
