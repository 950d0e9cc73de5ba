"""Occupancy that others have made: one protocol for its readers, and its import into a store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from occflow.errors import InputError
from occflow.grid import VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.scene_file import write_scene
from occflow.occupancy.store import OccupancyStore, StoreLayout, finish_store, start_store

NEEDED_KEYS = {"occ3d": ("gts", "root", "version"), "semantickitti_voxels": ("root",)}


class OccupancySequences(Protocol):
    """Occupancy of scenes on one grid, read lazily: one frame in memory at a time."""

    name: str
    grid: VoxelGrid

    def scenes(self) -> list[str]:
        """Names of the scenes."""

    def splits(self) -> dict[str, list[str]]:
        """Scene names by split."""

    def frames(self, scene: str) -> Iterator[OccupancyFrame]:
        """Frames of a scene in the order of time."""


def is_ready_made(log: Mapping) -> bool:
    """Whether a configuration `log` names occupancy rather than a driving log."""
    return isinstance(log, Mapping) and log.get("kind") in NEEDED_KEYS


def open_sequences(log: Mapping) -> OccupancySequences:
    """The occupancy that a configuration names.

    Raises:
        InputError: an unknown kind, a missing key, or data that cannot be read.
    """
    if not is_ready_made(log):
        raise InputError(f"log.kind: {log.get('kind')!r} is no ready-made occupancy; known: {', '.join(NEEDED_KEYS)}")
    missing = [key for key in NEEDED_KEYS[log["kind"]] if not log.get(key)]
    if missing:
        raise InputError(f"log.{missing[0]}: missing; set log.{missing[0]}=... (see configs/log/)")
    if log["kind"] == "occ3d":
        from occflow.occupancy.occ3d import Occ3dSequences

        return Occ3dSequences(log["gts"], log["root"], log["version"])
    from occflow.occupancy.semantickitti_voxels import SemanticKittiVoxels

    return SemanticKittiVoxels(log["root"])


def import_store(sequences: OccupancySequences, path: Path, workers: int = 1) -> OccupancyStore:
    """Write ready-made occupancy to a store, or go on with an unfinished one.

    Args:
        workers: not used yet: scenes are imported one after the other.

    Raises:
        InputError: bad data, or a folder that holds something else.
    """
    path = Path(path)
    layout = StoreLayout(sequences.grid, None, sequences.name, sequences.splits())
    done = start_store(path, layout, sequences.scenes())
    if done is None:
        return OccupancyStore.open(path)
    for scene in tqdm(sequences.scenes(), desc="import", unit="scene"):
        if scene not in done:
            done[scene] = write_scene(path, scene, list(sequences.frames(scene)))
    finish_store(path, layout, {scene: done[scene] for scene in sequences.scenes()})
    return OccupancyStore.open(path)
