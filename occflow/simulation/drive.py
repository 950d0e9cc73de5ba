"""Simulating a log: scenes in parallel, each from one seed, whole or not at all.

What stands already where it is to be written is left as it is, replaced where that was asked for, or refused.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from occflow.atomic import atomic_folder
from occflow.errors import InputError
from occflow.geometry import invert
from occflow.records import first_difference, read_json
from occflow.simulation.boxes import Triangles
from occflow.simulation.exact import fill_boxes, static_occupancy, write_occ3d
from occflow.simulation.lidar import REVOLUTION_S, Lidar, softened
from occflow.simulation.locality import PLAIN, Locality, drawn
from occflow.simulation.nuscenes_writer import TABLES, SceneWriter, lidar_mount, make_folders, write_log
from occflow.simulation.populate import populate
from occflow.simulation.sensors import KEPT_SHARE, varied
from occflow.simulation.settings import SimulationSettings
from occflow.simulation.terrain import Terrain
from occflow.simulation.town import Town, build_town
from occflow.simulation.traffic import TICK_S, Traffic
from occflow.worker_process import each

REPLACE = "simulation.replace=true replaces it"
RECORD = "simulation.json"  # beside the log: what it was made with
BRANCHES = "branches"  # folder in the log that branch_futures writes
WORLD = 3  # number of the procedural world; counted up when the same settings make another log
VARIED_WORLD = 5  # and that of the varied one


@dataclass(frozen=True)
class Output:
    """A folder that the simulator writes.

    Args:
        kind: what it is, for messages ("log").
        record: name of the file in it that says what it was made with.
        names: from the record to what matches the whole name, relative to the folder, of every file that the simulator
            writes there.
        remedy: how to name another folder.
    """

    kind: str
    record: str
    names: Callable[[Mapping], re.Pattern]
    remedy: str

    def stands(self, folder: Path, wanted: Mapping, replace: bool) -> bool:
        """Whether the wanted output is at `folder` already; False where it may be written there.

        Args:
            wanted: its record, plain values.
            replace: whether an output of another record may be replaced.

        Raises:
            InputError: something else is there: of another record, without `replace`; or a file that the simulator has
                not written, whatever was asked.
        """
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}: a file, not a folder; {self.remedy}")
        if not folder.exists() or not any(folder.iterdir()):
            return False
        found = self.read(folder)
        if found == wanted:
            return True
        if found is None and not replace:
            raise InputError(f"{folder}: is not empty and holds no simulated {self.kind}; {self.remedy}")
        if not replace:
            difference = first_difference(found, wanted, ("there", "wanted"))
            raise InputError(f"{folder}: holds another {self.kind} ({difference}); {REPLACE}, or {self.remedy}")
        names = self.names(found or wanted)
        for name in _files(folder):
            if not names.fullmatch(name):
                raise InputError(f"{folder / name}: is not of the simulated {self.kind} and would be lost; move it "
                                 f"away, or {self.remedy}")
        return False

    def read(self, folder: Path) -> dict | None:
        """The record of what is at `folder`; None where there is none, or none that can be read."""
        try:
            found = read_json(folder / self.record)
        except InputError:
            return None
        return found if isinstance(found, dict) else None


def _files(folder: Path) -> Iterator[str]:
    """Names of everything below a folder that is no folder itself, relative to it, with / between; links are not
    followed."""
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        for name in sorted(files + links):
            yield (Path(parent) / name).relative_to(folder).as_posix()


def log_names(record: Mapping) -> re.Pattern:
    """What the files of the log of a record are called, relative to its root; futures that branch from it included."""
    version, scene, token = re.escape(str(record.get("version"))), r"scene-\d{4,}", "[0-9a-f]{32}"
    tables = "|".join((*TABLES, "splits"))
    return re.compile("|".join((
        re.escape(RECORD), rf"{version}/({tables})\.json", rf"maps/{scene}\.png",
        rf"(samples|sweeps)/LIDAR_TOP/{scene}__LIDAR_TOP__\d+\.pcd\.bin",
        rf"lidarseg/{version}/{token}_lidarseg\.bin", rf"gts/{scene}/{token}/labels\.npz",
        rf"(\.{BRANCHES}\.partial\.[^/]*|{BRANCHES})/({scene}/{token}\.npz|{BRANCHES}\.json)")))


LOG = Output("log", RECORD, log_names, "name another log.root")


def locality_of(settings: SimulationSettings, seed: int, number: int) -> Locality:
    """What the place of a scene is like: its own where `varied` asks for it."""
    return drawn(np.random.default_rng((seed, number, 3))) if settings.varied else PLAIN


class Scene:
    """The world of scene `number` and its time; everything in it comes from (seed, number)."""

    def __init__(self, settings: SimulationSettings, seed: int, number: int) -> None:
        town_rng, self.traffic_rng, self.sensor_rng = (np.random.default_rng((seed, number, part))
                                                       for part in range(3))
        self.town: Town = build_town(town_rng, locality_of(settings, seed, number))
        self.traffic: Traffic = populate(self.town, settings, self.traffic_rng)
        self.first_tick = self.traffic.tick

    def advance(self, seconds: float, after_step: Callable[[Traffic], None] = lambda traffic: None) -> float:
        """Step to the last tick before `seconds` (since the scene began); returns what is left of them."""
        ticks = int(seconds / TICK_S + 1e-6)
        while self.traffic.tick - self.first_tick < ticks:
            self.traffic.step(self.traffic_rng)
            after_step(self.traffic)
        return max(0.0, seconds - ticks * TICK_S)


def of_its_own(settings: SimulationSettings, rng: np.random.Generator) -> tuple[SimulationSettings, Terrain]:
    """The sensor and the hills of a scene: its own where `varied` asks for it, but of KEPT_SHARE of the scenes."""
    if not settings.varied or rng.random() < KEPT_SHARE:
        return settings, Terrain.flat()
    return varied(settings, rng), Terrain.drawn(rng)


def simulate_scene(root: Path, version: str, settings: SimulationSettings, seed: int, number: int
                   ) -> dict[str, list[dict]]:
    """Write the files of scene `number` and return the rows of its tables; all from (seed, number)."""
    scene = Scene(settings, seed, number)
    settings, terrain = of_its_own(settings, scene.sensor_rng)
    mount = lidar_mount(settings.mount_height_m)
    town, traffic = scene.town, scene.traffic
    writer = SceneWriter(root, version, seed, number, invert(terrain.error) @ mount, terrain)
    lidar = Lidar(Triangles.joined([town.ground.triangles(), town.boxes.triangles(),
                                    traffic.standing_boxes().triangles()]), settings, town.locality.through)
    sweeps_a_keyframe = settings.sweep_hz // settings.keyframe_hz
    for index in range(settings.num_sweeps):
        sample, between = divmod(index, sweeps_a_keyframe)
        seconds = index / settings.sweep_hz
        rest = scene.advance(seconds)
        world_from_ego = traffic.ego_pose(rest)
        begin = traffic.ego_pose(rest - REVOLUTION_S) if settings.motion_during_revolution else world_from_ego
        returns = lidar.sweep(traffic.moving_boxes(rest + lidar.movers_s), begin @ mount, world_from_ego @ mount,
                              scene.sensor_rng)
        lifted = terrain.pose(world_from_ego)
        returns = softened(returns, town.locality, scene.sensor_rng, world_from_ego @ mount)
        returns = replace(returns, points=terrain.seen(returns.points, world_from_ego @ mount, lifted @ mount))
        if not between:
            writer.add_keyframe(sample, seconds, traffic, rest, returns)
            if settings.exact_occupancy:
                volume = static_occupancy(town, world_from_ego)
                fill_boxes(volume, traffic.boxes(rest), world_from_ego)
                write_occ3d(root / "gts" / writer.name / writer.sample_token(sample) / "labels.npz", volume)
        writer.add_sweep(index, sample + bool(between), seconds, lifted @ terrain.error, returns, not between)
    return writer.finish(traffic, town.ground)


def simulate_log(root: Path, version: str, simulation: Mapping, seed: int, workers: int) -> dict[str, float]:
    """Write a log of `simulation` settings to `root`; one that is already there is left as it is.

    Another log is replaced only where `simulation` says "replace", and never with files that are not its own.

    Returns:
        {"scenes", "keyframes", "seconds"}; seconds are 0 where nothing was to be done.

    Raises:
        InputError: settings that make no world, or a root that holds another log or something else.
    """
    settings, start, root = SimulationSettings.from_config(simulation), time.perf_counter(), Path(root)
    _refuse_names(version, seed)
    record = record_of(version, settings, seed)
    scenes = settings.train_scenes + settings.val_scenes
    summary = {"scenes": scenes, "keyframes": scenes * settings.num_keyframes}
    replace = simulation.get("replace", False)
    if LOG.stands(root, record, replace):
        return {**summary, "seconds": 0.0}
    with atomic_folder(root, replace) as partial_root:
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
    world = VARIED_WORLD if settings.varied else WORLD
    return {"world": world, "version": version, "seed": seed, "settings": settings.to_dict()}


def run_scenes(job: Callable[[int], Any], numbers: Sequence[int], workers: int, title: str) -> list:
    """What `job` returns for every scene number, in their order, whatever the number of workers."""
    with closing(each(job, numbers, workers)) as finished:
        results = dict(tqdm(finished, desc=title, total=len(numbers), unit="scene", dynamic_ncols=True))
    return [results[number] for number in numbers]
