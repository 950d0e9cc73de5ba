"""What the readers of KITTI's scans share: scans, calibration lines, the place of the scanner, 2 Hz keyframes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.logs.scan_points import MAX_SCAN_BYTES
from occflow.records import one_line

MAX_TEXT_BYTES = 64 << 20  # poses of the longest sequence have 1 MB
POINT_BYTES = 16  # float32 x, y, z, reflectance
VELODYNE_HEIGHT_M = 1.73  # above the road, by KITTI's setup page
KEYFRAME_PERIOD_S = 0.5
EGO_FROM_VELODYNE = np.eye(4)  # same axes (x forward, y left, z up); our ego origin is on the road below the scanner
EGO_FROM_VELODYNE[2, 3] = VELODYNE_HEIGHT_M


def read_scan(path: Path) -> np.ndarray:
    """Points [N, 3] float32, metres, Velodyne frame; N > 0, non-finite ones included.

    Raises:
        InputError: a missing, empty, truncated or impossibly large file.
    """
    size = path.stat().st_size if path.is_file() else 0
    if size > MAX_SCAN_BYTES:
        raise InputError(f"{path}: {size} bytes are more than a scan can have; copy the file again")
    if size == 0 or size % POINT_BYTES:
        reason = "missing or empty scan" if size == 0 else f"truncated scan, {size} bytes are no multiple of 16"
        raise InputError(f"{path}: {reason}; copy the file again")
    return np.fromfile(path, dtype="<f4").reshape(-1, 4)[:, :3]


def read_text(path: Path) -> str:
    """The contents of a text file.

    Raises:
        InputError: a missing or impossibly large file, or one that is no text.
    """
    if not path.is_file():
        raise InputError(f"{path}: missing file; unpack the drive and its calibration again")
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise InputError(f"{path}: {path.stat().st_size} bytes are more than a drive's text can have; unpack it again")
    try:
        return path.read_text()
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file; unpack the drive and its calibration again") from None


def read_rows(path: Path, columns: int) -> np.ndarray:
    """Numbers [rows, columns] float64 of a text file.

    Raises:
        InputError: a missing file, other columns, or a value that is not finite.
    """
    text = read_text(path)
    try:
        rows = np.array([[float(word) for word in line.split()] for line in text.splitlines() if line.strip()])
    except ValueError as error:
        raise InputError(f"{path}: not a table of numbers ({one_line(error)}); unpack the drive again") from None
    if rows.ndim != 2 or rows.shape[1] != columns or not np.isfinite(rows).all():
        raise InputError(f"{path}: needs rows of {columns} finite numbers; unpack the drive again")
    return rows


def read_calibration(path: Path, names: dict[str, int]) -> list[np.ndarray]:
    """The numbers of lines `NAME: v v v` or `NAME v v v`, by name and number of values; `A|B` is either name.

    Raises:
        InputError: a missing file or line.
    """
    entries = [line.replace(":", " ", 1).split(None, 1) for line in read_text(path).splitlines()]
    lines = dict(entry for entry in entries if len(entry) == 2)
    try:
        found = [next((lines[name] for name in either.split("|") if name in lines), None) for either in names]
        if None in found:
            raise ValueError(list(names)[found.index(None)].replace("|", " or "))
        values = [np.array(line.split(), dtype=np.float64) for line in found]
    except ValueError as error:
        raise InputError(f"{path}: no usable line {one_line(error)}; unpack the calibration again") from None
    if any(len(value) != size or not np.isfinite(value).all() for value, size in zip(values, names.values())):
        raise InputError(f"{path}: lines {', '.join(names)} are incomplete; unpack the calibration again")
    return values


def rigid(rotation: np.ndarray, translation_m: np.ndarray, path: Path) -> np.ndarray:
    """Pose [4, 4] of nine and three numbers, its rotation cleaned of rounding.

    Raises:
        InputError: a matrix that is no rotation.
    """
    left, scale, right = np.linalg.svd(np.reshape(rotation, (3, 3)))
    if np.abs(scale - 1).max() > 1e-2 or np.linalg.det(left @ right) < 0:
        raise InputError(f"{path}: a pose is not rigid; unpack the drive again")
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = left @ right, translation_m
    return pose


def refuse_scans_beyond(folder: Path, count: int, what: str) -> None:
    """Raises InputError where a scan of a folder has a number of `count` or more: nothing says when and where it was.

    Args:
        what: the things that were counted, for the message.
    """
    beyond = [path for path in sorted(folder.glob("*.bin")) if not path.stem.isdecimal() or int(path.stem) >= count]
    if beyond:
        raise InputError(f"{beyond[0]}: no such scan among the {count} {what}; unpack the drive again, or remove the "
                         "file")


def keyframe_numbers(stamps_s: np.ndarray) -> list[int]:
    """Positions of the stamps [N] nearest to a 2 Hz raster from the first on, each once, none farther than 0.25 s."""
    before = np.floor((stamps_s - stamps_s[0]) / KEYFRAME_PERIOD_S)
    ticks = stamps_s[0] + KEYFRAME_PERIOD_S * np.unique([before, before + 1])  # of the raster, those beside a stamp
    ticks = ticks[ticks < stamps_s[-1] + KEYFRAME_PERIOD_S / 2]
    after = np.searchsorted(stamps_s, ticks).clip(1, max(len(stamps_s) - 1, 1))
    last, following = np.abs(stamps_s[after - 1] - ticks), np.abs(stamps_s[after % len(stamps_s)] - ticks)
    nearest = np.where(last <= following, after - 1, after)
    near = np.minimum(last, following) <= KEYFRAME_PERIOD_S / 2
    return sorted({int(number) for number in nearest[near]})
