"""Driving logs -> occupancy: one scene, and a whole store."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
from tqdm import tqdm

from occflow.errors import InputError
from occflow.geometry import invert, is_rigid, transform
from occflow.grid import VoxelGrid
from occflow.logs.protocol import DrivingLog, Keyframe
from occflow.occupancy.accumulate import SceneMatter, accumulate
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.labels import flat_voxels, point_weights, voxelise
from occflow.occupancy.scene_file import write_scene
from occflow.occupancy.settings import OccupancySettings
from occflow.occupancy.store import OccupancyStore, StoreLayout, finish_store, start_store

_worker: dict = {}  # log, grid, settings and path of a worker process, set when it starts


def build_scene(log: DrivingLog, scene: str, grid: VoxelGrid, settings: OccupancySettings) -> list[OccupancyFrame]:
    """Occupancy of every keyframe of a scene, each in the ego frame of its keyframe.

    Raises:
        InputError: what the log raises; a scene without keyframes, a pose that is not rigid.
    """
    keyframes = log.keyframes(scene)
    if not keyframes:
        raise InputError(f"{log.name}: scene {scene} has no keyframes; leave it out of the log")
    for keyframe in keyframes:
        if not is_rigid(keyframe.world_from_ego):
            raise InputError(f"{log.name}: scene {scene}, keyframe {keyframe.token}: pose is not finite and rigid; "
                             "repair the log")
    matter = accumulate(log, scene, grid.voxel_size_m, settings)
    labels, weights = point_weights(matter.static, settings.label_radius_m)
    object_starts = np.searchsorted(matter.objects.groups, np.arange(len(matter.tracks) + 1))
    return [_frame(keyframe, matter, labels, weights, object_starts, grid, settings) for keyframe in keyframes]


def build_store(log: DrivingLog, grid: VoxelGrid, settings: OccupancySettings, path: Path,
                workers: int = 1) -> OccupancyStore:
    """Build the occupancy of all scenes of a log into a folder, or go on with an unfinished one.

    A finished store of the same log, grid and settings is returned at once.

    Args:
        path: folder of the store.
        workers: processes; each opens the log itself.

    Raises:
        InputError: bad data, or a folder that holds something else.
    """
    layout = StoreLayout(grid, settings, log.name, log.splits())
    done = start_store(Path(path), layout, log.scenes())
    if done is None:
        return OccupancyStore.open(path)
    waiting = [scene for scene in log.scenes() if scene not in done]
    finished = _build_in_turn if min(workers, len(waiting)) <= 1 else _build_in_parallel
    num_frames = dict(done)
    for scene, count in tqdm(finished(log, waiting, layout, Path(path), workers), total=len(waiting),
                             desc="occupancy", unit="scene", disable=not waiting):
        num_frames[scene] = count
    finish_store(Path(path), layout, {scene: num_frames[scene] for scene in log.scenes()})
    return OccupancyStore.open(path)


def _frame(keyframe: Keyframe, matter: SceneMatter, static_labels: np.ndarray, static_weights: np.ndarray,
           object_starts: np.ndarray, grid: VoxelGrid, settings: OccupancySettings) -> OccupancyFrame:
    """The grid of one keyframe: the static world, and its objects at their boxes."""
    ego_from_world = invert(keyframe.world_from_ego)
    near = _reachable(matter, keyframe, grid)
    ego_from_anchor = ego_from_world.copy()
    ego_from_anchor[:3, 3] = transform(ego_from_world, matter.anchor_m[None])[0]
    flat = [flat_voxels(grid, ego_from_anchor, matter.static.centres_m[near])]
    labels, weights, counts = [static_labels[near]], [static_weights[near]], [matter.static.counts[near]]
    for box in keyframe.boxes:
        if box.track not in matter.tracks:
            continue
        number = matter.tracks[box.track]
        part = slice(object_starts[number], object_starts[number + 1])
        flat.append(flat_voxels(grid, ego_from_world @ box.world_from_box, matter.objects.centres_m[part]))
        labels.append(matter.objects.labels[part])
        counts.append(matter.objects.counts[part])
        weights.append(counts[-1].astype(np.float64))
    occupied, classes = voxelise(grid.num_voxels, np.concatenate(flat), np.concatenate(labels),
                                 np.concatenate(weights), np.concatenate(counts), settings.min_points)
    return OccupancyFrame(occupied, classes, keyframe.world_from_ego, keyframe.stamp_s, keyframe.token, keyframe.boxes)


def _reachable(matter: SceneMatter, keyframe: Keyframe, grid: VoxelGrid) -> np.ndarray:
    """Indices of the static cells that can lie in the grid of a keyframe: a square of the world about it."""
    corners = np.array(grid.origin_m), np.array(grid.origin_m) + np.array(grid.shape) * grid.voxel_size_m
    reach_m = np.linalg.norm(np.maximum(*np.abs(corners)))
    centre_m = keyframe.world_from_ego[:3, 3] - matter.anchor_m
    x, y = matter.static.centres_m[:, 0], matter.static.centres_m[:, 1]
    first, last = np.searchsorted(x, (centre_m[0] - reach_m, centre_m[0] + reach_m))  # cells are in the order of x
    return first + np.flatnonzero(np.abs(y[first:last] - centre_m[1]) <= reach_m)


def _build_in_turn(log: DrivingLog, scenes: list[str], layout: StoreLayout, path: Path,
                   workers: int) -> Iterator[tuple[str, int]]:
    for scene in scenes:
        yield scene, write_scene(path, scene, build_scene(log, scene, layout.grid, layout.settings))


def _build_in_parallel(log: DrivingLog, scenes: list[str], layout: StoreLayout, path: Path,
                       workers: int) -> Iterator[tuple[str, int]]:
    """Scenes in the order in which worker processes finish them."""
    context = multiprocessing.get_context("spawn")  # safe beside threads, and the same on every system
    pool = ProcessPoolExecutor(min(workers, len(scenes)), context, _start_worker, (log, layout, path))
    try:
        tasks = {pool.submit(_build_one, scene): scene for scene in scenes}
        for task in as_completed(tasks):
            yield tasks[task], task.result()
    except BrokenProcessPool:
        raise InputError(f"{path}: a worker process ended early (out of memory?); run again, it goes on where it "
                         "stopped, with fewer workers=N") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(log: DrivingLog, layout: StoreLayout, path: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's: scenes under way are finished and kept
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes already share the cores
    _worker.update(log=log, layout=layout, path=path)


def _build_one(scene: str) -> int:
    layout = _worker["layout"]
    frames = build_scene(_worker["log"], scene, layout.grid, layout.settings)
    return write_scene(_worker["path"], scene, frames)
