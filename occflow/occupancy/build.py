"""Driving logs -> an occupancy store, scene by scene, in several processes and on several machines."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from tqdm import tqdm

from occflow.errors import InputError
from occflow.grid import VoxelGrid
from occflow.logs.protocol import DrivingLog
from occflow.occupancy.scene_file import write_scene
from occflow.occupancy.scene_frames import build_scene_and_causal
from occflow.occupancy.settings import OccupancySettings
from occflow.occupancy.store import OccupancyStore, StoreLayout, finish_store, finished_scenes, start_store

_worker: dict = {}  # log, grid, settings and path of a worker process, set when it starts


def build_store(log: DrivingLog, grid: VoxelGrid, settings: OccupancySettings, path: Path, workers: int = 1,
                shard: tuple[int, int] = (0, 1)) -> OccupancyStore | None:
    """Build the occupancy of all scenes of a log into a folder, or go on with an unfinished one.

    A finished store of the same log, grid and settings is returned at once.

    Args:
        path: folder of the store.
        workers: processes; each opens the log itself.
        shard: (i, n) builds every n-th scene from the i-th on, beside other machines that build the others into the
            same folder; whoever finds all scenes there finishes the store.

    Returns:
        the store; None where scenes of other shards are still missing.

    Raises:
        InputError: bad data, or a folder that holds something else.
    """
    path, (first, every) = Path(path), shard
    layout = StoreLayout(grid, settings, log.name, log.splits())
    done = start_store(path, layout, log.scenes(), alone=every == 1)
    if done is None:
        return OccupancyStore.open(path)
    waiting = [scene for scene in log.scenes()[first::every] if scene not in done]
    finished = _build_in_turn if min(workers, len(waiting)) <= 1 else _build_in_parallel
    for _ in tqdm(finished(log, waiting, layout, path, workers), total=len(waiting), desc="occupancy", unit="scene",
                  disable=not waiting):
        pass
    num_frames = finished_scenes(path, layout, log.scenes())
    if len(num_frames) < len(log.scenes()):
        return None
    finish_store(path, layout, num_frames)
    return OccupancyStore.open(path)


def _build_in_turn(log: DrivingLog, scenes: list[str], layout: StoreLayout, path: Path, workers: int) -> Iterator[str]:
    for scene in scenes:
        _build_one(log, layout, path, scene)
        yield scene


def _build_in_parallel(log: DrivingLog, scenes: list[str], layout: StoreLayout, path: Path,
                       workers: int) -> Iterator[str]:
    """Scenes in the order in which worker processes finish them."""
    context = multiprocessing.get_context("spawn")  # safe beside threads, and the same on every system
    pool = ProcessPoolExecutor(min(workers, len(scenes)), context, _start_worker, (log, layout, path))
    try:
        tasks = {pool.submit(_build_in_worker, scene): scene for scene in scenes}
        for task in as_completed(tasks):
            task.result()
            yield tasks[task]
    except BrokenProcessPool:
        raise InputError(f"{path}: a worker process ended early (out of memory?); run again, it goes on where it "
                         "stopped, with fewer workers=N") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(log: DrivingLog, layout: StoreLayout, path: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's: scenes under way are finished and kept
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes already share the cores
    _worker.update(log=log, layout=layout, path=path)


def _build_in_worker(scene: str) -> None:
    _build_one(_worker["log"], _worker["layout"], _worker["path"], scene)


def _build_one(log: DrivingLog, layout: StoreLayout, path: Path, scene: str) -> None:
    frames, causal = build_scene_and_causal(log, scene, layout.grid, layout.settings)
    write_scene(path, scene, frames, causal)
