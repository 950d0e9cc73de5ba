"""Branching futures: from one present the simulated world goes on several times, with other random decisions.

The ego repeats its recorded drive in every branch, so that all branches have the same grid poses (ego setting G): they
are samples of the future of everybody else, given the ego's own. Branch 0 is what was recorded. A branch in which the
ego would drive into somebody is drawn again, since no such future goes with its drive.

ROOT/branches/SCENE/TOKEN.npz, one of a chosen keyframe, without pickles; frame 0 is the present:
* `world_from_grid` [F + 1, 4, 4] float64, `stamps_s` [F + 1]: seconds since the keyframe;
* `static` [F + 1, X, Y, Z] uint8: classes of the ground and what stands on it, else 17, the same in all branches;
* `mover_flat` int32, `mover_labels` uint8: what agents fill, flat voxel indices (z fastest) and classes of all frames
  one after the other, branch m and frame f from `mover_starts`[m * (F + 1) + f] to the next; they go before `static`;
* `ego_touched` [M] bool: branches that were kept although somebody touches the ego, for want of a better one;
* `origin_m` [3], `voxel_size_m`: the grid; `format`.

What they are scored with reads them: occflow.eval.branching.
"""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from occflow.atomic import atomic_folder, write_npz
from occflow.errors import InputError
from occflow.grid import FREE
from occflow.simulation.agents import Script
from occflow.simulation.drive import BRANCHES, LOG, Output, Scene, record_of, run_scenes
from occflow.simulation.exact import GRID, fill_boxes, static_occupancy
from occflow.simulation.nuscenes_writer import scene_name, token
from occflow.simulation.settings import SimulationSettings
from occflow.simulation.traffic import Traffic, touching

FORMAT = 1  # of the file
MAX_TRIES = 10  # to draw a branch in which nobody touches the ego
RECORD = f"{BRANCHES}.json"  # in their folder: what they were made with
KEYS = {"branches": (1, 64), "branch_every": (1, 1000), "branch_frames": (1, 20)}
NAMES = re.compile(rf"scene-\d{{4,}}/[0-9a-f]{{32}}\.npz|{re.escape(RECORD)}")
FUTURES = Output("branching futures", RECORD, lambda record: NAMES, "move the folder away")


def branch_log(root: Path, version: str, simulation: Mapping, seed: int, workers: int) -> dict[str, float]:
    """Write the branching futures of the held-out scenes of the simulated log at `root`; those that are there already
    are left as they are, others replaced only where `simulation` says "replace".

    Returns:
        {"keyframes", "branches", "seconds"}.

    Raises:
        InputError: settings that make no branches, another log than that of these settings at `root`, or other
            branches.
    """
    start, root, settings = time.perf_counter(), Path(root), SimulationSettings.from_config(simulation)
    for key, (least, most) in KEYS.items():
        value = simulation.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise InputError(f"simulation.{key}: {value!r} is not a whole number from {least} to {most}")
    log = record_of(version, settings, seed)
    if LOG.read(root) != log:
        raise InputError(f"{root}: is not the log of these settings; run simulate_log with them first")
    if settings.varied:
        raise InputError("simulation.varied: branching futures are of flat towns; simulate a log without it")
    record = {"format": FORMAT, **{key: simulation[key] for key in KEYS}, "log": log}
    numbers = range(settings.train_scenes, settings.train_scenes + settings.val_scenes)
    chosen = chosen_keyframes(settings, simulation["branch_every"], simulation["branch_frames"])
    summary = {"keyframes": len(numbers) * len(chosen), "branches": len(numbers) * len(chosen) * simulation["branches"]}
    replace = simulation.get("replace", False)
    if FUTURES.stands(root / BRANCHES, record, replace):
        return {**summary, "seconds": 0.0}
    with atomic_folder(root / BRANCHES, replace) as partial_root:
        job = partial(_branch_scene, partial_root, settings, seed, *(simulation[key] for key in KEYS))
        run_scenes(job, numbers, workers, "branches")
        (partial_root / RECORD).write_text(json.dumps(record))
    return {**summary, "seconds": time.perf_counter() - start}


def chosen_keyframes(settings: SimulationSettings, every: int, frames: int) -> range:
    """Every `every`-th keyframe of a scene that has a whole future."""
    return range(0, settings.num_keyframes - frames, every)


def _branch_scene(root: Path, settings: SimulationSettings, seed: int, branches: int, every: int, frames: int,
                  number: int) -> None:
    """Write the branches of the chosen keyframes of a scene."""
    scene, folder = Scene(settings, seed, number), root / scene_name(number)
    folder.mkdir()
    for sample in chosen_keyframes(settings, every, frames):
        arrays = branch_keyframe(scene, settings, (seed, number), sample, branches, frames)
        write_npz(folder / f"{token(seed, number, 'sample', sample)}.npz", **arrays)


def branch_keyframe(scene: Scene, settings: SimulationSettings, key: tuple[int, int], sample: int, branches: int,
                    frames: int) -> dict[str, np.ndarray]:
    """The arrays of a file (see above) for keyframe number `sample`, to which `scene` is advanced."""
    times = (sample + np.arange(frames + 1)) / settings.keyframe_hz
    scene.advance(times[0])
    recorded = copy.deepcopy(scene)
    poses, speeds, movers = [], [], [[]]
    for seconds in times:
        rest = recorded.advance(seconds, lambda traffic: speeds.append(traffic.ego.arrived_m_per_s))
        poses.append(recorded.traffic.ego_pose(rest))
        movers[0].append(_mover_voxels(recorded.traffic, rest, poses[-1]))
    script = Script(scene.traffic.tick, (*speeds, recorded.traffic.ego.speed_m_per_s),
                    tuple(recorded.traffic.ego.route.turns_taken))
    touched = [False]
    for branch in range(1, branches):
        for attempt in range(MAX_TRIES):
            other = copy.deepcopy(scene)
            other.traffic.ego.script = script
            other.traffic_rng = np.random.default_rng((*key, 3, sample, branch, attempt))
            voxels, hit = _future(other, times, poses)
            if not hit:
                break
        movers.append(voxels)
        touched.append(hit)
    return {"format": np.array(FORMAT), "world_from_grid": np.stack(poses), "stamps_s": times - times[0],
            "static": np.stack([static_occupancy(scene.town, pose) for pose in poses]),
            **_joined([frame for branch in movers for frame in branch]), "ego_touched": np.array(touched),
            "origin_m": np.array(GRID.origin_m), "voxel_size_m": np.array(GRID.voxel_size_m)}


def _future(scene: Scene, times: np.ndarray, poses: list[np.ndarray]) -> tuple[list, bool]:
    """Mover voxels of every frame of a branch, and whether somebody comes to touch the ego."""
    before, hits, voxels = ego_touches(scene.traffic), [], []
    for seconds, pose in zip(times, poses):
        rest = scene.advance(seconds, lambda traffic: hits.append(bool(ego_touches(traffic) - before)))
        voxels.append(_mover_voxels(scene.traffic, rest, pose))
    return voxels, any(hits)


def ego_touches(traffic: Traffic) -> set[int]:
    """Agents whose outline overlaps the ego's."""
    return {int(b) for a, b in touching(traffic) if a == 0}


def _mover_voxels(traffic: Traffic, since_tick_s: float, world_from_grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    volume = np.full(GRID.shape, FREE, dtype=np.uint8)
    fill_boxes(volume, traffic.boxes(since_tick_s), world_from_grid)
    return _sparse(volume)


def _sparse(volume: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    flat = np.flatnonzero(volume.reshape(-1) != FREE).astype(np.int32)
    return flat, volume.reshape(-1)[flat]


def _joined(frames: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    starts = np.cumsum([0] + [len(flat) for flat, _ in frames])
    return {"mover_flat": np.concatenate([flat for flat, _ in frames]),
            "mover_labels": np.concatenate([labels for _, labels in frames]), "mover_starts": starts}
