"""What a forecaster is given: a history, and where and when to forecast."""

from dataclasses import fields, is_dataclass
from typing import get_type_hints

import numpy as np
import pytest

from occflow.eval.distribution import evaluate_distributions
from occflow.eval.evaluate import evaluate
from occflow.eval.predictions import ImportedForecaster
from occflow.eval.protocols import EXTRAPOLATED, GIVEN, ExtrapolatedEgo, in_ego_setting
from occflow.forecasting.consensus import ConsensusForecaster
from occflow.forecasting.forecast import Forecast, Forecaster
from occflow.forecasting.networks import NetworkForecaster
from occflow.forecasting.rules import Baseline, persisted
from occflow.geometry import planar_pose
from occflow.grid import OTHERS, VoxelGrid
from occflow.logs.protocol import UNLABELLED
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.tasks import Target, Task
from occflow.occupancy.windows import Window, WindowKey
from occflow.stream.forecaster import StreamNetwork

GRID = VoxelGrid((-4.0, -4.0, 0.0), (8, 8, 2), 1.0)


def frame(index: int) -> OccupancyFrame:
    """A drive at 2 m/s; the car of the grid is in another voxel at every instant."""
    return OccupancyFrame(np.array([index]), np.array([4], np.uint8), planar_pose(1.0 * index, 0, 0), 0.5 * index)


class OneWindow:
    """A source of one window of 2 + 3 frames."""

    store = type("Store", (), {"grid": GRID})

    def read(self, key: WindowKey) -> Window:
        return Window.of(key, (frame(0), frame(1)), (frame(2), frame(3), frame(4)))


class Spy:
    """Forecasts as persistence does and keeps what it was given."""

    name, nfe = "spy", 0

    def __init__(self) -> None:
        self.given, self.rule = [], Baseline("persistence", GRID, persisted)

    def forecast(self, task: Task, seed: int) -> Forecast:
        return self.samples(task, [seed])[0]

    def samples(self, task: Task, seeds: list[int]) -> list[Forecast]:
        self.given.append(task)
        return self.rule.samples(task, seeds)


def frames_within(thing: object) -> list[OccupancyFrame]:
    """All frames that can be reached from an object."""
    if isinstance(thing, OccupancyFrame):
        return [thing]
    parts = [getattr(thing, one.name) for one in fields(thing)] if is_dataclass(thing) else \
        thing if isinstance(thing, (tuple, list)) else [*thing.values()] if isinstance(thing, dict) else []
    return [found for part in parts for found in frames_within(part)]


@pytest.mark.parametrize("ego", [GIVEN, EXTRAPOLATED])
def test_no_frame_after_the_present_reaches_a_forecaster(ego):
    spy, key = Spy(), WindowKey("s", 0)
    told = in_ego_setting(ego, [spy])
    evaluate(OneWindow(), [key], told, 0)
    evaluate_distributions(OneWindow(), [key], told, 2, 0)
    assert [task.ego for task in spy.given] == [ego] * 2
    for task in spy.given:
        assert [one.stamp_s for one in frames_within(task)] == [0.0, 0.5]
        assert [target.stamp_s for target in task.targets] == [1.0, 1.5, 2.0] and task.scene == "s"


@pytest.mark.parametrize("maker", [Forecaster, Baseline, NetworkForecaster, ConsensusForecaster, ExtrapolatedEgo,
                                   ImportedForecaster, StreamNetwork])
def test_that_no_forecaster_reads_its_horizon_is_a_fact_of_the_types(maker):
    for name in {"forecast", "samples"} & set(dir(maker)):
        assert get_type_hints(getattr(maker, name))["task"] is Task
    assert {one.name for one in fields(Task)} == {"history", "targets", "ego", "scene"}
    assert {one.name for one in fields(Target)} == {"world_from_grid", "stamp_s"}


def test_a_task_without_a_known_future_goes_on_as_before_and_says_so():
    task = Task.without_future((frame(0), frame(1)), [0.5, 1.0], "s")
    assert (task.ego, task.scene, task.present.stamp_s) == (EXTRAPOLATED, "s", 0.5)
    assert np.allclose(task.poses, [planar_pose(2, 0, 0), planar_pose(3, 0, 0)]) and task.seconds.tolist() == [0.5, 1.0]


def test_extrapolated_targets_keep_their_instants():
    task = Task((frame(0), frame(1)), (Target(planar_pose(1.0, 5.0, 0.3), 2.0),))
    guessed = task.extrapolated()
    assert guessed.history is task.history and guessed.seconds.tolist() == [1.5]
    assert np.allclose(guessed.poses, [planar_pose(4, 0, 0)]) and (task.ego, guessed.ego) == (GIVEN, EXTRAPOLATED)


def test_what_has_no_label_is_others_where_classes_are_asked_for():
    seen = OccupancyFrame(np.array([1, 2]), np.array([UNLABELLED, 4], np.uint8), np.eye(4), 0.0)
    shown = Task((seen,), ()).with_classes().present
    assert shown.labels.tolist() == [OTHERS, 4] and shown.labels.dtype == np.uint8 and seen.labels[0] == UNLABELLED
