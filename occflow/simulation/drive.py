"""Simulating a log: scenes in parallel, each from one seed, whole or not at all."""

from __future__ import annotations

import json
import multiprocessing
import re
import signal
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from occflow.atomic import atomic_folder
from occflow.errors import InputError
from occflow.geometry import planar_pose
from occflow.simulation.lidar import Lidar
from occflow.simulation.nuscenes_writer import LIDAR_MOUNT, SceneWriter, make_folders, write_log
from occflow.simulation.settings import SimulationSettings
from occflow.simulation.town import build_town
from occflow.simulation.traffic import populate, traffic_boxes

STEP_S = 0.05  # step of the traffic's integration
RECORD = "simulation.json"  # beside the log: what it was made with
WORLD = 1  # number of the procedural world; counted up when the same settings make another log


def simulate_scene(root: Path, version: str, settings: SimulationSettings, seed: int, number: int
                   ) -> dict[str, list[dict]]:
    """Write the files of scene `number` and return the rows of its tables; all from (seed, number)."""
    town_rng, traffic_rng, sensor_rng = (np.random.default_rng((seed, number, part)) for part in range(3))
    town = build_town(town_rng)
    traffic = populate(town.spacing_m, settings, traffic_rng)
    lidar, writer = Lidar(town.boxes, settings), SceneWriter(root, version, seed, number)
    sweeps_a_keyframe = settings.sweep_hz // settings.keyframe_hz
    steps = max(1, round(1 / settings.sweep_hz / STEP_S))
    for index in range(settings.num_sweeps):
        world_from_ego = planar_pose(*traffic.ego.pose())
        returns = lidar.sweep(traffic_boxes(traffic), world_from_ego @ LIDAR_MOUNT, sensor_rng)
        sample, between = divmod(index, sweeps_a_keyframe)
        seconds = index / settings.sweep_hz
        if not between:
            writer.add_keyframe(sample, seconds, traffic, returns)
        writer.add_sweep(index, sample + bool(between), seconds, world_from_ego, returns, keyframe=not between)
        for _ in range(steps):
            traffic.step(1 / settings.sweep_hz / steps, traffic_rng)
    return writer.finish(traffic)


def simulate_log(root: Path, version: str, simulation: Mapping, seed: int, workers: int) -> dict[str, float]:
    """Write a log of `simulation` settings to `root`; one that is already there is left as it is.

    Returns:
        {"scenes", "keyframes", "sweeps", "seconds"}; seconds are 0 where nothing was to be done.

    Raises:
        InputError: settings that make no world, or a root that holds something else than a simulated log.
    """
    settings, start, root = SimulationSettings.from_config(simulation), time.perf_counter(), Path(root)
    _refuse_names(version, seed)
    record = {"world": WORLD, "version": version, "seed": seed, "settings": settings.to_dict()}
    scenes = settings.train_scenes + settings.val_scenes
    summary = {"scenes": scenes, "keyframes": scenes * settings.num_keyframes, "sweeps": scenes * settings.num_sweeps}
    if root.exists() and any(root.iterdir()):
        if _record_of(root) == record:
            return {**summary, "seconds": 0.0}
        if not (root / RECORD).is_file():
            raise InputError(f"{root}: is not empty and holds no simulated log; name another log.root")
    with atomic_folder(root) as partial_root:
        make_folders(partial_root, version)
        rows = _simulate_all(partial_root, version, settings, seed, scenes, workers)
        names = [scene["scene"][0]["name"] for scene in rows]
        splits = {"train": names[:settings.train_scenes], "val": names[settings.train_scenes:]}
        write_log(partial_root, version, rows, splits)
        (partial_root / RECORD).write_text(json.dumps(record))
    return {**summary, "seconds": time.perf_counter() - start}


def _refuse_names(version: str, seed: int) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", version):  # it becomes a folder's name
        raise InputError(f"log.version: '{version}' is not a plain name such as v1.0-simulated")
    if not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed: {seed!r} is not a whole number from 0 on")


def _ignore_interrupts() -> None:
    """Ctrl-C is the parent's to handle: workers end with it, without tracebacks of their own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _record_of(root: Path) -> dict | None:
    try:
        return json.loads((root / RECORD).read_text())
    except (OSError, ValueError):
        return None


def _simulate_all(root: Path, version: str, settings: SimulationSettings, seed: int, scenes: int, workers: int
                  ) -> list[dict[str, list[dict]]]:
    """Tables of all scenes in their order, whatever the number of workers."""
    job = partial(simulate_scene, root, version, settings, seed)
    rows: dict[int, dict] = {}
    with tqdm(total=scenes, desc="simulation", unit="scene", dynamic_ncols=True) as bar:
        if workers <= 1 or scenes == 1:
            for number in range(scenes):
                rows[number] = job(number)
                bar.update()
        else:
            context = multiprocessing.get_context("spawn")  # Open3D's threads do not survive a fork
            with ProcessPoolExecutor(min(workers, scenes), context, _ignore_interrupts) as pool:
                futures = {pool.submit(job, number): number for number in range(scenes)}
                try:
                    for future in as_completed(futures):
                        rows[futures[future]] = future.result()
                        bar.update()
                except BaseException:
                    pool.shutdown(wait=True, cancel_futures=True)
                    raise
    return [rows[number] for number in range(scenes)]
