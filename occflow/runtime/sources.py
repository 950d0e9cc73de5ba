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
from occflow.occupancy.windows import WindowKey, WindowSource, refuse_other_interval
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


def configured_windows(config: Mapping, store: OccupancyStore) -> WindowSource:
    """The windows that group `data` asks for: their frames, the kind of input and where their grids are.

    Raises:
        InputError: an unknown input or grid pose; frames that are not `data.frame_interval_s` apart.
    """
    data = config["data"]
    refuse_other_interval(store, data["frame_interval_s"])
    return WindowSource(store, data["history"], data["horizon"], data["input"], data["grid_pose"])


def training_keys(config: Mapping, store: OccupancyStore, stride: int) -> list[WindowKey]:
    return configured_windows(config, store).keys("train", stride)


def prepare_torch(config: Mapping) -> None:
    """Threads and seed."""
    torch.set_num_threads(config["workers"])
    seed_everything(config["seed"])
