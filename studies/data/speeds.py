"""How fast logs are simulated, built and read, and how much memory a building process takes."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from occflow.errors import InputError
from occflow.grid import VoxelGrid
from occflow.logs.nuscenes import NuScenesLog
from occflow.occupancy.building.scene_frames import build_scene_and_causal
from occflow.occupancy.settings import OccupancySettings, configured_grid
from occflow.occupancy.storage.store import OccupancyStore
from occflow.run_record import process_mib
from occflow.simulation.drive import simulate_log
from occflow.simulation.lidar import REVOLUTION_S

VERSION = "v1.0-simulated"
READS = 200
SECONDS_SIMULATED, SECONDS_BEFORE = 10.0, 1.0


def speeds(config: Mapping, root: Path) -> dict:
    """Rates of one process; "cpu" counts its seconds on cores, which others on the machine disturb less than "wall"."""
    revolution_s = REVOLUTION_S if config["simulation"]["motion_during_revolution"] else 0.0
    settings = replace(OccupancySettings.from_dict(config["data"]["occupancy"]), revolution_s=revolution_s)
    load = os.getloadavg()[0]
    return {"load_average": round(load, 2), "simulated": simulated(config),
            "built": in_own_process(root, configured_grid(config["data"]), settings),
            "read_ms": read_ms(Path(config["run_dir"]) / "store_simulated")}


def simulated(config: Mapping) -> dict:
    """Sweeps a second of one scene, with and without exact occupancy, the world's making included."""
    _simulate(config, True, SECONDS_BEFORE)  # a process loads its libraries once
    return {name: _simulate(config, exact, SECONDS_SIMULATED)
            for name, exact in (("with_exact_occupancy", True), ("without", False))}


def _simulate(config: Mapping, exact: bool, seconds: float) -> dict:
    values = {**config["simulation"], "train_scenes": 0, "val_scenes": 1, "exact_occupancy": exact,
              "duration_s": seconds}
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        sweeps = simulate_log(Path(folder) / "log", VERSION, values, values["seed"], 1)["sweeps"]
        return {"sweeps_a_cpu_s": sweeps / (time.process_time() - cpu),
                "sweeps_a_wall_s": sweeps / (time.perf_counter() - wall)}


def in_own_process(root: Path, grid: VoxelGrid, settings: OccupancySettings) -> dict:
    """Keyframes a second and peak memory of a process that builds the first scene of a log."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    worker = context.Process(target=_build, args=(sender, root, grid, settings))
    worker.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise InputError(f"{root}: the process that builds its first scene was killed (out of memory?) or failed; "
                         "run it again") from None
    finally:
        worker.join()


def _build(sender: Connection, root: Path, grid: VoxelGrid, settings: OccupancySettings) -> None:
    threadpool_limits(1)  # as in a build
    log = NuScenesLog(root, VERSION)
    scene = log.scenes()[0]
    wall, cpu = time.perf_counter(), time.process_time()
    frames, _ = build_scene_and_causal(log, scene, grid, settings)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    sender.send({"keyframes": len(frames), "keyframes_a_cpu_s": len(frames) / cpu,
                 "keyframes_a_wall_s": len(frames) / wall, "peak_mib": round(process_mib("VmHWM"))})


def read_ms(path: Path) -> dict:
    """Median and 95th percentile of the time that a frame takes from disk (in the page cache), in random order."""
    store, rng = OccupancyStore.open(path), np.random.default_rng(0)
    places = [(scene, index) for scene in store.scenes() for index in range(store.num_frames(scene))]
    found = []
    for number in rng.integers(0, len(places), READS):
        scene, index = places[number]
        file = store.scene_file(scene)
        start = time.perf_counter()
        file.frame(index)
        found.append((time.perf_counter() - start) * 1e3)
    return {"median": float(np.median(found)), "p95": float(np.percentile(found, 95)), "reads": READS}
