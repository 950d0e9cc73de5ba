"""The text files of driving logs: tables of numbers, named lines, poses."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.records import one_line

MAX_TEXT_BYTES = 64 << 20  # poses of the longest sequence of KITTI have 1 MB


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


def finite_rows(path: Path, columns: tuple[int, ...]) -> np.ndarray:
    """Numbers [rows, columns] float64 of a text file, separated by spaces or commas; lines from # on are comments.

    Args:
        columns: of which there may be so many.

    Raises:
        InputError: a missing file, no row, other columns, or a value that is not finite.
    """
    lines = (line.partition("#")[0].replace(",", " ").split() for line in read_text(path).splitlines())
    wanted = f"needs rows of {' or '.join(map(str, columns))} finite numbers"
    try:
        rows = np.array([[float(word) for word in words] for words in lines if words])
    except ValueError as error:
        raise InputError(f"{path}: not a table of numbers ({one_line(error)}), {wanted}; unpack the drive again"
                         ) from None
    if rows.ndim != 2 or rows.shape[1] not in columns:
        raise InputError(f"{path}: {wanted}; unpack the drive again")
    if not np.isfinite(rows).all():
        row = np.flatnonzero(~np.isfinite(rows).all(axis=1))[0] + 1
        raise InputError(f"{path}: {wanted}, row {row} has others; unpack the drive again")
    return rows


def read_rows(path: Path, columns: int) -> np.ndarray:
    """As `finite_rows`, of one number of columns."""
    return finite_rows(path, (columns,))


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


def rigid(rows: np.ndarray, path: Path) -> np.ndarray:
    """Pose [4, 4] of its upper three rows [3, 4] or [12], its rotation cleaned of rounding.

    Raises:
        InputError: a matrix that is no rotation.
    """
    pose = np.eye(4)
    pose[:3] = np.reshape(rows, (3, 4))
    left, scale, right = np.linalg.svd(pose[:3, :3])
    if np.abs(scale - 1).max() > 1e-2 or np.linalg.det(left @ right) < 0:
        raise InputError(f"{path}: a pose is not rigid; unpack the drive again")
    pose[:3, :3] = left @ right
    return pose
