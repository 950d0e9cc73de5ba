"""From the configuration to a log and an occupancy store; threads and seeds."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from occflow.errors import InputError
from occflow.forecasting.checkpoint import load_perception, read_record
from occflow.jobs.build import build_configured_store
from occflow.logs.open import NO_LOG
from occflow.occupancy.settings import configured_grid
from occflow.occupancy.storage.remote import is_url
from occflow.occupancy.storage.store import OccupancyStore
from occflow.occupancy.windows import WindowSource, refuse_other_interval
from occflow.perception.network import PerceptionNetwork
from occflow.perception.perceive import PerceivedFrames
from occflow.resources import pretrained_folder

MOST_FEED_WORKERS = 32  # that are taken unasked
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
TRIMMED_FROM_BYTES, RETURNED_FROM_BYTES = 64 << 20, 4 << 20  # smaller ones are asked for all the time
DEVICES = ("auto", "cpu", "cuda", "cuda:0")  # and other numbers


def configured_device(config: Mapping) -> torch.device:
    """Where the networks of every tool run: `device`; "auto": CUDA where there is one.

    Raises:
        InputError: a name of no device, or of one that is not there.
    """
    name = str(config["device"])
    if re.sub(r":\d{1,4}$", ":0", name) not in DEVICES:
        raise InputError(f"device: '{name}' is not known; known: {', '.join(DEVICES)}")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if count else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= count:
        there = f"{count} CUDA device{'s' if count > 1 else ''} (cuda:0 first)" if count else "no CUDA device here"
        raise InputError(f"device: '{name}' is not there: {there}; use auto or cpu")
    if device.index is not None:
        torch.cuda.set_device(device)  # spconv, which is told no device, works on the current one
    return device


def configured_feed_workers(config: Mapping, device: torch.device) -> int:
    """Processes that make the batches of each training process ahead: `train.feed_workers`; "auto": none where the
    networks run on the same cores, else the cores but two, shared by the training processes of this machine."""
    workers = config["train"]["feed_workers"]
    if workers != "auto":
        return workers
    cores = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return 0 if device.type == "cpu" else min(MOST_FEED_WORKERS, max(1, cores - 2))


def ensure_log(config: Mapping) -> None:
    """Simulate the embedded log where the configured log is that, and it is not there."""
    if config["log"]["root"] == config["simulation"]["root"] and config["log"]["kind"] != NO_LOG:
        from occflow.simulation.drive import simulate_log

        simulate_log(Path(config["log"]["root"]), config["log"]["version"], config["simulation"],
                     config["simulation"]["seed"], config["workers"])


def ensure_store(config: Mapping) -> OccupancyStore:
    """The occupancy store of the configured log at data.store, built first where it is missing; one at a URL as it is.
    """
    if is_url(config["data"]["store"]):
        return open_configured_store(config)
    return build_configured_store(config, Path(config["data"]["store"]))


def open_configured_store(config: Mapping) -> OccupancyStore:
    """The store at data.store; its grid must be the configured one."""
    store = OccupancyStore.open(config["data"]["store"])
    refuse_other_grid(store, config["data"])
    return store


def refuse_other_grid(store: OccupancyStore, data: Mapping) -> None:
    """Raises InputError where a store holds another grid than the configured one."""
    if store.grid != configured_grid(data):
        raise InputError(f"{store.path}: holds grid {store.grid.to_dict()}, configured is {dict(data['grid'])}; "
                         "name another data.store, or choose the data group of that grid")


def configured_windows(config: Mapping, store: OccupancyStore) -> WindowSource:
    """The windows that group `data` asks for: their frames, the kind of input and where their grids are.

    Raises:
        InputError: an unknown input or grid pose; frames that are not `data.frame_interval_s` apart.
    """
    data = config["data"]
    refuse_other_interval(store, data["frame_interval_s"])
    perceive = PerceivedFrames(partial(configured_perception, config), config["perception"]["anew"])
    return WindowSource(store, data["history"], data["horizon"], data["input"], data["grid_pose"], perceive)


def perception_path(config: Mapping) -> Path:
    """The checkpoint of the perception stage: `perception.checkpoint`; "auto": the run's own where it has one, else the
    one that comes with the project."""
    named, own = config["perception"]["checkpoint"], Path(config["run_dir"]) / "perception.safetensors"
    if named != "auto":
        return Path(named)
    return own if own.is_file() else pretrained_folder() / own.name


def _existing_perception(config: Mapping) -> Path:
    path = perception_path(config)
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint of the perception stage; make one with train_perception, or name "
                         "one with perception.checkpoint=PATH")
    return path


def perceiving(config: Mapping, group: str) -> Mapping:
    """The configuration of a training of group `train` or `distill` whose histories are perceived, with the digest of
    the weights that perceive them: `perceived_by`, which shapes what is trained.

    Raises:
        InputError: no such checkpoint of the perception stage, or a broken one.
    """
    if not config[group]["perceived_share"]:
        return config
    return {**config, "perceived_by": read_record(_existing_perception(config))["weights"]}


def configured_perception(config: Mapping) -> PerceptionNetwork:
    """The network at `perception_path`, on the configured device.

    Raises:
        InputError: missing, unreadable, or of another grid than group `data` names.
    """
    path = _existing_perception(config)
    network = load_perception(path, configured_device(config))
    if network.settings.grid != configured_grid(config["data"]):
        raise InputError(f"{path}: perceives on grid {network.settings.grid.to_dict()}, configured is "
                         f"{dict(config['data']['grid'])}; train one with train_perception, name another with "
                         "perception.checkpoint=PATH, or train without it (train.perceived_share=0)")
    return network


def prepare_torch(config: Mapping, threads: int | None = None, training: bool = False) -> None:
    """Seed the global generators, from which weights are initialised (all else has generators of its own), and set the
    threads of torch: `workers` unless told. NumPy's BLAS has one: its products here are small, and a second thread
    takes time from torch's (laying out a window: 79 ms with two, 54 with one).

    On a GPU the products of a `training` that are left in float32 are TF32's, of 10 bits and several times as fast; of
    all else, forecasts that are scored among it, they are float32's.
    """
    threadpool_limits(1, user_api="blas")
    torch.set_num_threads(threads or config["workers"])
    if training:
        _return_freed_memory()
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high" if training else "highest")
    torch.manual_seed(config["seed"])
    np.random.seed(config["seed"] % 2**32)


def _return_freed_memory() -> None:
    """Have large blocks returned to the system when they are freed. The C library of Linux learns from blocks of up to
    32 MiB to keep them, in between what lives on: a full-size training on a CPU held 700 MB more than it had."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, RETURNED_FROM_BYTES)
        mallopt(M_TRIM_THRESHOLD, TRIMMED_FROM_BYTES)
