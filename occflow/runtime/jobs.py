"""The jobs behind the tools: each takes the resolved configuration and leaves its results under run_dir."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from occflow.distill.mfd import MeanFlowDistillation
from occflow.errors import InputError
from occflow.grid import VoxelGrid
from occflow.logs.open import open_log
from occflow.models.forecaster import FlowForecaster
from occflow.models.settings import settings_from_config
from occflow.occupancy.build import build_store
from occflow.occupancy.store import OccupancyStore
from occflow.occupancy.windows import WindowKey, window_keys
from occflow.run_record import timed_step
from occflow.training import teacher as teacher_training
from occflow.training.checkpoint import load_weights, save_checkpoint
from occflow.training.distillation import distill
from occflow.training.feeding import FlowFeed


def ensure_log(config: Mapping) -> None:
    """Simulate the embedded log where `log.kind` asks for it and it is not there."""
    if config["log"]["root"] == config["simulation"]["root"]:
        from occflow.simulation.drive import simulate_log

        simulate_log(Path(config["log"]["root"]), config["log"]["version"], config["simulation"],
                     config["seed"], config["workers"])


def ensure_store(config: Mapping) -> OccupancyStore:
    """The occupancy store of the configured log, built first where it is missing."""
    data = config["data"]
    log = open_log(config["log"])
    return build_store(log, VoxelGrid.from_dict(data["grid"]), data["occupancy"], Path(data["store"]),
                       config["workers"])


def open_configured_store(config: Mapping) -> OccupancyStore:
    """The store at data.store; its grid must be the configured one."""
    data = config["data"]
    store = OccupancyStore.open(Path(data["store"]))
    if store.grid != VoxelGrid.from_dict(data["grid"]):
        raise InputError(f"{store.path}: holds grid {store.grid.to_dict()}, configured is {dict(data['grid'])}; "
                         "name another data.store")
    return store


def training_keys(config: Mapping, store: OccupancyStore, stride: int) -> list[WindowKey]:
    data = config["data"]
    return window_keys(store, "train", data["history"], data["horizon"], stride)


def prepare_torch(config: Mapping) -> None:
    """Threads and seed."""
    torch.set_num_threads(config["workers"])
    teacher_training.seed_everything(config["seed"])


def train_teacher(config: Mapping) -> Path:
    """Autoencoder (when RUN_DIR/autoencoder.safetensors is missing), mean, flow -> RUN_DIR/teacher.safetensors."""
    prepare_torch(config)
    run_dir, seed, values = Path(config["run_dir"]), config["seed"], config["train"]
    settings = settings_from_config(config["data"], config["model"])
    store = open_configured_store(config)
    forecaster, stats = FlowForecaster(settings), run_dir / "stats.jsonl"
    autoencoder_path = run_dir / "autoencoder.safetensors"
    if autoencoder_path.exists():
        load_weights(autoencoder_path, forecaster.autoencoder, ("autoencoder",), settings)
    else:
        with timed_step(run_dir, "autoencoder"):
            teacher_training.train_autoencoder(forecaster, store, values["autoencoder"], seed, stats)
        save_checkpoint(autoencoder_path, forecaster.autoencoder, "autoencoder", settings, dict(config))
    keys = training_keys(config, store, values["window_stride"])
    with timed_step(run_dir, "mean"):
        teacher_training.train_mean(forecaster, store, keys, values["mean"], seed, stats)
    with timed_step(run_dir, "teacher"):
        teacher_training.train_flow(forecaster, store, keys, values["teacher"], seed, stats)
    save_checkpoint(run_dir / "teacher.safetensors", forecaster, "teacher", settings, dict(config))
    return run_dir / "teacher.safetensors"


def distill_mfd(config: Mapping) -> Path:
    """RUN_DIR/teacher.safetensors -> RUN_DIR/student.safetensors by Mean Flow Distillation."""
    prepare_torch(config)
    run_dir, values = Path(config["run_dir"]), config["distill"]
    settings = settings_from_config(config["data"], config["model"])
    forecaster = FlowForecaster(settings)
    load_weights(run_dir / "teacher.safetensors", forecaster, ("teacher",), settings)
    forecaster.eval().requires_grad_(False)
    store = open_configured_store(config)
    feed = FlowFeed(store, training_keys(config, store, values["window_stride"]), forecaster, config["seed"] + 1)
    method = MeanFlowDistillation(values["steps_a_mean_velocity"], values["solver"], values["equal_share"],
                                  values["normalise"])
    with timed_step(run_dir, "distill"):
        student = distill(forecaster, feed, method, values, config["seed"], run_dir / "stats.jsonl")
    save_checkpoint(run_dir / "student.safetensors", student, "student", settings, dict(config))
    return run_dir / "student.safetensors"
