"""What a stream leaves in its folder: the report, the last forecast, an animation; one that fails leaves the others."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from occflow.atomic import atomic_file, write_json
from occflow.errors import InputError, spelt_out
from occflow.records import one_line
from occflow.run_record import machine, versions
from occflow.stream.animation import animate
from occflow.stream.console import Console
from occflow.stream.latency import latency_markdown
from occflow.viewing.headless import PICTURES_LACK, open3d_installed

if TYPE_CHECKING:
    from occflow.stream.jobs import Demo


def write_report(run_dir: Path, demo: Demo, settings: Mapping,
                 ended_by: signal.Signals | None) -> tuple[str, list[str]]:
    """Write report.json and report.md; returns the table, and the names of the files that could not be written."""
    summary, counts = demo.record.summary(), dict(demo.notices.counts)
    noticed = "; ".join(f"{count} x {kind}" for kind, count in counts.items()) or "nothing"
    table = f"{latency_markdown(summary)}\n\nNoticed: {noticed}."
    shown = ", ".join(f"{key} {settings[key]}" for key in ("pace", "rate_hz", "labels", "reuse", "loops"))

    def write_record(path: Path) -> None:
        write_json(path, {
            "log": demo.log_name, "scenes": demo.scenes, "interrupted": ended_by is not None,
            "signal": ended_by and ended_by.name, **summary, "notices": counts,
            "last_notices": list(demo.notices.last), "settings": dict(settings), "machine": machine(),
            "versions": versions()})

    def write_table(path: Path) -> None:
        with atomic_file(path) as partial:
            text = f"# Stream of {spelt_out(demo.log_name)}\n\nSettings: {shown}.\n\n{table}\n"
            partial.write_text(text, encoding="utf-8")

    return table, _lost(run_dir, {"report.json": write_record, "report.md": write_table})


def write_pictures(run_dir: Path, demo: Demo, config: Mapping, draw: bool) -> list[str]:
    """Write the last forecast and, where wanted and `draw` is true, the animation; the files that could not be.

    Without Open3D there is no animation, and one line says so: a stream on a car needs none.
    """
    writers = {"forecast.npz": lambda path: demo.last.save(path, demo.grid)}
    wanted = draw and demo.window is None and config["stream"]["gif_forecasts"] > 0
    if wanted and not open3d_installed():
        Console().write(f"no {run_dir / 'stream.gif'}: {PICTURES_LACK}")
    elif wanted:
        writers["stream.gif"] = lambda path: animate(demo.last.kept(), path, demo.grid, config["view"])
    return _lost(run_dir, writers, told=True)


def _lost(run_dir: Path, writers: Mapping[str, Callable[[Path], Path | None]], told: bool = False) -> list[str]:
    """Write file after file, whatever becomes of the others; the names of those that failed, each told with its reason.

    Args:
        told: also tell what was written.
    """
    lost, console = [], Console()
    for name, write in writers.items():
        try:
            written = write(run_dir / name)
        except (OSError, InputError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            console.write(f"not written: {run_dir / name} ({one_line(reason)})")
            lost.append(name)
        else:
            if told and written:
                console.write(f"wrote {written}")
    return lost
