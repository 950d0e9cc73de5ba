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
from occflow.training.validation import HeldOut, Validation, item_generator


def train_mean(forecaster: FlowModel, feed: ObservationFeed, values: Mapping, run: TrainingRun,
               held_out: HeldOut | None = None) -> None:
    """Regress the future state; the autoencoder is frozen. Held out are observations."""

    def loss_of_step(step: int) -> tuple[Tensor, Figures]:
        observation = feed.next(values["windows"])
        condition, rows = forecaster.condition(observation), share_of_rows(len(observation.target))
        base_error = rows.mean((observation.base - observation.target) ** 2)
        error = rows.mean((condition.forecast.mean.detach() - observation.target) ** 2)
        return (mean_loss(condition.forecast, observation.target, values["scale_weight"], values["centre"], rows),
                {"error": error, "base_error": base_error})

    def held_out_loss(index: int) -> Tensor:
        observation = held_out.items.get(index)
        forecast = forecaster.condition(observation).forecast
        return mean_loss(forecast, observation.target, values["scale_weight"], values["centre"])

    forecaster.mean = train(run, "mean", forecaster.mean, OptimiserSettings.from_config(values), loss_of_step,
                            forecaster, feed, values["windows"],
                            validation=held_out and Validation(held_out, held_out_loss))


def train_flow(forecaster: FlowModel, observations: ObservationFeed, values: Mapping, seed: int,
               run: TrainingRun, held_out: HeldOut | None = None) -> None:
    """Conditional flow matching of the residual about the frozen mean. Held out are observations."""
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

    judged = held_out and FlowFeed(held_out.items, seed)

    def held_out_loss(index: int) -> Tensor:
        batch, generator = judged.get(index), item_generator(index)
        t = logit_normal(1, generator, values["time_mean"], values["time_scale"])
        return flow_matching_loss(forecaster.velocity_field(batch.condition), batch.data, sent(t, batch.data.device),
                                  batch.condition.sample, generator, batch.weight)

    forecaster.velocity = train(run, "teacher", forecaster.velocity, OptimiserSettings.from_config(values),
                                loss_of_step, forecaster, feed, values["windows"],
                                validation=held_out and Validation(held_out, held_out_loss))
    forecaster.velocity.requires_grad_(False)


class TwinFeed(ObservationFeed):
    """The same windows, or parts of them, with their true voxels; one at a time."""

    with_forced = False

    def make(self, index: int) -> tuple[tuple[Observation, TrueFuture], int]:
        prepared = self.fetcher.get(index)
        observation = self.forecaster.observed(replace(prepared, truth=None))
        truth = self.forecaster.sites_of(prepared.truth, prepared.grid, observation.layout.num_horizon)
        return (observation, TrueFuture.of_sites(self.forecaster, *truth)), len(observation.layout.support)


def train_regression(forecaster: FlowModel, feed: TwinFeed, values: Mapping, run: TrainingRun,
                     held_out: HeldOut | None = None) -> FlowModel:
    """The twin of `forecaster`: its encoder is shared and frozen, mean network and decoder are trained. Held out are
    observations with their true voxels."""
    twin = copy.deepcopy(forecaster)
    coder = twin.autoencoder
    trained = nn.ModuleList([twin.mean, coder.from_latent, coder.up, coder.existence, coder.classes])
    twin.requires_grad_(False)
    trained.requires_grad_(True)
    twin.mean.scale_head.requires_grad_(False)  # a regression has no spread
    windows = values["windows"]

    def loss_of(observation: Observation, truth: TrueFuture) -> Tensor:
        return twin_loss(twin, twin.condition(observation).forecast.mean, observation.layout.support, truth)

    def loss_of_step(step: int) -> tuple[Tensor, Figures]:
        losses = torch.stack([loss_of(*item) for item in feed.draw(windows)])
        return share_of_items(windows).mean(losses), {}

    average = train(run, "regression", trained, OptimiserSettings.from_config(values), loss_of_step, twin, feed,
                    windows, validation=held_out and Validation(held_out, lambda index: loss_of(
                        *held_out.items.get(index))))
    trained.load_state_dict(average.state_dict())
    return twin.eval().requires_grad_(False)
