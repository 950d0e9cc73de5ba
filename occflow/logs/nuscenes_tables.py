"""What the nuscenes devkit does not check of a log's tables: JSON, poses, splits, identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.geometry import pose_matrix

QUATERNION_TOLERANCE = 1e-2  # published annotations are rounded; a norm farther off is no rotation


@contextmanager
def broken_records(tables: Path) -> Iterator[None]:
    """Turns what a broken record raises inside into an InputError that names the table folder."""
    try:
        yield
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{tables}: a record is broken or refers to one that is missing ({reason}); "
                         "unpack the tables again") from None


def refuse_broken_json(tables: Path) -> None:
    """Name the table that is not JSON, which the devkit does not."""
    for path in sorted(tables.glob("*.json")):
        try:
            table = json.loads(path.read_bytes())
        except ValueError as error:
            raise InputError(f"{path}: broken JSON table ({error}); unpack the log again") from None
        if not isinstance(table, list) and path.name != "splits.json":
            raise InputError(f"{path}: a table must be a list of records; unpack the log again")


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


def fingerprint(tables: Path) -> str:
    """Eight characters that tell two logs of one version apart: the scene table and the sizes of the others."""
    digest = hashlib.sha256((tables / "scene.json").read_bytes())
    for path in sorted(tables.glob("*.json")):
        digest.update(f"{path.name}:{path.stat().st_size}".encode())
    return digest.hexdigest()[:8]


def read_splits(tables: Path, scenes: list[str]) -> dict[str, list[str]]:
    """Scene names by split of the table folder's splits.json; all "val" where it has none.

    Raises:
        InputError: a file that is not of that form, or that names a scene the log does not have.
    """
    path = tables / "splits.json"
    if not path.is_file():
        return {"train": [], "val": list(scenes)}
    try:
        splits = {str(split): [str(name) for name in names] for split, names in json.loads(path.read_text()).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{path}: not a dictionary of scene names by split ({error}); write it again") from None
    unknown = sorted({name for names in splits.values() for name in names} - set(scenes))
    if unknown:
        raise InputError(f"{path}: scene '{unknown[0]}' is not in scene.json; name scenes of this log only")
    return {"train": [], "val": [], **splits}
