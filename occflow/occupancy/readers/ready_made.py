"""Occupancy that others have made: one protocol for its readers, and its import into a store."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from occflow.errors import InputError
from occflow.grid import VoxelGrid
from occflow.npz_file import REAL, open_npz
from occflow.occupancy.building.build import SceneFrames, fill_store
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.storage.store import OccupancyStore, StoreLayout
from occflow.worker_process import Workers

NEEDED_KEYS = {"occ3d": ("gts", "root", "version"), "semantickitti_voxels": ("root",), "uniocc": ("root",),
               "store": ()}  # the store at data.store itself, joined of others or brought from elsewhere
WIDEST = 8  # bytes a value


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
    if log["kind"] == "store":
        raise InputError("log.kind: a store is nothing to import; it is opened where it lies (data.store=PATH)")
    if log["kind"] == "occ3d":
        from occflow.occupancy.readers.occ3d import Occ3dSequences

        return Occ3dSequences(log["gts"], log["root"], log["version"])
    if log["kind"] == "uniocc":
        from occflow.occupancy.readers.uniocc import UniOccSequences

        return UniOccSequences(log["root"])
    from occflow.occupancy.readers.semantickitti_voxels import SemanticKittiVoxels

    return SemanticKittiVoxels(log["root"])


@dataclass(frozen=True)
class _SceneReader:
    """Reads scenes of ready-made occupancy, which has no causal frames."""

    sequences: OccupancySequences

    def __call__(self, scene: str) -> SceneFrames:
        return list(self.sequences.frames(scene)), None


def import_store(sequences: OccupancySequences, path: Path, workers: Workers = 1,
                 shard: tuple[int, int] = (0, 1)) -> OccupancyStore | None:
    """Write ready-made occupancy to a store; arguments, result and errors as `fill_store`."""
    layout = StoreLayout(sequences.grid, None, sequences.name, sequences.splits())
    return fill_store(_SceneReader(sequences), layout, sequences.scenes(), path, workers, shard, "import")


def read_volume(path: Path, name: str, shape: tuple[int, ...], optional: bool = False) -> np.ndarray | None:
    """Array `name` [shape] of real numbers of an .npz file; None where it is optional and absent.

    Raises:
        InputError: a missing or broken file, an array of another shape, of something else than finite real numbers,
            or an entry larger than eight bytes a value.
    """
    if not path.is_file():
        raise InputError(f"{path}: missing file; unpack the data set again")
    try:
        with open_npz(path, WIDEST * math.prod(shape)) as arrays:
            if optional and name not in arrays.names:
                return None
            values = arrays.read(name, REAL, shape)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot read {name} ({error}); it is no file of this data set, or was not copied "
                         "whole") from None
    if not np.isfinite(values).all():
        raise InputError(f"{path}: {name} is not finite; copy the file again")
    return values
