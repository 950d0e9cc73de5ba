"""Jobs that meet what can happen in a Dask cluster; workers import them from here, and no network with them."""

from __future__ import annotations

import errno
import os
import pickle
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from occflow.atomic import atomic_file
from occflow.errors import InputError
from occflow.geometry import planar_pose
from occflow.grid import VoxelGrid
from occflow.occupancy.building.build import SceneFrames
from occflow.occupancy.frame import OccupancyFrame

GRID = VoxelGrid((-4.0, -4.0, -1.0), (8, 8, 4), 1.0)
SCENES = [f"scene-{number}" for number in range(6)]


def make_scene(scene: str) -> SceneFrames:
    """Two frames of random voxels, the same ones of a scene always."""
    rng = np.random.default_rng(SCENES.index(scene))
    return [OccupancyFrame.from_dense(rng.integers(0, 18, GRID.shape).astype(np.uint8), planar_pose(0.0, 0.0, 0.0),
                                      stamp_s) for stamp_s in (0.0, 0.5)], None


@dataclass(frozen=True)
class KilledOnce:
    """Makes scenes; the worker that begins the first one is killed while it writes."""

    store: Path
    mark: Path

    def __call__(self, scene: str) -> SceneFrames:
        if not self.mark.exists():
            self.mark.write_text(str(os.getpid()))
            with atomic_file(self.store / f"{scene}.occ") as partial:
                partial.write_bytes(b"half")
                os.kill(os.getpid(), signal.SIGKILL)
        return make_scene(scene)


@dataclass(frozen=True)
class KilledFirst:
    """Any job; the worker that begins its first item is killed before it unpacks what the job needs."""

    packed: bytes
    mark: Path

    def __call__(self, item: object) -> object:
        if not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return unpacked(self.packed)(item)


@cache
def unpacked(packed: bytes) -> Callable:
    return pickle.loads(packed)


def meets(what: str) -> str:
    """An item's own name, or what it stands for."""
    if what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "bad input":
        raise InputError("scene.json: broken; copy it again")
    if what == "full disk":
        raise OSError(errno.ENOSPC, "No space left on device", "/store/scene.occ")
    return what
