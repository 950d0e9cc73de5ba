"""Driving logs -> an occupancy store: its scenes made one by one, in several processes and on several machines."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from occflow.grid import VoxelGrid
from occflow.logs.protocol import DrivingLog
from occflow.occupancy.building.scene_frames import build_scene_and_causal
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.settings import OccupancySettings
from occflow.occupancy.storage.scene_file import write_scene
from occflow.occupancy.storage.store import (
    OccupancyStore,
    StoreLayout,
    abandon_store,
    finish_store,
    finished_scenes,
    start_store,
)
from occflow.worker_process import Workers, each

SceneFrames = tuple[list[OccupancyFrame], "list[OccupancyFrame] | None"]  # full, and causal where it is kept
MakeScene = Callable[[str], SceneFrames]


def fill_store(make: MakeScene, layout: StoreLayout, scenes: list[str], path: Path, workers: Workers = 1,
               shard: tuple[int, int] = (0, 1), title: str = "occupancy") -> OccupancyStore | None:
    """Make all scenes of a store into a folder, or go on with an unfinished one; a finished one is returned at once.

    Args:
        make: frames of a scene by its name; sent to worker processes, so it must be picklable.
        path: folder of the store.
        workers: processes, or a Dask cluster.
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
    job, remedy = partial(_make_scene, make, path), "run it again: it goes on where it stopped"
    try:
        with closing(each(job, waiting, workers, remedy)) as finished:  # at Ctrl-C the scenes under way are kept
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


def _make_scene(make: MakeScene, path: Path, scene: str) -> None:
    write_scene(path, scene, *make(scene))


@dataclass(frozen=True)
class _SceneBuilder:
    """Builds scenes of a log; a worker process opens the log itself."""

    log: DrivingLog
    grid: VoxelGrid
    settings: OccupancySettings

    def __call__(self, scene: str) -> SceneFrames:
        return build_scene_and_causal(self.log, scene, self.grid, self.settings)


def build_store(log: DrivingLog, grid: VoxelGrid, settings: OccupancySettings, path: Path, workers: Workers = 1,
                shard: tuple[int, int] = (0, 1)) -> OccupancyStore | None:
    """Build the occupancy of all scenes of a log; arguments, result and errors as `fill_store`."""
    left_out = getattr(log, "left_out", ())  # of logs whose scenes are recordings of their own
    layout = StoreLayout(grid, settings, log.name, log.splits(), tuple(left_out))
    return fill_store(_SceneBuilder(log, grid, settings), layout, log.scenes(), path, workers, shard)
