"""From the configuration to a log and an occupancy store; threads and seeds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from occflow.errors import InputError
from occflow.logs.open import open_log
from occflow.occupancy.build import build_store
from occflow.occupancy.settings import OccupancySettings, configured_grid
from occflow.occupancy.store import OccupancyStore
from occflow.occupancy.windows import WindowKey, window_keys
from occflow.training.teacher import seed_everything


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
    return build_store(log, configured_grid(data), OccupancySettings.from_dict(data["occupancy"]),
                       Path(data["store"]), config["workers"])


def open_configured_store(config: Mapping) -> OccupancyStore:
    """The store at data.store; its grid must be the configured one."""
    data = config["data"]
    store = OccupancyStore.open(Path(data["store"]))
    if store.grid != configured_grid(data):
        raise InputError(f"{store.path}: holds grid {store.grid.to_dict()}, configured is {dict(data['grid'])}; "
                         "name another data.store")
    return store


def training_keys(config: Mapping, store: OccupancyStore, stride: int) -> list[WindowKey]:
    data = config["data"]
    return window_keys(store, "train", data["history"], data["horizon"], stride)


def prepare_torch(config: Mapping) -> None:
    """Threads and seed."""
    torch.set_num_threads(config["workers"])
    seed_everything(config["seed"])
