"""What kind of driving log lies in a folder, guessed from its files."""

from __future__ import annotations

from pathlib import Path

from occflow.errors import InputError
from occflow.logs.open import NEEDED_KEYS
from occflow.records import one_line

TABLES = "v1.0-*/sample_data.json"  # of nuScenes, in a folder named after its version
SIGNS = {  # files and folders that only a log of the kind has, below its root
    "nuscenes": (TABLES,),
    "kitti_raw": ("velodyne_points", "*_sync/oxts", "*/*_sync/oxts"),
    "kitti_tracking": ("oxts/[0-9][0-9][0-9][0-9].txt",),
    "semantickitti": ("sequences/*/poses.txt",),
    "recording": ("recording.json",),
}


def described_log(root: str | Path, kind: str | None = None, version: str | None = None) -> dict:
    """A log as `open_log` takes it: kind, root, version; what is not told is guessed from what lies there.

    Raises:
        InputError: no such folder, a kind or version that is unknown, or one that cannot be told.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; name the folder of a driving log (see data/README.md)")
    if kind is None:
        kind = _guessed_kind(root)
    if kind == "nuscenes" and version is None:
        version = _only_version(root)
    return {"kind": kind, "root": root, "version": version}


def _guessed_kind(root: Path) -> str:
    found = [kind for kind, signs in SIGNS.items() if any(next(root.glob(sign), None) for sign in signs)]
    if len(found) != 1:
        what = f"looks like {' and '.join(found)}" if found else "nothing of a driving log that is known"
        raise InputError(f"{root}: {what}; name the kind, one of {', '.join(NEEDED_KEYS)}, or another folder "
                         "(see data/README.md)")
    return found[0]


def _only_version(root: Path) -> str:
    versions = sorted(path.parent.name for path in root.glob(TABLES))
    if len(versions) != 1:
        found = f"tables of {len(versions)} versions ({one_line(', '.join(versions))})" if versions else \
            f"no tables ({TABLES})"
        raise InputError(f"{root}: {found}; name the version, the table folder's name")
    return versions[0]
