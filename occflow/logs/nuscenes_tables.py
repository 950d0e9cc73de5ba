"""What the nuscenes devkit does not check of a log's tables: sizes, JSON, poses, splits."""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.geometry import pose_matrix
from occflow.records import MAX_RECORD_BYTES, bounded, conform, one_line, parse_json

MAX_TABLE_BYTES = 4 << 30  # the largest of nuScenes has some 1.2 GB
QUATERNION_TOLERANCE = 1e-2  # published annotations are rounded; a norm farther off is no rotation


@contextmanager
def broken_records(tables: Path) -> Iterator[None]:
    """Turns what a broken record raises inside into an InputError that names the table folder."""
    try:
        yield
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, OverflowError, RecursionError) as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        raise InputError(f"{tables}: a record is broken or refers to one that is missing ({reason}); "
                         "unpack the tables again") from None


def refuse_broken_json(tables: Path) -> None:
    """Name the table that is not JSON, which the devkit does not."""
    for path in sorted(tables.glob("*.json")):
        if path.name != "splits.json":
            read_table(tables, path.stem)


def refuse_large_tables(tables: Path) -> None:
    """Raises ValueError where a table is larger than any can be: the devkit reads all of it."""
    for path in sorted(tables.glob("*.json")):
        bounded(path.stat().st_size, MAX_TABLE_BYTES, f"bytes of {path.name}")


def record_pose(record: dict, table: str) -> np.ndarray:
    """Pose [4, 4] of a record's `translation` (metres) and `rotation` (w, x, y, z).

    Args:
        record: of table ego_pose, calibrated_sensor or sample_annotation.
        table: its path, for the message.

    Raises:
        InputError: a pose that is not finite or not rigid.
    """
    translation = np.asarray(record["translation"], dtype=np.float64)
    rotation = np.asarray(record["rotation"], dtype=np.float64)
    usable = translation.shape == (3,) and rotation.shape == (4,) and np.isfinite([*translation, *rotation]).all()
    if not usable or abs(np.linalg.norm(rotation) - 1) > QUATERNION_TOLERANCE:
        raise InputError(f"{table}: record {record['token']}: pose is not finite and rigid "
                         f"(translation {record['translation']}, rotation {record['rotation']}); "
                         "unpack the tables again or leave the scene out")
    return pose_matrix(translation, rotation)


def record_size(record: dict, table: str) -> np.ndarray:
    """Length, width, height [3], metres, of a record of sample_annotation; nuScenes' order is width, length, height.

    Raises:
        InputError: a size that is not three positive numbers.
    """
    width, length, height = record["size"]
    size_lwh_m = np.array([length, width, height], dtype=np.float64)
    if not (np.isfinite(size_lwh_m) & (size_lwh_m > 0)).all():
        raise InputError(f"{table}: record {record['token']}: size {record['size']} is not positive; "
                         "unpack the tables again")
    return size_lwh_m


def refuse_boxes_without_track(tables: Path, boxes: list[dict], tracks: Container[str]) -> None:
    """Name the boxes, records of sample_annotation, that belong to no object of instance.json: the devkit does not.

    Raises:
        InputError: there are some.
    """
    nameless = [record["token"] for record in boxes if record["instance_token"] not in tracks]
    if nameless:
        raise InputError(f"{tables / 'sample_annotation.json'}: {len(nameless)} boxes without a track in "
                         f"instance.json, first record {nameless[0]}; unpack the tables again, or remove the boxes")


def read_table(tables: Path, name: str) -> list[dict]:
    """The records of a table.

    Raises:
        InputError: a missing file, or one that is no JSON list.
    """
    path = tables / f"{name}.json"
    if not path.is_file():
        raise InputError(f"{path}: missing table; point log.root and log.version at nuScenes' tables")
    try:
        bounded(path.stat().st_size, MAX_TABLE_BYTES, "bytes of the table")
        table = parse_json(path.read_bytes(), MAX_TABLE_BYTES)
    except ValueError as error:
        raise InputError(f"{path}: broken JSON table ({one_line(error)}); unpack the log again") from None
    if not isinstance(table, list):
        raise InputError(f"{path}: a table must be a list of records; unpack the log again")
    return table


def read_splits(tables: Path, scenes: list[str]) -> dict[str, list[str]]:
    """Scene names by split of the table folder's splits.json; all "val" where it has none.

    Raises:
        InputError: a file that is not of that form, or that names a scene the log does not have.
    """
    path = tables / "splits.json"
    if not path.is_file():
        return {"train": [], "val": list(scenes)}
    try:
        bounded(path.stat().st_size, MAX_RECORD_BYTES, "bytes of the splits")
        splits = conform(parse_json(path.read_bytes()), dict[str, list[str]])
    except ValueError as error:
        raise InputError(f"{path}: not a dictionary of scene names by split ({error}); write it again") from None
    unknown = sorted({name for names in splits.values() for name in names} - set(scenes))
    if unknown:
        raise InputError(f"{path}: scene '{unknown[0]}' is not in scene.json; name scenes of this log only")
    return {"train": [], "val": [], **splits}
