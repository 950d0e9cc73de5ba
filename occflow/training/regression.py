"""Training the regression twin."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from occflow.models.forecaster import FlowForecaster, Observation
from occflow.models.regression import TrueFuture, twin_loss
from occflow.occupancy.windows import WindowKey, WindowSource
from occflow.training.engine import train
from occflow.training.feeding import WindowFeed
from occflow.training.optimiser import OptimiserSettings
from occflow.training.run_log import RunLog


class TwinFeed(WindowFeed):
    """Windows with their true voxels, one at a time."""

    def __init__(self, windows: WindowSource, keys: list[WindowKey], forecaster: FlowForecaster, seed: int) -> None:
        super().__init__(len(keys), seed, bytes_a_site=700)
        self.windows, self.keys, self.forecaster = windows, keys, forecaster

    def make(self, index: int) -> tuple[tuple[Observation, TrueFuture], int]:
        window = self.windows.read(self.keys[index])
        observation = self.forecaster.observe(window)
        return (observation, TrueFuture.of(self.forecaster, window.horizon)), len(observation.layout.support)


def train_regression(forecaster: FlowForecaster, windows: WindowSource, keys: list[WindowKey], values: Mapping,
                     seed: int, stats: Path) -> FlowForecaster:
    """A twin of `forecaster`: its encoder is shared and frozen, mean network and decoder are trained from its own."""
    twin = copy.deepcopy(forecaster)
    feed = TwinFeed(windows, keys, twin, seed)
    autoencoder = twin.autoencoder
    trained = nn.ModuleList([twin.mean, autoencoder.from_latent, autoencoder.up, autoencoder.existence,
                             autoencoder.classes]).requires_grad_(True)

    def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
        [(observation, truth)] = feed.draw(1)
        condition = twin.condition(observation)
        loss = twin_loss(twin, condition.forecast.mean, observation.layout.support, truth)
        return loss, {}

    settings = OptimiserSettings.from_config(values)
    average = train(trained, settings, RunLog(stats, "regression", settings.steps, 1), loss_of_step)
    trained.load_state_dict(average.state_dict())
    return twin.eval().requires_grad_(False)
