"""The two binary files of a nuScenes sweep: points (.pcd.bin) and point classes (_lidarseg.bin)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.logs.scan_points import MAX_SCAN_BYTES

POINT_BYTES = 20  # float32 x, y, z, intensity, ring


def read_points(path: Path) -> np.ndarray:
    """Points [N, 3] float32, metres, sensor frame, of a .pcd.bin file; N > 0, non-finite ones included.

    Raises:
        InputError: a missing, empty, truncated or impossibly large file.
    """
    size = _size(path, "unpack the log's samples/ and sweeps/ folders again")
    if size == 0:
        raise InputError(f"{path}: empty scan; copy the file again or leave its scene out")
    if size > MAX_SCAN_BYTES:
        raise InputError(f"{path}: {size} bytes are more than a scan can have; copy the file again")
    if size % POINT_BYTES:
        raise InputError(f"{path}: truncated scan, {size} bytes are not a multiple of {POINT_BYTES}; "
                         "copy the file again")
    return np.fromfile(path, dtype="<f4").reshape(-1, POINT_BYTES // 4)[:, :3]


def read_labels(path: Path, num_points: int, class_of_index: np.ndarray) -> np.ndarray:
    """Occupancy classes [num_points] uint8 of a _lidarseg.bin file.

    Args:
        path: one uint8 lidarseg index a point.
        num_points: number of points of its scan.
        class_of_index: lookup [256], -1 where there is no such index.

    Raises:
        InputError: a missing file, one of another length than its scan, or an index without a category.
    """
    size = _size(path, "unpack the log's lidarseg/ folder again")
    if size != num_points:
        raise InputError(f"{path}: {size} labels for a scan of {num_points} points; "
                         "lidarseg and scan are not of the same release, copy both again")
    indices = np.fromfile(path, dtype=np.uint8)
    classes = class_of_index[indices]
    if (classes < 0).any():
        unknown = int(indices[classes < 0][0])
        raise InputError(f"{path}: lidarseg index {unknown} is not in category.json; copy the file again, "
                         "and use the category table that comes with nuScenes-lidarseg")
    return classes.astype(np.uint8)


def _size(path: Path, remedy: str) -> int:
    """Bytes of a file that has to be there."""
    if not path.is_file():
        raise InputError(f"{path}: missing file; {remedy}")
    return path.stat().st_size
