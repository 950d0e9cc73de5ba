"""What the benchmark times: each stage of the forecaster and each training step, sparse and over whole volumes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from occflow.flow.path import flow_matching_loss
from occflow.models.autoencoder import Autoencoder
from occflow.models.flow_model import FlowModel, Observation
from occflow.models.layout import Layout
from occflow.models.networks import MeanForecast, mean_loss
from occflow.models.preparation import ModelSettings, Voxels
from occflow.occupancy.windows import Window
from occflow.sparse.sites import Sites, lookup, pool_shape
from occflow.training.optimiser import OptimiserSettings, Trainer
from studies.sparse_dense.dense_twin import DenseAutoencoder, DenseMean, DenseVelocity

OPTIMISER = OptimiserSettings(steps=1000, learning_rate=1e-5, warmup_steps=0, clip_norm=1.0, ema_decay=0.99)
SCALE_WEIGHT, LATENT_NOISE = 0.1, 0.05  # as in configs/train/demo.yaml; they do not change the cost
STAGES = ("encode", "layout", "mean", "velocity", "decode")
STEPS = ("autoencoder_step", "mean_step", "flow_step")
Jobs = dict[str, Callable[[], object]]


class KnownExistence(nn.Module):
    """An existence head that decides as the scene's truth says, at the cost of the head.

    So an untrained decoder touches the voxels that a trained one would.
    """

    def __init__(self, head: nn.Linear, exists: Tensor) -> None:
        super().__init__()
        self.head, self.exists = head, exists

    def forward(self, children: Tensor) -> Tensor:
        """Children [M, slots, C] -> logits [M, slots, 1]."""
        return 0 * self.head(children) + (2.0 * self.exists - 1.0).view(*children.shape[:2], 1)


def teach_existence(autoencoder: Autoencoder, voxels: Sites) -> None:
    """Let the decoder reproduce `voxels` when it is given exactly their coarse sites."""
    for level, pooling in enumerate(autoencoder.pyramid(voxels)):
        exists = torch.zeros(len(pooling.coarse) * pooling.num_slots, device=pooling.parent.device)
        exists[pooling.parent * pooling.num_slots + pooling.slot] = 1.0
        autoencoder.existence[level] = KnownExistence(autoencoder.existence[level], exists)


def without_rulebooks(layout: Layout) -> Layout:
    """The layout as a new window has it: the first convolution of each level builds a rulebook."""
    for sites in (layout.history, *(level.sites for level in layout.levels)):
        sites.rulebook = sites.neighbours = None
    return layout


class SparseJobs:
    """A forecaster on one window, untrained unless one is given, with the existence decisions of the scene.

    Stages are those of a stream: "encode" is for one new frame; "layout" proposes the support, builds its tables and
    encodes the base, which the mean starts from; "velocity" is one network evaluation of the flow.
    """

    def __init__(self, settings: ModelSettings, window: Window, device: torch.device,
                 forecaster: FlowModel | None = None) -> None:
        self.settings, self.window = settings, window
        self.forecaster = (forecaster or FlowModel(settings)).to(device).eval()
        self.observation: Observation = self.forecaster.observe(window.task, window.truth)
        with torch.no_grad():
            self.condition = self.forecaster.condition(self.observation)
            self.encoded = [self.forecaster.encode_frames((frame,)) for frame in window.history]
        self.noise = torch.randn_like(self.condition.forecast.mean)
        self.ones = torch.ones(1, device=device)
        self.state = self._true_state()
        self.decoder = copy.deepcopy(self.forecaster)
        teach_existence(self.decoder.autoencoder, self.decoded_voxels)

    def _true_state(self) -> Tensor:
        """The true existence on the support with random latents."""
        state, support = self.noise.clone(), self.observation.layout.support
        existence = self.settings.autoencoder.latent_channels
        state[:, existence] = self.observation.target[:, existence]
        voxels, _ = self.forecaster.voxel_sites(self.window.truth)
        index = torch.arange(len(voxels), device=state.device)
        for pooling in self.forecaster.autoencoder.pyramid(voxels):
            index, coarse = pooling.parent[index], pooling.coarse
        kept = lookup(coarse.keys, support.keys)[index] < len(support)
        self.decoded_voxels = Sites(voxels.coords[kept], voxels.shape, voxels.num_blocks)
        return state

    def networks(self) -> tuple[nn.Module, ...]:
        return self.forecaster, self.decoder

    def stages(self) -> Jobs:
        model, condition = self.forecaster, self.condition
        zeros = torch.zeros_like(self.ones)
        return {
            "encode": lambda: model.encode_frames((self.window.present,)),
            "layout": lambda: model.observe(self.window.task, encoded=self.encoded),
            "mean": lambda: model.condition(replace(self.observation,
                                                    layout=without_rulebooks(self.observation.layout))),
            "velocity": lambda: model.velocity(self.noise, zeros, self.ones, condition.forecast, condition.layout),
            "decode": self.decode,
        }

    def decode(self) -> Voxels:
        return self.decoder.decode_state(self.state, self.condition.layout.support)

    def steps(self) -> Jobs:
        """Training steps as in occflow.training, one window each, or for the autoencoder one frame."""
        model = self.forecaster
        trainers = {name: Trainer(net, OPTIMISER) for name, net in model.named_children()}
        generator = torch.Generator().manual_seed(0)
        voxels, labels = model.voxel_sites((self.window.present,))

        def autoencoder_step() -> None:
            loss = model.autoencoder.loss(voxels, labels, LATENT_NOISE, generator)
            trainers["autoencoder"].step(loss.existence + loss.classes)

        def mean_step() -> None:
            condition = model.condition(self.observation)
            trainers["mean"].step(mean_loss(condition.forecast, self.observation.target, SCALE_WEIGHT))

        def flow_step() -> None:
            condition = self.condition
            trainers["velocity"].step(flow_matching_loss(
                model.velocity_field(condition), condition.residual(self.observation.target), 0.5 * self.ones,
                condition.sample, generator, condition.weight))

        return dict(zip(STEPS, (autoencoder_step, mean_step, flow_step)))


class DenseJobs:
    """The same networks over whole volumes (studies.sparse_dense.dense_twin), on the same window."""

    def __init__(self, settings: ModelSettings, window: Window, device: torch.device) -> None:
        self.window, self.device = window, device
        forecaster = FlowModel(settings).to(device).eval()
        grid, strides = settings.grid, settings.support.level_strides
        shape = pool_shape(grid.shape, settings.autoencoder.total_stride)
        self.autoencoder = DenseAutoencoder(forecaster.autoencoder, grid.shape)
        self.mean = DenseMean(forecaster.mean, shape, strides, settings.num_history, settings.num_horizon)
        self.velocity = DenseVelocity(forecaster.velocity, shape, strides, settings.num_horizon)
        self.num_cells, channels = int(np.prod(shape)), settings.state_channels
        self.latents, rows = settings.autoencoder.latent_channels, settings.num_horizon * self.num_cells
        self.history_latents = torch.randn(settings.num_history * self.num_cells, self.latents, device=device)
        self.base, self.target, self.noise = torch.randn(3, rows, channels, device=device).unbind()
        self.place = torch.randn(rows, 3 + settings.num_horizon + 1 + 4 * settings.num_history, device=device)
        self.classes = torch.from_numpy(window.present.dense(grid).reshape(-1).astype(np.int64)).to(device)
        self.ones = torch.ones(1, device=device)
        width = settings.mean_trunk.widths[0]
        self.forecast = MeanForecast(self.base, torch.ones_like(self.base), torch.randn(rows, width, device=device))

    def networks(self) -> tuple[nn.Module, ...]:
        return self.autoencoder, self.mean, self.velocity

    def stages(self) -> Jobs:
        zeros = torch.zeros_like(self.ones)
        return {
            "encode": lambda: self.autoencoder.encode(self.classes),
            "mean": lambda: self.mean(self.history_latents, self.base, self.place),
            "velocity": lambda: self.velocity(self.noise, zeros, self.ones, self.forecast),
            "decode": lambda: [self.autoencoder.decode(latents) for latents in
                               self.noise[:, :self.latents].split(self.num_cells)],
        }

    def steps(self) -> Jobs:
        nets = {"autoencoder": self.autoencoder, "mean": self.mean, "velocity": self.velocity}
        trainers = {name: Trainer(net.twin, OPTIMISER) for name, net in nets.items()}
        generator = torch.Generator().manual_seed(0)
        sample = torch.zeros(len(self.noise), dtype=torch.long, device=self.device)

        def autoencoder_step() -> None:
            latents = self.autoencoder.encode(self.classes)
            trainers["autoencoder"].step(self.autoencoder.loss(latents, self.classes))

        def mean_step() -> None:
            forecast = self.mean(self.history_latents, self.base, self.place)
            trainers["mean"].step(mean_loss(forecast, self.target, SCALE_WEIGHT))

        def flow_step() -> None:
            trainers["velocity"].step(flow_matching_loss(
                lambda x, t: self.velocity(x, t, t, self.forecast), self.target, 0.5 * self.ones, sample, generator))

        return dict(zip(STEPS, (autoencoder_step, mean_step, flow_step)))


def site_counts(jobs: SparseJobs) -> dict[str, int]:
    """How many sites the sparse networks touch, and how many cells the volumes have."""
    settings, layout = jobs.settings, jobs.observation.layout
    coarse = int(np.prod(pool_shape(settings.grid.shape, settings.autoencoder.total_stride)))
    return {"present_voxels": len(jobs.window.present.flat), "grid_voxels": settings.grid.num_voxels,
            "decoded_voxels": len(jobs.decoded_voxels),
            "horizon_voxels": settings.num_horizon * settings.grid.num_voxels,
            "support_sites": len(layout.support), "unseen_sites": int(layout.unseen.sum()),
            "horizon_cells": settings.num_horizon * coarse,
            "true_sites": int((jobs.observation.target[:, settings.autoencoder.latent_channels] > 0).sum())}
