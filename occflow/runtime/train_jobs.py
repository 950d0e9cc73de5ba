"""The trainings behind tools/train_teacher.py and tools/distill_mfd.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from occflow.distill.mfd import MeanFlowDistillation
from occflow.models.forecaster import FlowForecaster
from occflow.models.settings import settings_from_config
from occflow.run_record import timed_step
from occflow.runtime.sources import open_configured_store, prepare_torch, training_keys
from occflow.training import teacher as teacher_training
from occflow.training.checkpoint import load_weights, save_checkpoint
from occflow.training.distillation import distill
from occflow.training.feeding import CropSettings, FlowFeed, ObservationFeed


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
    forecaster.autoencoder.eval().requires_grad_(False)
    feed = ObservationFeed(store, training_keys(config, store, values["window_stride"]), forecaster, seed,
                           CropSettings.from_config(values["crop"]), values["causal_share"])
    with timed_step(run_dir, "mean"):
        teacher_training.train_mean(forecaster, feed, values["mean"], stats)
    with timed_step(run_dir, "teacher"):
        teacher_training.train_flow(forecaster, feed, values["teacher"], seed, stats)
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
    observations = ObservationFeed(store, training_keys(config, store, values["window_stride"]), forecaster,
                                   config["seed"], CropSettings.from_config(values["crop"]), values["causal_share"])
    feed = FlowFeed(observations, config["seed"] + 1)
    method = MeanFlowDistillation(values["steps_a_mean_velocity"], values["solver"], values["equal_share"],
                                  values["normalise"])
    with timed_step(run_dir, "distill"):
        student = distill(forecaster, feed, method, values, config["seed"], run_dir / "stats.jsonl")
    save_checkpoint(run_dir / "student.safetensors", student, "student", settings, dict(config))
    return run_dir / "student.safetensors"
