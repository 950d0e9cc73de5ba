"""From the configuration group `log`, or a mere folder, to a driving log."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from occflow.errors import InputError
from occflow.logs.kitti_raw import KittiRawLog
from occflow.logs.kitti_tracking import KittiTrackingLog
from occflow.logs.nuscenes import NuScenesLog
from occflow.logs.protocol import DrivingLog
from occflow.logs.recording import RecordingLog
from occflow.logs.semantickitti import SemanticKittiLog
from occflow.records import one_line

DRIVES = {"kitti_raw": KittiRawLog, "kitti_tracking": KittiTrackingLog, "semantickitti": SemanticKittiLog}
NEEDED_KEYS = {"nuscenes": ("root", "version"), "recording": ("root",),
               **dict.fromkeys(DRIVES, ("root",))}
TABLES = "v1.0-*/sample_data.json"  # of nuScenes, in a folder named after its version
SIGNS = {  # files and folders that only a log of the kind has, below its root
    "nuscenes": (TABLES,),
    "kitti_raw": ("velodyne_points", "*_sync/oxts", "*/*_sync/oxts"),
    "kitti_tracking": ("oxts/[0-9][0-9][0-9][0-9].txt",),
    "semantickitti": ("sequences/*/poses.txt",),
    "recording": ("recording.json",),
}


def open_log(log: Mapping) -> DrivingLog:
    """The log that a configuration names; drives of KITTI that cannot be read are left out of it, with a warning each.

    Args:
        log: `kind` (one of NEEDED_KEYS) and what that kind needs (root, version).

    Raises:
        InputError: an unknown kind, a missing key, or a log of which nothing can be read.
    """
    kind = log.get("kind") if isinstance(log, Mapping) else None
    if kind not in NEEDED_KEYS:
        raise InputError(f"log.kind: no reader for {kind!r}; known: {', '.join(NEEDED_KEYS)} (see configs/log/)")
    missing = [key for key in NEEDED_KEYS[kind] if not log.get(key)]
    if missing:
        raise InputError(f"log.{missing[0]}: missing; set log.{missing[0]}=... (see configs/log/)")
    if kind == "nuscenes":
        return NuScenesLog(log["root"], log["version"])
    if kind == "recording":
        return RecordingLog(log["root"])
    drives = DRIVES[kind](log["root"])
    drives.leave_out_broken()
    return drives


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
