"""Windows in which nothing is, whole or in part: a crop of an open field. Trainings take them, forecasts are made."""

import dataclasses

import pytest
import torch

from occflow.errors import InputError
from occflow.forecasting.networks import (
    CentralForecaster,
    Sampler,
    StudentForecaster,
    TeacherForecaster,
    TwinForecaster,
)
from occflow.models.flow_model import FlowModel
from occflow.models.regression import TrueFuture
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.windows import Window
from occflow.training.feeding import FlowFeed, WindowFeed
from occflow.training.run import TrainingRun
from occflow.training.teacher import train_flow, train_mean, train_regression

ONE_STEP = {"steps": 2, "learning_rate": 1e-3, "warmup_steps": 1, "clip_norm": 1.0, "ema_decay": 0.5, "windows": 1}
MEAN = {**ONE_STEP, "centre": "median", "scale_weight": 0.1}
FLOW = {**ONE_STEP, "time_mean": 0.0, "time_scale": 1.0, "history_dropout": 0.5}
PARTS = ["all", "history", "present", "horizon", "all of a car that stands"]


def emptied(frame: OccupancyFrame, still: bool) -> OccupancyFrame:
    pose = torch.eye(4).double().numpy() if still else frame.world_from_grid
    return dataclasses.replace(frame, flat=frame.flat[:0], labels=frame.labels[:0], world_from_grid=pose)


@pytest.fixture(params=PARTS)
def window(request, street_window) -> Window:
    """With a still car there is nothing unseen either: the support is empty."""
    history, truth, still = street_window.history, street_window.truth, request.param == PARTS[-1]
    if request.param in ("all", "history", PARTS[-1]):
        history = tuple(emptied(frame, still) for frame in history)
    if request.param == "present":
        history = (*history[:-1], emptied(history[-1], False))
    if request.param in ("all", "horizon", PARTS[-1]):
        truth = tuple(emptied(frame, still) for frame in truth)
    return Window.of(street_window.key, history, truth)


class Drive(WindowFeed):
    """A feed of windows, one after another."""

    def __init__(self, forecaster: FlowModel, windows: list[Window], with_voxels: bool = False) -> None:
        super().__init__(len(windows), 0, 1)
        self.forecaster, self.windows, self.with_voxels = forecaster, windows, with_voxels

    def make(self, index: int):
        window, grid = self.windows[index], self.forecaster.settings.grid
        observation = self.forecaster.observe(window.task, None if self.with_voxels else window.truth)
        item = (observation, TrueFuture.of(self.forecaster, window.truth, grid)) if self.with_voxels else observation
        return item, len(observation.layout.support)

    def next(self, windows: int):
        return self.draw(1)[0]


def test_trainings_take_them(small_forecaster, street_window, window, tmp_path):
    """Beside others."""
    run, windows = TrainingRun(tmp_path), [window, street_window]
    train_mean(small_forecaster, Drive(small_forecaster, windows), MEAN, run)
    train_flow(small_forecaster, Drive(small_forecaster, windows), FLOW, 0, run)
    twin = train_regression(small_forecaster, Drive(small_forecaster, windows, with_voxels=True), ONE_STEP, run)
    for model in (small_forecaster, twin):
        assert all(bool(torch.isfinite(tensor).all()) for tensor in model.state_dict().values())


def test_a_feed_of_nothing_else_is_one_line(small_forecaster, street_window):
    empty = Window.of(street_window.key, *(tuple(emptied(frame, True) for frame in frames)
                                           for frames in (street_window.history, street_window.truth)))
    feed = Drive(small_forecaster, [empty, empty])
    for one in (feed, FlowFeed(feed, 0)):
        with pytest.raises(InputError, match="no training window has a site"):
            one.draw(1)
    with pytest.raises(InputError, match="no windows to train on"):
        WindowFeed(0, 0, 1)


def test_forecasts_are_made_of_them(small_forecaster, window):
    for forecaster in (CentralForecaster(small_forecaster), TeacherForecaster(small_forecaster, Sampler(2)),
                       StudentForecaster(small_forecaster), TwinForecaster(small_forecaster)):
        [forecast] = forecaster.samples(window.task, [0])
        assert len(forecast.frames) == len(window.truth)
