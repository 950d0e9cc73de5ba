"""The scenes of a store, made one by one, in several processes and on several machines."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path

from threadpoolctl import threadpool_limits
from tqdm import tqdm

from occflow.errors import InputError
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.scene_file import write_scene
from occflow.occupancy.store import (
    OccupancyStore,
    StoreLayout,
    abandon_store,
    finish_store,
    finished_scenes,
    start_store,
)
from occflow.worker_process import begin_worker

SceneFrames = tuple[list[OccupancyFrame], "list[OccupancyFrame] | None"]  # full, and causal where it is kept
MakeScene = Callable[[str], SceneFrames]

_worker: dict = {}  # make and path of a worker process, set when it starts


def fill_store(make: MakeScene, layout: StoreLayout, scenes: list[str], path: Path, workers: int = 1,
               shard: tuple[int, int] = (0, 1), title: str = "occupancy") -> OccupancyStore | None:
    """Make all scenes of a store into a folder, or go on with an unfinished one; a finished one is returned at once.

    Args:
        make: frames of a scene by its name; sent to worker processes, so it must be picklable.
        path: folder of the store.
        workers: processes.
        shard: (i, n) makes every n-th scene from the i-th on, beside other machines that make the others into the
            same folder; whoever finds all scenes there finishes the store.
        title: of the progress bar.

    Returns:
        the store; None where scenes of other shards are still missing.

    Raises:
        InputError: what `make` raises, or a folder that holds something else.
    """
    path, (first, every) = Path(path), shard
    done = start_store(path, layout, scenes, alone=every == 1)
    if done is None:
        return OccupancyStore.open(path)
    waiting = [scene for scene in scenes[first::every] if scene not in done]
    make_all = _make_in_turn if min(workers, len(waiting)) <= 1 else _make_in_parallel
    try:
        with closing(make_all(make, waiting, path, workers)) as finished:  # no worker goes on beyond here
            for _ in tqdm(finished, total=len(waiting), desc=title, unit="scene", disable=not waiting):
                pass
    except BaseException:
        if every == 1:
            abandon_store(path)
        raise
    num_frames = finished_scenes(path, layout, scenes)
    if len(num_frames) < len(scenes):
        return None
    finish_store(path, layout, num_frames)
    return OccupancyStore.open(path)


def _make_in_turn(make: MakeScene, scenes: list[str], path: Path, workers: int) -> Iterator[str]:
    for scene in scenes:
        with threadpool_limits(1):  # products of points with poses: a second thread costs more than it brings
            write_scene(path, scene, *make(scene))
        yield scene


def _make_in_parallel(make: MakeScene, scenes: list[str], path: Path, workers: int) -> Iterator[str]:
    """Scenes in the order in which worker processes finish them."""
    context = multiprocessing.get_context("spawn")  # safe beside threads, and the same on every system
    pool = ProcessPoolExecutor(min(workers, len(scenes)), context, _start_worker, (make, path))
    try:
        tasks = {pool.submit(_make_in_worker, scene): scene for scene in scenes}
        for task in as_completed(tasks):
            task.result()
            yield tasks[task]
    except BrokenProcessPool:
        raise InputError(f"{path}: a worker process ended early (out of memory?); run again, it goes on where it "
                         "stopped, with fewer workers=N") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(make: MakeScene, path: Path) -> None:
    begin_worker()  # at Ctrl-C the scenes under way are finished and kept
    _worker.update(make=make, path=path)


def _make_in_worker(scene: str) -> None:
    write_scene(_worker["path"], scene, *_worker["make"](scene))
