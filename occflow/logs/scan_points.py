"""A scene's sweeps one by one: the files of their points and labels, and which points are usable, with one counted
warning about those that are not."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from occflow.errors import InputError
from occflow.logs.protocol import Sweep

Record = TypeVar("Record")
MAX_SCAN_BYTES = 1 << 30  # a revolution of 128 beams has some 50 MB
FARTHEST_M = 1000.0  # no LiDAR of a car reaches farther: such a coordinate is a fault


def read_scan(path: Path, columns: int) -> np.ndarray:
    """Points [N, 3] float32, metres, sensor frame; N > 0, non-finite ones included.

    Args:
        path: rows of `columns` little-endian float32, x, y and z first.

    Raises:
        InputError: a missing, empty, truncated or impossibly large file.
    """
    size = _size(path)
    if size == 0:
        raise InputError(f"{path}: empty scan; copy the file again or leave its scene out")
    if size > MAX_SCAN_BYTES:
        raise InputError(f"{path}: {size} bytes are more than a scan can have; copy the file again")
    if size % (4 * columns):
        raise InputError(f"{path}: truncated scan, {size} bytes are not a multiple of {4 * columns}; copy the file "
                         "again")
    return np.fromfile(path, dtype="<f4").reshape(-1, columns)[:, :3]


def read_classes(path: Path, num_points: int, dtype: str, class_of: np.ndarray, defined: str) \
        -> tuple[np.ndarray, np.ndarray]:
    """Occupancy classes [num_points] uint8 of a scan's points, and the labels in the file that they come from.

    Args:
        path: one label a point, of numpy type `dtype`.
        class_of: lookup [2^b] from the low b bits of a label, -1 where there is no such label.
        defined: what says which labels there are, for the message.

    Raises:
        InputError: a missing file, one of another length than its scan, or an unknown label.
    """
    count = _size(path) / np.dtype(dtype).itemsize
    if count != num_points:
        raise InputError(f"{path}: {count:g} labels for a scan of {num_points} points; scan and labels are not of one "
                         "release, copy both again")
    labels = np.fromfile(path, dtype=dtype) & (len(class_of) - 1)
    classes = class_of[labels]
    if (classes < 0).any():
        raise InputError(f"{path}: label index {labels[classes < 0][0]} is not in {defined}; copy the file again")
    return classes.astype(np.uint8), labels


def _size(path: Path) -> int:
    """Bytes of a file that has to be there."""
    if not path.is_file():
        raise InputError(f"{path}: missing file; unpack the scans and labels of the log again")
    return path.stat().st_size


class PointFilter:
    """Drops the non-finite and impossibly far points of a scene's sweeps and counts them."""

    def __init__(self, scene: str) -> None:
        self.scene, self._dropped, self._missing, self._unlabelled = scene, {}, [], []

    def kept(self, sweep: Sweep) -> Sweep:
        """The sweep with its usable points only.

        Raises:
            InputError: no point is usable.
        """
        points = sweep.points_sensor
        if len(points) and -FARTHEST_M <= points.min() and points.max() <= FARTHEST_M:  # which nan is not
            return sweep
        usable = np.isfinite(points).all(axis=1)
        usable[usable] = (np.abs(points[usable]) <= FARTHEST_M).all(axis=1)
        if usable.all():
            return sweep
        if not usable.any():
            raise InputError(f"{sweep.path}: empty scan, no point of it is finite and within {FARTHEST_M:.0f} m; "
                             "copy the file again")
        self._dropped[sweep.path] = int((~usable).sum())
        labels, moving = (None if part is None else part[usable] for part in (sweep.labels, sweep.moving))
        return replace(sweep, points_sensor=sweep.points_sensor[usable], labels=labels, moving=moving)

    def missing(self, path: Path) -> None:
        """Count a sweep between keyframes whose file is not there."""
        self._missing.append(path)

    def unlabelled(self, path: Path) -> None:
        """Count a sweep that has no labels where it should."""
        self._unlabelled.append(path)

    def warn(self) -> None:
        """One warning for the points that were dropped, one for the sweeps that were skipped or lack labels."""
        if self._dropped:
            warnings.warn(f"scene {self.scene}: dropped {sum(self._dropped.values())} non-finite or impossibly far "
                          f"points in {len(self._dropped)} sweeps, first in {next(iter(self._dropped))}", stacklevel=3)
        if self._missing:
            warnings.warn(f"scene {self.scene}: skipped {len(self._missing)} sweeps whose file is missing, first "
                          f"{self._missing[0]}", stacklevel=3)
        if self._unlabelled:
            warnings.warn(f"scene {self.scene}: {len(self._unlabelled)} sweeps without labels beside others that have "
                          f"them, first {self._unlabelled[0]}", stacklevel=3)


class SweepReader(Generic[Record]):
    """Iterates over the sweeps of a scene; what cannot be read raises in its turn, and the next turn goes on after it.

    So a stream outlives a truncated scan, while a build, which lets the error through, refuses the log.

    Args:
        records: one a sweep, in the order of time.
        read: the sweep of a record; None where its file is missing and may be, counted in the filter.
    """

    def __init__(self, scene: str, records: Iterable[Record],
                 read: Callable[[Record, PointFilter], Sweep | None]) -> None:
        self._records, self._read, self._points = iter(records), read, PointFilter(scene)

    def __iter__(self) -> SweepReader[Record]:
        return self

    def __next__(self) -> Sweep:
        for record in self._records:
            sweep = self._read(record, self._points)
            if sweep is not None:
                return self._points.kept(sweep)
        self._points.warn()
        self._points = PointFilter(self._points.scene)  # warned once, however often it is asked again
        raise StopIteration
