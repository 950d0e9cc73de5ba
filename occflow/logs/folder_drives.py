"""Which folders are drives of scans, what lies beside the scans, and when these were taken by names and texts."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.logs.cloud_files import FORMATS, scan_suffix
from occflow.logs.texts import read_text
from occflow.records import one_line

POSE_FILES = ("poses.txt", "poses.tum", "trajectory.txt", "trajectory.tum", "traj.txt", "odometry.txt", "odom.txt",
              "poses.csv", "groundtruth.txt")
TIME_FILES = ("times.txt", "timestamps.txt")
ESTIMATED = "odometry"  # in place of a file: poses are estimated although there are some
CLOCK_UNITS = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3))  # numbers at least so large are not seconds since 1970
UNITS = {"seconds": 1.0, "milliseconds": 1e-3, "microseconds": 1e-6, "nanoseconds": 1e-9}
SCAN_EVERY_S = (0.02, 1.0)  # of a spinning LiDAR, 50 to 1 Hz: in one of UNITS at most scans are so far apart
SINCE_1970_S = 1e8  # smaller numbers in the names of files count them
STAMP = re.compile(r"(\d+)[_.\-](\d{6,9})$|(\d+(?:\.\d+)?)$")  # at the end of a name


@dataclass(frozen=True)
class Drive:
    """A folder of scans: their paths in order, and what stands in it beside them."""

    folder: Path
    scans: tuple[Path, ...]
    poses: Path | None
    times: Path | None


def find_drives(root: Path, poses: str = "", times: str = "") -> list[Drive]:
    """The drives in a folder: itself where it or one folder in it holds scans and there is but one, else its folders.

    Raises:
        InputError: no scan anywhere, or a named file that is not there.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; point log.root at a folder of scans (see docs/readers.md)")
    own = _drive(root, poses, times)
    found = [own] if own else [drive for folder in sorted(root.iterdir()) if folder.is_dir()
                               for drive in [_drive(folder, poses, times)] if drive]
    if not found:
        raise InputError(f"{root}: no scans in it ({', '.join(FORMATS)}), nor in a folder in it; point log.root at a "
                         "folder of scans (see docs/readers.md)")
    return found


def _drive(folder: Path, poses: str, times: str) -> Drive | None:
    """A folder as a drive; None where it is none: no scans in it or in a folder of its own, or in several of these."""
    scans = _scans_in(folder)
    if not scans:
        folders = [inner for inner in sorted(folder.iterdir()) if inner.is_dir()]
        within = [found for found in map(_scans_in, folders) if found]
        beside = any((folder / name).is_file() for name in (*POSE_FILES, *TIME_FILES))
        if len(within) != 1 and not (within and beside):
            return None
        if len(within) > 1:
            names = ", ".join(found[0].parent.name for found in within)
            raise InputError(f"{folder}: scans in several folders ({names}); leave one, or point log.root at one")
        scans = within[0]
    kinds = sorted({scan_suffix(path) for path in scans})
    if len(kinds) > 1:
        raise InputError(f"{scans[0].parent}: scans of several kinds ({', '.join(kinds)}); leave those of one")
    return Drive(folder, scans, None if poses == ESTIMATED else _beside(folder, scans, poses, POSE_FILES, "log.poses"),
                 _beside(folder, scans, times, TIME_FILES, "log.times"))


def _scans_in(folder: Path) -> tuple[Path, ...]:
    """The scans of a folder, in the order of the numbers in their names."""
    found = [path for path in folder.iterdir()
             if scan_suffix(path) and not path.name.startswith(".") and path.is_file()]
    return tuple(sorted(found, key=lambda path: ([int(part) for part in re.findall(r"\d+", _stem(path))], path.name)))


def _beside(folder: Path, scans: tuple[Path, ...], named: str, usual: Sequence[str], key: str) -> Path | None:
    """The file of that name in a drive, or the first usual one that is there."""
    for name in [named] if named else usual:
        for within in (folder, scans[0].parent):
            if (within / name).is_file():
                return within / name
    if named:
        raise InputError(f"{folder / named}: missing file; {key} names it, leave it empty to do without")
    return None


def _stem(path: Path) -> str:
    """A scan's name without .bin or .pcd.bin."""
    return path.name.partition(".pcd.bin")[0] if path.name.endswith(".pcd.bin") else path.stem


def rows_of_scans(drive: Drive, rows: int, table: Path) -> list[Path]:
    """The scans of a table's rows: all in order where there are as many, else those whose names count the rows from 0
    on, of which some may be missing.

    Raises:
        InputError: neither.
    """
    if rows == len(drive.scans):
        return list(drive.scans)
    stems = [_stem(path) for path in drive.scans]
    if rows < len(stems) or not all(stem.isdecimal() for stem in stems) or int(stems[-1]) >= rows:
        raise InputError(f"{table}: {rows} rows for {len(stems)} scans; it needs one a scan")
    first = drive.scans[0]
    return [first.with_name(first.name.replace(stems[0], f"{number:0{len(stems[0])}d}", 1)) for number in range(rows)]


def stamps_of_names(paths: Sequence[Path]) -> np.ndarray | None:
    """Times [N], seconds, that the names of scans end in: 1557539924.5, 1557539924_500000000, whole nanoseconds,
    microseconds or milliseconds since 1970; None where names only count."""
    stamps_s, whole = [], True
    for path in paths:
        match = STAMP.search(_stem(path))
        if match is None:
            return None
        if match[1]:
            stamps_s.append(float(match[1]) + float(f"0.{match[2]}"))
            whole = False
        else:
            value = float(match[3])
            if "." not in match[3] and value < SINCE_1970_S:
                return None
            stamps_s.append(value)
            whole &= "." not in match[3]
    return in_seconds(np.array(stamps_s), str(paths[0].parent)) if whole else np.array(stamps_s)


def clock_unit_s(time: float) -> float:
    """The unit of a time, by its size: seconds, or of those since 1970 a thousandth, millionth or billionth."""
    return next((unit_s for least, unit_s in CLOCK_UNITS if abs(time) >= least), 1.0)


def in_seconds(times: np.ndarray, what: str) -> np.ndarray:
    """Times [N] of scans, in seconds: by their size, but for those of a clock of their own (since a sensor's start)
    that are so far apart as scans are in one other unit; this is told with a warning that begins with `what`."""
    usual = clock_unit_s(times[0])
    apart = float(np.median(np.abs(np.diff(times)))) if len(times) > 1 else 0.0
    least_s, most_s = SCAN_EVERY_S
    fitting = [name for name, unit_s in UNITS.items() if least_s <= apart * unit_s <= most_s]
    if least_s <= apart * usual <= 4 * most_s or len(fitting) != 1:
        return times * usual
    warnings.warn(f"{what}: its times are taken for {fitting[0]}, since scans come {apart:g} apart", stacklevel=4)
    return times * UNITS[fitting[0]]


def read_times(path: Path) -> np.ndarray:
    """Times [N], seconds, of a file with one a line: seconds, whole nano-, micro- or milliseconds since 1970, or a date
    and time such as 2011-09-26 13:02:25.964389445.

    Raises:
        InputError: a missing file, or a line that is no time.
    """
    lines = [line.partition("#")[0].strip() for line in read_text(path).splitlines()]
    lines = [line for line in lines if line]
    if not lines:
        raise InputError(f"{path}: no time in it")
    try:
        values = np.array([_time(line) for line in lines])
        if not np.isfinite(values).all():
            raise ValueError(f"time {np.flatnonzero(~np.isfinite(values))[0] + 1} of {len(values)} is not finite")
    except ValueError as error:
        raise InputError(f"{path}: not a list of times ({one_line(error)}); it needs one a line, in seconds") from None
    return in_seconds(values, str(path))


def _time(line: str) -> float:
    try:
        return float(line.split()[-1].rstrip(","))
    except ValueError:
        return datetime.fromisoformat(f"{line[:26]}+00:00").timestamp()
