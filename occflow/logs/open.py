"""From the configuration group `log`, or a mere folder, to a driving log."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from occflow.errors import InputError
from occflow.logs.protocol import DrivingLog
from occflow.logs.registry import READERS, register_all
from occflow.records import one_line

register_all("occflow.logs")  # one reader a file
TABLES = READERS["nuscenes"].signs[0]
NO_LOG = "store"  # the kind of a configuration that has a store alone
ANY_SCANS = "folder"  # the kind that a log is whose scans have no sign of another


def open_log(log: Mapping) -> DrivingLog:
    """The log that a configuration names; of logs whose scenes are recordings of their own, those that cannot be read
    are left out, with a warning each.

    Args:
        log: `kind` (one of READERS) and what its class takes (root, version, ...).

    Raises:
        InputError: an unknown kind, a missing key, or a log of which nothing can be read.
    """
    kind = log.get("kind") if isinstance(log, Mapping) else None
    if kind == NO_LOG:
        raise InputError("log=store: names no log, and its sweeps are wanted here; name it with log=KIND log.root=PATH")
    if kind not in READERS:
        raise InputError(f"log.kind: no reader for {kind!r}; known: {', '.join(sorted(READERS))} (see configs/log/)")
    opened = READERS[kind].open(log)
    if hasattr(opened, "leave_out_broken"):
        opened.leave_out_broken()
    return opened


def described_log(root: str | Path, kind: str | None = None, version: str | None = None) -> dict:
    """A log as `open_log` takes it: kind, root, version; what is not told is guessed from what lies there.

    Raises:
        InputError: no such folder, a kind or version that is unknown, or one that cannot be told.
    """
    root = Path(root).expanduser()
    if not root.exists():
        raise InputError(f"{root}: no such folder; name the folder of a driving log (see data/README.md)")
    if kind is None:
        kind = _guessed_kind(root)
    if kind == "nuscenes" and version is None:
        version = _only_version(root)
    return {"kind": kind, "root": root, "version": version}


def _guessed_kind(root: Path) -> str:
    signed = [kind for kind, reader in READERS.items() if reader.signed(root)]
    found = [kind for kind in signed if kind != ANY_SCANS] or signed
    if len(found) != 1:
        what = f"looks like {' and '.join(found)}" if found else "nothing of a driving log that is known"
        raise InputError(f"{root}: {what}; name the kind, one of {', '.join(sorted(READERS))}, or another folder "
                         "(see data/README.md)")
    return found[0]


def _only_version(root: Path) -> str:
    versions = sorted(path.parent.name for path in root.glob(TABLES))
    if len(versions) != 1:
        found = f"tables of {len(versions)} versions ({one_line(', '.join(versions))})" if versions else \
            f"no tables ({TABLES})"
        raise InputError(f"{root}: {found}; name the version, the table folder's name")
    return versions[0]
