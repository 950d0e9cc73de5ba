"""From the configuration group `log` to a driving log."""

from __future__ import annotations

from collections.abc import Mapping

from occflow.errors import InputError
from occflow.logs.protocol import DrivingLog


def open_log(log: Mapping) -> DrivingLog:
    """The log that a configuration names.

    Args:
        log: `kind` (nuscenes) and what that kind needs (root, version).

    Raises:
        InputError: an unknown kind, a missing key, or a log that cannot be read.
    """
    kind = log.get("kind") if isinstance(log, Mapping) else None
    if kind != "nuscenes":
        raise InputError(f"log.kind: no reader for {kind!r}; known: nuscenes (see configs/log/)")
    missing = [key for key in ("root", "version") if not log.get(key)]
    if missing:
        raise InputError(f"log.{missing[0]}: missing; set log.{missing[0]}=... (see configs/log/)")
    from occflow.logs.nuscenes import NuScenesLog  # each reader brings its own third parties

    return NuScenesLog(log["root"], log["version"])
