"""The record of a run: wall seconds of each step, versions, machine, memory."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from occflow import __version__
from occflow.atomic import write_json
from occflow.errors import InputError
from occflow.records import read_json


def read_seconds(run_dir: Path) -> dict[str, float]:
    """Wall seconds by step that have been recorded in a run directory; empty where none were."""
    try:
        return read_json(Path(run_dir) / "seconds.json", dict[str, float])
    except InputError:  # a record of seconds is nothing to stop a run for
        return {}


def record_seconds(run_dir: Path, step: str, seconds: float) -> None:
    """Note the wall seconds of a step in RUN_DIR/seconds.json."""
    write_json(Path(run_dir) / "seconds.json", {**read_seconds(run_dir), step: round(seconds, 2)})


@contextmanager
def timed_step(run_dir: Path, step: str, earlier_s: float = 0.0) -> Iterator[None]:
    """Record the wall seconds of the block, if it ends well, and of what was done of it `earlier_s`, before it was
    interrupted."""
    start = time.perf_counter()
    yield
    record_seconds(run_dir, step, earlier_s + time.perf_counter() - start)


def versions() -> dict[str, str | None]:
    """Versions of occflow and of what its figures depend on; null where unknown."""
    found: dict[str, str | None] = {"occflow": __version__, "python": platform.python_version()}
    for package in ("torch", "spconv-cu120", "spconv-cu126", "numpy", "embreex", "open3d", "nuscenes-devkit"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    found["commit"] = git_commit()
    return found


def git_commit() -> str | None:
    """The commit of the source tree, with "+" where it has changes; None outside a repository."""
    root = Path(__file__).resolve().parents[1]
    if not (root / "pyproject.toml").is_file():  # installed: a repository around it is another's
        return None
    try:
        def git(*words: str) -> str:
            return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True,
                                  timeout=10).stdout.strip()
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def machine() -> dict[str, object]:
    """Processor, cores, memory and GPU (null without one) of this machine."""
    import torch

    return {"cpu": cpu_model(), "cores": os.cpu_count(), "memory_gib": memory_gib(),
            "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None}


def cpu_model() -> str:
    return proc_field("cpuinfo", "model name") or platform.processor() or platform.machine()


def memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return None


def process_mib(field: str = "VmRSS") -> float:
    """Memory of this process by its name in proc(5): "VmRSS" is resident, "VmHWM" its peak; nan where the system does
    not say."""
    found = proc_field("self/status", field)
    return int(found.split()[0]) / 1024 if found else float("nan")


def proc_field(file: str, field: str) -> str | None:
    """The first value of a field in a file of /proc; None where there is no such file or field."""
    try:
        lines = (Path("/proc") / file).read_text().splitlines()
    except OSError:
        return None
    return next((value.strip() for name, _, value in (line.partition(":") for line in lines) if name.strip() == field),
                None)
