"""Files of one scan: BIN (rows of float32), NPY, PCD (ascii, binary, binary_compressed) and PLY."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from occflow.errors import InputError
from occflow.logs.cloud import Cloud, point_offsets_s, time_field
from occflow.logs.registry import needs_extra
from occflow.logs.scan_points import MAX_SCAN_BYTES, read_scan
from occflow.records import bounded, one_line

MAX_POINTS = 20_000_000  # of a scan; 128 beams in steps of 0.05 degrees with two returns have 1.8 million
BIN_COLUMNS = (4, 5)  # x, y, z, intensity; and ring or time
AXES = ("x", "y", "z")
PCD_NEEDS = {"FIELDS", "SIZE", "TYPE", "POINTS"}
PCD_KEYS = PCD_NEEDS | {"VERSION", "COUNT", "WIDTH", "HEIGHT", "VIEWPOINT"}
MOST_INFLATED = 100  # bytes of a byte: LZF makes at most 264 of 3, a number in text has 2 characters or more
HEADER_BYTES = 64 << 10  # of a PCD or PLY file; usual ones have some 300


def scan_suffix(path: Path) -> str | None:
    """The kind of file that a scan is, by its name: a key of FORMATS; None where it is none."""
    suffix = path.suffix.lower()  # nuScenes' .pcd.bin is a .bin
    return suffix if suffix in FORMATS else None


def read_cloud(path: Path, stamp_s: float, columns: int = 0) -> Cloud:
    """The points of a file, at least one, non-finite ones included; with their times where fields give them.

    Args:
        stamp_s: time of the scan, which the points' times are relative to.
        columns: of a BIN file; 0: what its length allows.

    Raises:
        InputError: a missing, empty, truncated or impossibly large file, or one of another kind than its name says.
    """
    if not path.is_file():
        raise InputError(f"{path}: missing file; copy the scans of the log again")
    size = path.stat().st_size
    if not 0 < size <= MAX_SCAN_BYTES:
        what = f"{size} bytes are more than a scan can have" if size else "empty scan"
        raise InputError(f"{path}: {what}; copy the file again or leave it out")
    suffix = scan_suffix(path)
    if suffix is None:
        raise InputError(f"{path}: no scan; known are {', '.join(FORMATS)}")
    if suffix == ".bin":
        return Cloud(read_scan(path, columns or bin_columns([path])))
    try:
        fields = FORMATS[suffix](path)
        return _cloud(fields, stamp_s)
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{path}: claims more points than there is memory for; copy the file again") from None
    except Exception as error:  # of whatever kind a library raises on bytes that are no file of its kind
        raise InputError(f"{path}: broken or truncated scan ({one_line(error)}); copy the file again") from None


def bin_columns(paths: list[Path]) -> int:
    """How many float32 a row of these BIN files has, by their lengths; where these allow both, by what stands behind
    the places: intensities, rings and times are not negative, places read for them are.

    Raises:
        InputError: a file of neither length, or files that may be either.
    """
    fitting = set(BIN_COLUMNS)
    for path in paths:
        fitting_here = {columns for columns in fitting if path.stat().st_size % (4 * columns) == 0}
        if not fitting_here:
            raise InputError(f"{path}: truncated scan, {path.stat().st_size} bytes are no rows of "
                             f"{' or '.join(map(str, sorted(fitting)))} float32; copy the file again")
        fitting = fitting_here
        if len(fitting) == 1 and len(paths) > 1:
            return fitting.pop()
    if len(fitting) > 1:
        values = np.fromfile(paths[0], "<f4")
        fitting = {columns for columns in fitting if (values.reshape(-1, columns)[:, 3:] >= 0).all()}
    if len(fitting) != 1:
        raise InputError(f"{paths[0]}: rows of 4 or of 5 float32, nothing tells which; set log.columns")
    return fitting.pop()


def _cloud(fields: Mapping[str, np.ndarray], stamp_s: float) -> Cloud:
    """A cloud of columns by name."""
    by_name = {name.lower(): values for name, values in fields.items()}
    missing = [axis for axis in AXES if axis not in by_name]
    if missing:
        raise ValueError(f"no field {missing[0]} among {', '.join(map(str, list(fields)[:8]))}")
    points = np.stack([np.asarray(by_name[axis]).astype(np.float32).reshape(-1) for axis in AXES], axis=1)
    if not len(points):
        raise ValueError("no point in it")
    times = time_field(fields)
    return Cloud(points, None if times is None else point_offsets_s(np.asarray(fields[times]).reshape(-1), stamp_s))


def _npy(path: Path) -> dict[str, np.ndarray]:
    array = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: a length that is claimed takes no memory
    if array.dtype.names:
        return {name: np.array(array[name]) for name in array.dtype.names}
    if array.ndim != 2 or array.shape[1] < 3 or array.dtype.kind not in "fiu":
        raise ValueError(f"shape {array.shape} of {array.dtype}, not [N, 3 or more] numbers")
    return dict(zip(AXES, np.array(array[:, :3]).T))


def _pcd(path: Path) -> dict[str, np.ndarray]:
    pypcd4 = needs_extra("pypcd4", "scans", f"{path}: reading PCD")
    with path.open("rb") as stream:
        head = stream.read(HEADER_BYTES)
    points = _checked_pcd(head, path.stat().st_size)
    values = np.atleast_1d(pypcd4.PointCloud.from_path(path).pc_data)
    if len(values) != points:
        raise ValueError(f"{len(values)} points, not {points}")
    return {name: values[name] for name in values.dtype.names}


def _checked_pcd(head: bytes, size: int) -> int:
    """How many points a PCD file of `size` bytes has, by its header.

    Raises:
        ValueError: it is none, or claims more than the file can hold.
    """
    before, line, after = re.split(rb"^(DATA[^\n]*)\n", head, maxsplit=1, flags=re.MULTILINE)
    entries = [text.split(None, 1) for text in before.decode().splitlines() if text.strip() and text[0] != "#"]
    claims = {entry[0]: entry[1] for entry in entries if len(entry) == 2}
    if len(claims) < len(entries) or not PCD_NEEDS <= set(claims) <= PCD_KEYS:
        raise ValueError("its header is not one of PCD")
    sizes, counts = claims["SIZE"].split(), claims.get("COUNT", "1 " * len(claims["SIZE"].split())).split()
    row = sum(bounded(int(one), 8, "size of a field", 1) * bounded(int(many), MAX_POINTS, "count of a field", 1)
              for one, many in zip(sizes, counts, strict=True))
    points, kind = bounded(int(claims["POINTS"]), MAX_POINTS, "number of points", 1), line.split()[1]
    bounded(row * points, size if kind == b"binary" else MOST_INFLATED * size, "bytes of its points", 1)
    if kind not in (b"ascii", b"binary"):  # compressed
        bounded(int.from_bytes(after[:4], "little"), size, "bytes when packed", 1)
        bounded(int.from_bytes(after[4:8], "little"), row * points, "bytes when unpacked", 1)
    return int(points)


def _ply(path: Path) -> dict[str, np.ndarray]:
    ply = needs_extra("trimesh.exchange.ply", "scans", f"{path}: reading PLY")
    with path.open("rb") as stream:
        head = stream.read(HEADER_BYTES)
        for line in head[:head.index(b"end_header")].decode().splitlines():
            if line.startswith("element "):
                bounded(int(line.split()[2]), MAX_POINTS, "number of points")
        stream.seek(0)
        values = ply.load_ply(stream, skip_materials=True)["metadata"]["_ply_raw"]["vertex"]["data"]
    if isinstance(values, Mapping):
        return dict(values)
    return {name: values[name] for name in values.dtype.names}


FORMATS: dict[str, Callable[[Path], dict[str, Any]]] = {".bin": lambda path: {}, ".npy": _npy, ".pcd": _pcd,
                                                        ".ply": _ply}
