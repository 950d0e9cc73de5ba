"""A forecaster that simulation trained, fine-tuned on the first half of a recording and scored on the second."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from occflow.errors import InputError
from occflow.forecasting.checkpoint import load_forecaster, save_checkpoint
from occflow.jobs.sources import configured_device, configured_windows
from occflow.logs.open import open_log
from occflow.occupancy.building.build import build_store
from occflow.occupancy.settings import OccupancySettings, configured_grid
from occflow.occupancy.storage.store import OccupancyStore
from occflow.occupancy.windows import WindowKey
from occflow.training.feeding import ObservationFeed, Variety
from occflow.training.run import TrainingRun
from occflow.training.teacher import train_flow, train_mean


def recording_store(config: Mapping, log: Mapping, folder: Path) -> OccupancyStore:
    """The occupancy of a recording, on the configured grid."""
    settings = OccupancySettings.from_dict(config["data"]["occupancy"])
    return build_store(open_log(log), configured_grid(config["data"]), settings, folder, config["workers"])


def halves(store: OccupancyStore, history: int, horizon: int) -> tuple[list[WindowKey], list[WindowKey]]:
    """Windows to train on, from each scene's first half (at least its first window), and windows to score, none of
    whose forecast frames was in one of the former.

    Raises:
        InputError: no scene is long enough for both.
    """
    first, second = [], []
    for scene in store.scenes():
        last_start = store.num_frames(scene) - history - horizon
        seen = max(history + horizon, store.num_frames(scene) // 2)  # frames that training sees
        to_score = range(seen - history, last_start + 1)
        if len(to_score):
            first += [WindowKey(scene, start) for start in range(seen - history - horizon + 1)]
            second += [WindowKey(scene, start) for start in to_score]
    if not second:
        raise InputError(f"{store.path}: no scene is long enough to train on its first half and score the second")
    return first, second


def fine_tuned(config: Mapping, teacher: Path, store: OccupancyStore, keys: list[WindowKey],
               run_dir: Path) -> Path:
    """Mean and velocity of a teacher trained on; the autoencoder stays. Returns RUN_DIR/teacher.safetensors."""
    train, values, seed = config["train"], config["study"]["fine_tuning"], config["seed"]
    model = load_forecaster(teacher, ("teacher",), configured_device(config)).requires_grad_(True)
    model.autoencoder.requires_grad_(False)
    variety = Variety(train["crop"]["voxels"], values["a_window"])
    feed = ObservationFeed(configured_windows(config, store), keys, model, seed, variety)
    run = TrainingRun(run_dir)
    train_mean(model, feed, {**train["mean"], **values["mean"]}, run)
    train_flow(model, feed, {**train["teacher"], **values["teacher"]}, seed, run)
    save_checkpoint(run_dir / "teacher.safetensors", model, "teacher", model.settings, dict(config))
    return run_dir / "teacher.safetensors"
