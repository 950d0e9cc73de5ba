"""The trainings behind tools/train_teacher.py, tools/train_regression.py, tools/distill_mfd.py and
tools/distill.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from occflow.atomic import write_json
from occflow.distill.methods import method_from_config
from occflow.errors import InputError
from occflow.models.forecaster import FlowForecaster, ForecasterSettings
from occflow.models.settings import settings_from_config
from occflow.occupancy.store import OccupancyStore
from occflow.run_record import timed_step
from occflow.runtime.reconstruction import held_out_frames, reconstruction, reconstruction_markdown
from occflow.runtime.sources import (
    configured_windows,
    ensure_log,
    ensure_store,
    open_configured_store,
    prepare_torch,
    training_keys,
)
from occflow.training import teacher as teacher_training
from occflow.training.checkpoint import load_weights, save_checkpoint
from occflow.training.distillation import distill
from occflow.training.feeding import FlowFeed, ObservationFeed, Variety
from occflow.training.processes import join_processes, rank, rank_zero_first, wait_for_all
from occflow.training.regression import TwinFeed
from occflow.training.regression import train_regression as twin_training
from occflow.training.run import TrainingRun

Feed = TypeVar("Feed", bound=ObservationFeed)


def training_run(config: Mapping, group: str) -> TrainingRun:
    """How the trainings of a configuration group ("train" or "distill") run."""
    train = config["train"]
    shaping = {name: config[name] for name in ("seed", "data", "model", group)}
    return TrainingRun(Path(config["run_dir"]), {**shaping, "precision": train["precision"]},
                       train["save_seconds"], train["precision"], train["tensorboard"])


def training_device(config: Mapping) -> torch.device:
    """The configured device ("auto": CUDA where present); under torchrun, this process's own."""
    name = config.get("device", "auto")
    return join_processes(torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name))


def ensure_data(config: Mapping) -> None:
    """The configured log and its store, made where they are missing; under torchrun by rank 0 alone."""
    training_device(config)
    with rank_zero_first():
        ensure_log(config)
        ensure_store(config)


def save_once(path: Path, module: nn.Module, kind: str, settings: ForecasterSettings, config: Mapping) -> None:
    """Rank 0 writes a checkpoint; all processes go on when it stands."""
    if rank() == 0:
        save_checkpoint(path, module, kind, settings, dict(config))
    wait_for_all()


def train_teacher(config: Mapping) -> Path:
    """Autoencoder (when RUN_DIR/autoencoder.safetensors is missing), mean, flow -> RUN_DIR/teacher.safetensors.

    An interrupted run goes on where it stopped.
    """
    seed, values = config["seed"], config["train"]
    run, store, forecaster = with_autoencoder(config)
    feed = configured_feed(ObservationFeed, config, values, store, forecaster)
    with timed_step(run.run_dir, "mean"):
        teacher_training.train_mean(forecaster, feed, values["mean"], run)
    with timed_step(run.run_dir, "teacher"):
        teacher_training.train_flow(forecaster, feed, values["teacher"], seed, run)
    save_once(run.run_dir / "teacher.safetensors", forecaster, "teacher", forecaster.settings, config)
    run.forget("mean", "teacher")
    return run.run_dir / "teacher.safetensors"


def train_autoencoder(config: Mapping) -> tuple[Path, str]:
    """The first stage alone -> RUN_DIR/autoencoder.safetensors (kept where it is there), RUN_DIR/reconstruction.json.

    Returns:
        the checkpoint, and a table of how well held-out frames are reconstructed.
    """
    run, store, forecaster = with_autoencoder(config)
    frames = held_out_frames(store)
    found = {f"{noise:g}": reconstruction(forecaster.eval(), frames, noise)
             for noise in (0.0, config["train"]["autoencoder"]["latent_noise"])}
    if rank() == 0:
        write_json(run.run_dir / "reconstruction.json", found)
    return run.run_dir / "autoencoder.safetensors", reconstruction_markdown(found)


def train_regression(config: Mapping) -> Path:
    """The cross-entropy twin of the configured forecaster -> RUN_DIR/regression.safetensors.

    It starts where the teacher's training does: from the run's autoencoder (trained first where it is missing) and
    an untrained mean network. An interrupted run goes on where it stopped.
    """
    values = config["train"]
    run, store, forecaster = with_autoencoder(config)
    feed = configured_feed(TwinFeed, config, values, store, forecaster)
    with timed_step(run.run_dir, "regression"):
        twin = twin_training(forecaster, feed, values["regression"], run)
    save_once(run.run_dir / "regression.safetensors", twin, "regression", forecaster.settings, config)
    run.forget("regression")
    return run.run_dir / "regression.safetensors"


def with_autoencoder(config: Mapping) -> tuple[TrainingRun, OccupancyStore, FlowForecaster]:
    """How every training of group `train` begins: its run, the store, an untrained forecaster with the run's
    autoencoder."""
    device = training_device(config)
    prepare_torch(config)
    run, store = training_run(config, "train"), open_configured_store(config)
    forecaster = FlowForecaster(settings_from_config(config["data"], config["model"])).to(device)
    ensure_autoencoder(config, run, forecaster, store)
    return run, store, forecaster


def ensure_autoencoder(config: Mapping, run: TrainingRun, forecaster: FlowForecaster, store: OccupancyStore) -> None:
    """Load RUN_DIR/autoencoder.safetensors into the forecaster, trained first where it is missing; freeze it."""
    path, settings = run.run_dir / "autoencoder.safetensors", forecaster.settings
    if path.exists():
        load_weights(path, forecaster.autoencoder, ("autoencoder",), settings)
    else:
        with timed_step(run.run_dir, "autoencoder"):
            teacher_training.train_autoencoder(forecaster, store, config["train"]["autoencoder"], config["seed"], run,
                                               mirrored=config["train"]["mirrored_share"] > 0)
        save_once(path, forecaster.autoencoder, "autoencoder", settings, config)
    run.forget("autoencoder")
    forecaster.autoencoder.eval().requires_grad_(False)


def distill_mfd(config: Mapping) -> Path:
    """RUN_DIR/teacher.safetensors -> RUN_DIR/student.safetensors by Mean Flow Distillation.

    Raises:
        InputError: group `distill` is of another method.
    """
    if config["distill"]["method"] != "mfd":
        raise InputError(f"distill.method: tools/distill_mfd.py is for mfd, not {config['distill']['method']}; "
                         "use tools/distill.py")
    return distill_teacher(config)


def distill_teacher(config: Mapping) -> Path:
    """RUN_DIR/teacher.safetensors -> RUN_DIR/CHECKPOINT.safetensors by the method of group `distill`.

    An interrupted run goes on where it stopped.
    """
    device = training_device(config)
    prepare_torch(config)
    run, values = training_run(config, "distill"), config["distill"]
    settings = settings_from_config(config["data"], config["model"])
    method = method_from_config(values)
    forecaster = FlowForecaster(settings).to(device)
    load_weights(run.run_dir / "teacher.safetensors", forecaster, ("teacher",), settings)
    forecaster.eval().requires_grad_(False)
    feed = distillation_feed(config, forecaster)
    with timed_step(run.run_dir, "distill" if values["checkpoint"] == "student" else values["checkpoint"]):
        student = distill(forecaster, feed, method, values, config["seed"], run)
    path = run.run_dir / f"{values['checkpoint']}.safetensors"
    save_once(path, student, "student", settings, config)
    run.forget(values["checkpoint"])
    return path


def distillation_feed(config: Mapping, forecaster: FlowForecaster) -> FlowFeed:
    """The training windows of group `distill`, with the teacher's own condition."""
    store = open_configured_store(config)
    observations = configured_feed(ObservationFeed, config, config["distill"], store, forecaster)
    return FlowFeed(observations, config["seed"] + 1)


def configured_feed(kind: type[Feed], config: Mapping, values: Mapping, store: OccupancyStore,
                    forecaster: FlowForecaster) -> Feed:
    """The training windows of a store, drawn as group `values` (train or distill) asks."""
    return kind(configured_windows(config, store), training_keys(config, store, values["window_stride"]), forecaster,
                config["seed"], Variety.from_config(values))
