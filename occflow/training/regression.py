"""Training the regression twin."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import Tensor, nn

from occflow.models.flow_model import FlowModel, Observation
from occflow.models.regression import TrueFuture, twin_loss
from occflow.training.engine import train
from occflow.training.feeding import ObservationFeed
from occflow.training.optimiser import OptimiserSettings
from occflow.training.run import TrainingRun


class TwinFeed(ObservationFeed):
    """The same windows, or parts of them, with their true voxels; one at a time."""

    def make(self, index: int) -> tuple[tuple[Observation, TrueFuture], int]:
        window, region = self.window(index)
        observation = self.forecaster.observe(window.task, region=region)
        return (observation, TrueFuture.of(self.forecaster, window.truth, region)), len(observation.layout.support)


def train_regression(forecaster: FlowModel, feed: TwinFeed, values: Mapping, run: TrainingRun) -> FlowModel:
    """The twin of `forecaster`: its encoder is shared and frozen, mean network and decoder are trained."""
    twin = copy.deepcopy(forecaster)
    coder = twin.autoencoder
    trained = nn.ModuleList([twin.mean, coder.from_latent, coder.up, coder.existence, coder.classes])
    twin.requires_grad_(False)
    trained.requires_grad_(True)
    twin.mean.scale_head.requires_grad_(False)  # a regression has no spread

    def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
        [(observation, truth)] = feed.draw(1)
        state = twin.condition(observation).forecast.mean
        return twin_loss(twin, state, observation.layout.support, truth), {}

    settings = OptimiserSettings.from_config(values)
    average = train(trained, settings, run.log("regression", settings.steps, 1), loss_of_step, run, twin, feed.seek)
    trained.load_state_dict(average.state_dict())
    return twin.eval().requires_grad_(False)
