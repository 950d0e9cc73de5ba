"""Simulating a log: scenes in parallel, each from one seed, whole or not at all."""

from __future__ import annotations

import json
import multiprocessing
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from occflow.atomic import atomic_folder
from occflow.errors import InputError
from occflow.simulation.boxes import Triangles
from occflow.simulation.exact import fill_boxes, static_occupancy, write_occ3d
from occflow.simulation.lidar import Lidar
from occflow.simulation.nuscenes_writer import LIDAR_MOUNT, SceneWriter, make_folders, write_log
from occflow.simulation.populate import populate
from occflow.simulation.settings import SimulationSettings
from occflow.simulation.town import Town, build_town
from occflow.simulation.traffic import TICK_S, Traffic
from occflow.worker_process import begin_worker

RECORD = "simulation.json"  # beside the log: what it was made with
WORLD = 2  # number of the procedural world; counted up when the same settings make another log


class Scene:
    """The world of scene `number` and its time; everything in it comes from (seed, number)."""

    def __init__(self, settings: SimulationSettings, seed: int, number: int) -> None:
        town_rng, self.traffic_rng, self.sensor_rng = (np.random.default_rng((seed, number, part))
                                                       for part in range(3))
        self.town: Town = build_town(town_rng)
        self.traffic: Traffic = populate(self.town, settings, self.traffic_rng)
        self.first_tick = self.traffic.tick

    def advance(self, seconds: float, after_step: Callable[[Traffic], None] = lambda traffic: None) -> float:
        """Step to the last tick before `seconds` (since the scene began); returns what is left of them."""
        ticks = int(seconds / TICK_S + 1e-6)
        while self.traffic.tick - self.first_tick < ticks:
            self.traffic.step(self.traffic_rng)
            after_step(self.traffic)
        return max(0.0, seconds - ticks * TICK_S)


def simulate_scene(root: Path, version: str, settings: SimulationSettings, seed: int, number: int
                   ) -> dict[str, list[dict]]:
    """Write the files of scene `number` and return the rows of its tables; all from (seed, number)."""
    scene = Scene(settings, seed, number)
    town, traffic, writer = scene.town, scene.traffic, SceneWriter(root, version, seed, number)
    lidar = Lidar(Triangles.joined([town.ground.triangles(), town.boxes.triangles(),
                                    traffic.standing_boxes().triangles()]), settings)
    sweeps_a_keyframe = settings.sweep_hz // settings.keyframe_hz
    for index in range(settings.num_sweeps):
        sample, between = divmod(index, sweeps_a_keyframe)
        seconds = index / settings.sweep_hz
        rest = scene.advance(seconds)
        returns = lidar.sweep(lambda after, rest=rest: traffic.moving_boxes(rest + after),
                              lambda after, rest=rest: traffic.ego_pose(rest + after) @ LIDAR_MOUNT, scene.sensor_rng)
        world_from_ego = traffic.ego_pose(rest)
        if not between:
            writer.add_keyframe(sample, seconds, traffic, rest, returns)
            if settings.exact_occupancy:
                volume = static_occupancy(town, world_from_ego)
                fill_boxes(volume, traffic.boxes(rest), world_from_ego)
                write_occ3d(root / "gts" / writer.name / writer.sample_token(sample) / "labels.npz", volume)
        writer.add_sweep(index, sample + bool(between), seconds, world_from_ego, returns, keyframe=not between)
    return writer.finish(traffic, town.ground)


def simulate_log(root: Path, version: str, simulation: Mapping, seed: int, workers: int) -> dict[str, float]:
    """Write a log of `simulation` settings to `root`; one that is already there is left as it is.

    Returns:
        {"scenes", "keyframes", "sweeps", "seconds"}; seconds are 0 where nothing was to be done.

    Raises:
        InputError: settings that make no world, or a root that holds something else than a simulated log.
    """
    settings, start, root = SimulationSettings.from_config(simulation), time.perf_counter(), Path(root)
    _refuse_names(version, seed)
    record = record_of(version, settings, seed)
    scenes = settings.train_scenes + settings.val_scenes
    summary = {"scenes": scenes, "keyframes": scenes * settings.num_keyframes, "sweeps": scenes * settings.num_sweeps}
    if root.exists() and any(root.iterdir()):
        if read_record(root) == record:
            return {**summary, "seconds": 0.0}
        if not (root / RECORD).is_file():
            raise InputError(f"{root}: is not empty and holds no simulated log; name another log.root")
    with atomic_folder(root) as partial_root:
        make_folders(partial_root, version)
        job = partial(simulate_scene, partial_root, version, settings, seed)
        rows = run_scenes(job, range(scenes), workers, "simulation")
        names = [scene["scene"][0]["name"] for scene in rows]
        splits = {"train": names[:settings.train_scenes], "val": names[settings.train_scenes:]}
        write_log(partial_root, version, rows, splits)
        (partial_root / RECORD).write_text(json.dumps(record))
    return {**summary, "seconds": time.perf_counter() - start}


def _refuse_names(version: str, seed: int) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", version):  # it becomes a folder's name
        raise InputError(f"log.version: '{version}' is not a plain name such as v1.0-simulated")
    if not isinstance(seed, int) or seed < 0:
        raise InputError(f"simulation.seed: {seed!r} is not a whole number from 0 on")


def record_of(version: str, settings: SimulationSettings, seed: int) -> dict:
    """What a log is made with; the same record means the same log."""
    return {"world": WORLD, "version": version, "seed": seed, "settings": settings.to_dict()}


def read_record(root: Path) -> dict | None:
    """The record of the log at `root`, None where there is none."""
    try:
        return json.loads((root / RECORD).read_text())
    except (OSError, ValueError):
        return None


def run_scenes(job: Callable[[int], Any], numbers: Sequence[int], workers: int, title: str) -> list:
    """What `job` returns for every scene number, in their order, whatever the number of workers."""
    results: dict[int, Any] = {}
    with tqdm(total=len(numbers), desc=title, unit="scene", dynamic_ncols=True) as bar:
        if workers <= 1 or len(numbers) <= 1:
            for number in numbers:
                results[number] = job(number)
                bar.update()
        else:
            context = multiprocessing.get_context("spawn")  # Open3D's threads do not survive a fork
            with ProcessPoolExecutor(min(workers, len(numbers)), context, begin_worker) as pool:
                futures = {pool.submit(job, number): number for number in numbers}
                try:
                    for future in as_completed(futures):
                        results[futures[future]] = future.result()
                        bar.update()
                except BaseException:
                    pool.shutdown(wait=True, cancel_futures=True)
                    raise
    return [results[number] for number in numbers]
