"""The teacher's three trainings: autoencoder, mean, flow."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from occflow.flow.path import flow_matching_loss
from occflow.flow.times import logit_normal
from occflow.models.flow_model import Condition, FlowModel
from occflow.models.networks import mean_loss
from occflow.occupancy.storage.store import OccupancyStore
from occflow.sparse.sites import Sites
from occflow.training.engine import train
from occflow.training.feeding import FlowFeed, ObservationFeed
from occflow.training.optimiser import OptimiserSettings
from occflow.training.patches import PatchSet
from occflow.training.randomness import step_generator, step_rng
from occflow.training.run import TrainingRun

CALIBRATION_BATCHES = 20  # batches that the latents' mean and variance are measured on


def train_autoencoder(forecaster: FlowModel, store: OccupancyStore, values: Mapping, seed: int,
                      run: TrainingRun, mirrored: bool = False) -> None:
    """Fit the autoencoder to the patches of the training scenes (and mirrored ones); the moving average is kept."""
    patches = PatchSet.from_store(store, "train", forecaster.settings.autoencoder.total_stride, mirrored)
    autoencoder = forecaster.autoencoder

    def draw(rng: np.random.Generator) -> tuple[Sites, Tensor]:
        sites, labels = patches.draw(values["patches"], rng)
        return sites.to(forecaster.device), labels.to(forecaster.device)

    def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
        loss = autoencoder.loss(*draw(step_rng(seed, step)), values["latent_noise"], step_generator(seed, step),
                                values["unlabelled_share"], values["lovasz_weight"])
        return loss.existence + loss.classes, {"existence": loss.existence.item(), "classes": loss.classes.item()}

    settings = OptimiserSettings.from_config(values)
    log = run.log("autoencoder", settings.steps, values["patches"], "patch")
    forecaster.autoencoder = train(autoencoder, settings, log, loss_of_step, run)
    rng = np.random.default_rng(seed)  # the same in every process
    forecaster.autoencoder.calibrate(draw(rng) for _ in range(CALIBRATION_BATCHES))


def train_mean(forecaster: FlowModel, feed: ObservationFeed, values: Mapping, run: TrainingRun) -> None:
    """Regress the future state; the autoencoder is frozen."""

    def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
        observation = feed.next(values["windows"])
        condition = forecaster.condition(observation)
        base_error = ((observation.base - observation.target) ** 2).mean().item()
        error = ((condition.forecast.mean - observation.target) ** 2).mean().item()
        return (mean_loss(condition.forecast, observation.target, values["scale_weight"], values["centre"]),
                {"error": error, "base_error": base_error})

    settings = OptimiserSettings.from_config(values)
    log = run.log("mean", settings.steps, values["windows"])
    forecaster.mean = train(forecaster.mean, settings, log, loss_of_step, run, forecaster,
                            lambda step: feed.seek(step * values["windows"]))


def state_weight(condition: Condition) -> Tensor:
    """Weight [N, C] of the squared error in residual space: the state's own units, mean one.

    Without it the flow spends its capacity on the standardised noise of sites where nothing happens.
    """
    variance = condition.forecast.scale**2
    return variance / variance.mean()


def train_flow(forecaster: FlowModel, observations: ObservationFeed, values: Mapping, seed: int,
               run: TrainingRun) -> None:
    """Conditional flow matching of the residual about the frozen mean."""
    forecaster.mean.eval().requires_grad_(False)
    feed = FlowFeed(observations, seed)

    def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
        batch, generator = feed.next(values["windows"]), step_generator(seed, step)
        t = logit_normal(values["windows"], generator, values["time_mean"], values["time_scale"])
        dropped = torch.rand(values["windows"], generator=generator) < values["history_dropout"]
        shown = batch.condition.without_history(dropped.to(batch.data.device)) if dropped.any() else batch.condition
        velocity = forecaster.velocity_field(shown)
        loss = flow_matching_loss(velocity, batch.data, t.to(batch.data.device), batch.condition.sample, generator,
                                  state_weight(batch.condition))
        return loss, {}

    settings = OptimiserSettings.from_config(values)
    log = run.log("teacher", settings.steps, values["windows"])
    forecaster.velocity = train(forecaster.velocity, settings, log, loss_of_step, run, forecaster,
                                lambda step: feed.seek(step * values["windows"]))
    forecaster.velocity.requires_grad_(False)


def seed_everything(seed: int) -> None:
    """Seed torch's global generator, from which weights are initialised; all else has generators of its own."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
