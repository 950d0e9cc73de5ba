"""From the configuration group `log` to a driving log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from occflow.errors import InputError
from occflow.logs.protocol import DrivingLog

if TYPE_CHECKING:
    from occflow.logs.kitti_scenes import KittiScenes

NEEDED_KEYS = {"nuscenes": ("root", "version"), "kitti_raw": ("root",), "kitti_tracking": ("root",),
               "semantickitti": ("root",), "recording": ("root",)}


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
    if kind == "recording":
        from occflow.logs.recording import RecordingLog

        return RecordingLog(log["root"])
    if kind == "kitti_raw":  # each reader brings its own third parties
        from occflow.logs.kitti_raw import KittiRawLog

        return _of_sound_scenes(KittiRawLog(log["root"]))
    if kind == "kitti_tracking":
        from occflow.logs.kitti_tracking import KittiTrackingLog

        return _of_sound_scenes(KittiTrackingLog(log["root"]))
    if kind == "semantickitti":
        from occflow.logs.semantickitti import SemanticKittiLog

        return _of_sound_scenes(SemanticKittiLog(log["root"]))
    from occflow.logs.nuscenes import NuScenesLog

    return NuScenesLog(log["root"], log["version"])


def _of_sound_scenes(log: KittiScenes) -> KittiScenes:
    log.leave_out_broken()
    return log
