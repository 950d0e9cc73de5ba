"""The trainings on windows: the teacher's mean and flow, and the mean's twin, the regression."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from occflow.flow.path import flow_matching_loss
from occflow.flow.sending import sent
from occflow.flow.times import logit_normal
from occflow.models.flow_model import FlowModel, Observation
from occflow.models.networks import mean_loss
from occflow.models.regression import TrueFuture, twin_loss
from occflow.training.engine import step_generator, train
from occflow.training.feeding import FlowFeed, ObservationFeed
from occflow.training.optimiser import OptimiserSettings
from occflow.training.processes import share_of_items, share_of_rows
from occflow.training.run import TrainingRun
from occflow.training.run_log import Figures


def train_mean(forecaster: FlowModel, feed: ObservationFeed, values: Mapping, run: TrainingRun) -> None:
    """Regress the future state; the autoencoder is frozen."""

    def loss_of_step(step: int) -> tuple[Tensor, Figures]:
        observation = feed.next(values["windows"])
        condition, rows = forecaster.condition(observation), share_of_rows(len(observation.target))
        base_error = rows.mean((observation.base - observation.target) ** 2)
        error = rows.mean((condition.forecast.mean.detach() - observation.target) ** 2)
        return (mean_loss(condition.forecast, observation.target, values["scale_weight"], values["centre"], rows),
                {"error": error, "base_error": base_error})

    forecaster.mean = train(run, "mean", forecaster.mean, OptimiserSettings.from_config(values), loss_of_step,
                            forecaster, feed, values["windows"])


def train_flow(forecaster: FlowModel, observations: ObservationFeed, values: Mapping, seed: int,
               run: TrainingRun) -> None:
    """Conditional flow matching of the residual about the frozen mean."""
    forecaster.mean.eval().requires_grad_(False)
    feed = FlowFeed(observations, seed)

    def loss_of_step(step: int) -> tuple[Tensor, Figures]:
        batch, generator = feed.next(values["windows"]), step_generator(seed, step)
        samples = share_of_items(values["windows"])
        t = samples.of(logit_normal(samples.total, generator, values["time_mean"], values["time_scale"]))
        dropped = samples.of(torch.rand(samples.total, generator=generator)) < values["history_dropout"]
        shown = batch.condition.without_history(sent(dropped, batch.data.device)) if dropped.any() else batch.condition
        velocity = forecaster.velocity_field(shown)
        loss = flow_matching_loss(velocity, batch.data, sent(t, batch.data.device), batch.condition.sample, generator,
                                  batch.condition.weight, batch.condition.rows)
        return loss, {}

    forecaster.velocity = train(run, "teacher", forecaster.velocity, OptimiserSettings.from_config(values),
                                loss_of_step, forecaster, feed, values["windows"])
    forecaster.velocity.requires_grad_(False)


class TwinFeed(ObservationFeed):
    """The same windows, or parts of them, with their true voxels; one at a time."""

    with_forced = False

    def make(self, index: int) -> tuple[tuple[Observation, TrueFuture], int]:
        prepared = self.fetcher.get(index)
        observation = self.forecaster.observed(replace(prepared, truth=None))
        truth = self.forecaster.sites_of(prepared.truth, prepared.grid, observation.layout.num_horizon)
        return (observation, TrueFuture.of_sites(self.forecaster, *truth)), len(observation.layout.support)


def train_regression(forecaster: FlowModel, feed: TwinFeed, values: Mapping, run: TrainingRun) -> FlowModel:
    """The twin of `forecaster`: its encoder is shared and frozen, mean network and decoder are trained."""
    twin = copy.deepcopy(forecaster)
    coder = twin.autoencoder
    trained = nn.ModuleList([twin.mean, coder.from_latent, coder.up, coder.existence, coder.classes])
    twin.requires_grad_(False)
    trained.requires_grad_(True)
    twin.mean.scale_head.requires_grad_(False)  # a regression has no spread
    windows = values["windows"]

    def loss_of_step(step: int) -> tuple[Tensor, Figures]:
        losses = [twin_loss(twin, twin.condition(observation).forecast.mean, observation.layout.support, truth)
                  for observation, truth in feed.draw(windows)]
        return share_of_items(windows).mean(torch.stack(losses)), {}

    average = train(run, "regression", trained, OptimiserSettings.from_config(values), loss_of_step, twin, feed,
                    windows)
    trained.load_state_dict(average.state_dict())
    return twin.eval().requires_grad_(False)
