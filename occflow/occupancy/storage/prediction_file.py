"""Forecasts in the field's own files: a folder of predictions, which is scored like a checkpoint (docs/scores.md), and
volumes of single instants in the layout of Occ3D.

FOLDER/SCENE/TOKEN.npz, one a window, named after the keyframe of its present: `semantics` [F, X, Y, Z] or, with K
samples, [K, F, X, Y, Z] uint8 (classes 0..16, 17 free), each frame in its target's grid.
FOLDER/SCENE/TOKEN/labels.npz, one a keyframe: `semantics` [X, Y, Z] likewise and, where it is known which voxels a
LiDAR could judge, `mask_lidar` [X, Y, Z] uint8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from occflow.atomic import npz_bytes
from occflow.errors import InputError
from occflow.grid import FREE, VoxelGrid
from occflow.npz_file import UNSIGNED, Header, open_npz
from occflow.occupancy.frame import Frames, OccupancyFrame
from occflow.records import file_name, one_line

KEY, LIDAR_MASK, LABELS_FILE = "semantics", "mask_lidar", "labels.npz"
MAX_SAMPLES = 64


def write_prediction(path: Path, grid: VoxelGrid, futures: Sequence[Frames]) -> None:
    """Write the one forecast of a window, or K samples of it, F frames each, into a folder that is being made."""
    volumes = np.stack([[frame.with_classes().dense(grid) for frame in frames] for frames in futures])
    _write(path, **{KEY: volumes if len(futures) > 1 else volumes[0]})


def read_prediction(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Samples [K, F, X, Y, Z] uint8 of one window; shape and type are checked before anything is unpacked.

    Args:
        shape: (F, X, Y, Z) that is wanted.

    Raises:
        InputError: missing, broken, of another shape or type, too large, or with an unknown class.
    """
    try:
        with open_npz(path, MAX_SAMPLES * math.prod(shape)) as arrays:
            header = arrays.header(KEY)
            _check(path, header, shape)
            volumes = arrays.read(KEY, UNSIGNED, header.shape)
    except FileNotFoundError:
        raise InputError(f"{path}: no prediction of this window; write one a window, SCENE/TOKEN.npz") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a usable prediction ({one_line(error)}); wanted is uint8 {shape}, "
                         f"written with np.savez_compressed(path, {KEY}=classes)") from None
    if volumes.size and volumes.max() > FREE:
        raise InputError(f"{path}: {KEY} holds class {volumes.max()}; classes are 0..{FREE}, {FREE} is free")
    return volumes.reshape(-1, *shape)


def window_file(folder: Path, scene: str, token: str) -> Path:
    """FOLDER/SCENE/TOKEN.npz, the file of a window whose present is keyframe TOKEN; it may not be there.

    Raises:
        InputError: a scene or token that cannot be the name of a file.
    """
    return _below(folder, scene, token, ".npz")


def labels_file(folder: Path, scene: str, token: str) -> Path:
    """FOLDER/SCENE/TOKEN/labels.npz, of keyframe TOKEN; it may not be there.

    Raises:
        InputError: a scene or token that cannot be the name of a folder.
    """
    return _below(folder, scene, token, "") / LABELS_FILE


def write_labels(path: Path, grid: VoxelGrid, frame: OccupancyFrame) -> None:
    """Write a frame as Occ3D does, with `mask_lidar` where it says which voxels were observed, likewise."""
    mask = {} if frame.observed is None else {LIDAR_MASK: frame.observed_mask(grid).astype(np.uint8)}
    _write(path, **{KEY: frame.with_classes().dense(grid)}, **mask)


def _write(path: Path, **arrays: np.ndarray) -> None:
    """Not atomically: there are a hundred thousand of them, and their folder is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(npz_bytes(**arrays))


def _check(path: Path, header: Header, shape: tuple[int, ...]) -> None:
    found = header.shape
    samples = found[0] if len(found) == 5 else 1
    if header.dtype != np.uint8 or found[-4:] != shape or len(found) not in (4, 5) or not 1 <= samples <= MAX_SAMPLES:
        raise InputError(f"{path}: {KEY} is {header.dtype} {one_line(str(found))}; wanted is uint8 {shape}, or up to "
                         f"{MAX_SAMPLES} samples of that")


def _below(folder: Path, scene: str, token: str, suffix: str) -> Path:
    try:
        return Path(folder) / file_name(scene) / file_name(f"{token}{suffix}")
    except ValueError as error:
        raise InputError(f"{folder}: no file can be there for a window of this store ({error}); rename it in the "
                         "log") from None
