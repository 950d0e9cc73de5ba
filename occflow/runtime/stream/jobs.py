"""The real-time demo behind tools/realtime_demo.py."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import torch

from occflow.atomic import atomic_file, write_json
from occflow.errors import InputError
from occflow.grid import VoxelGrid
from occflow.logs.open import open_log
from occflow.logs.protocol import DrivingLog
from occflow.occupancy.settings import OccupancySettings
from occflow.run_record import machine, versions
from occflow.runtime.sources import ensure_log, prepare_torch
from occflow.runtime.stream.animation import animate
from occflow.runtime.stream.clock import SystemClock
from occflow.runtime.stream.forecaster import StreamForecaster
from occflow.runtime.stream.latency import LatencyRecord, latency_markdown
from occflow.runtime.stream.loop import Inbox, Worker, run_stream
from occflow.runtime.stream.network import StreamNetwork
from occflow.runtime.stream.notices import Notices
from occflow.runtime.stream.progress import Progress
from occflow.runtime.stream.settings import StreamSettings
from occflow.runtime.stream.sinks import LastForecasts
from occflow.runtime.stream.source import Replay
from occflow.runtime.stream.student import ensure_student
from occflow.runtime.stream.window import LiveWindow
from occflow.viewing.display import require_display

TRIAL_BYTES = 1 << 20  # more than a report takes


@dataclass
class Demo:
    """The parts of a demo, put together and not yet running."""

    log_name: str
    scenes: list[str]
    grid: VoxelGrid
    record: LatencyRecord
    notices: Notices
    progress: Progress
    worker: Worker
    source: Replay
    inbox: Inbox | None
    last: LastForecasts
    window: LiveWindow | None
    stop: threading.Event

    def tick(self) -> bool:
        """Look after progress line and window; False when the window was closed."""
        self.progress.tick()
        return self.window is None or self.window.tick()


def realtime_demo(config: Mapping) -> tuple[Path, str]:
    """Replay the log to the student until it ends or Ctrl-C; the report is written in either case.

    Returns:
        the folder of the results (report.json, report.md, forecast.npz, stream.gif) and the table.

    Raises:
        InputError: no student, a log that cannot be read, settings that are not usable.
    """
    prepare_torch(config, threads=1)  # the worker has torch's threads; see `own_threads`
    demo, run_dir, interrupted = assemble(config), writable_folder(Path(config["stream"]["run_dir"])), False
    print(f"streaming {len(demo.scenes)} scenes of {demo.log_name}; Ctrl-C stops and writes the report", flush=True)
    try:
        run_stream(demo.source, demo.worker, demo.inbox, demo.tick, demo.stop, own_threads(config["workers"]))
    except KeyboardInterrupt:
        interrupted = True
    finally:
        demo.progress.close()
        if demo.window:
            demo.window.close()
        table = _write_report(run_dir, demo, config["stream"], interrupted)
    _write_pictures(run_dir, demo, config)
    return run_dir, table


def own_threads(count: int) -> Callable[[], None]:
    """What the worker does first: from then on its networks run on `count` threads.

    OpenMP keeps a team of threads for every thread that asks for one. Where the main thread has one too there are more
    threads than cores, and GNU's library then puts them to sleep between any two operations (0.1 ms each; networks
    1.4 times as slow). So the main thread stays alone.
    """
    return lambda: torch.set_num_threads(count)


def writable_folder(path: Path) -> Path:
    """The folder, made where it is missing; tried before the stream starts, not when there is a report to lose.

    Raises:
        InputError: nothing can be written there.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path) as trial:
            trial.write(bytes(TRIAL_BYTES))
    except OSError as error:
        raise InputError(f"stream.run_dir: {path}: {error.strerror or error}; name another folder") from None
    return path


def assemble(config: Mapping) -> Demo:
    """The demo of a configuration.

    Raises:
        InputError: as `realtime_demo`.
    """
    values, data = config["stream"], config["data"]
    if not Path(config["log"]["root"]).exists():
        ensure_log(config)  # does nothing where another log than the embedded one is configured
    stream, model, log = StreamSettings.from_dict(values), ensure_student(config), open_log(config["log"])
    scenes, grid = streamed_scenes(log, values["split"], values["max_scenes"]), model.settings.grid
    clock, stop = SystemClock(), threading.Event()
    record = LatencyRecord(clock)
    progress = Progress(record, StreamNetwork.name, clock)
    notices = Notices(progress.tell)
    forecaster = StreamForecaster(StreamNetwork(model, record), OccupancySettings.from_dict(data["occupancy"]), stream,
                                  config["seed"], record, notices)
    last, window = LastForecasts(values["gif_forecasts"]), open_window(values["display"], grid, config["view"])
    worker = Worker(forecaster, [last, window] if window else [last], stream.deadline_s, clock, record)
    inbox = Inbox(stream.max_waiting_sweeps, record) if stream.pace > 0 else None
    source = Replay(log, scenes, stream.pace, values["loops"], clock, notices, stop)
    return Demo(log.name, scenes, grid, record, notices, progress, worker, source, inbox, last, window, stop)


def streamed_scenes(log: DrivingLog, split: str | None, max_scenes: int | None) -> list[str]:
    """The scenes to replay.

    Raises:
        InputError: no such split, or none of its scenes.
    """
    splits = log.splits()
    if split == "auto":
        split = "val" if splits.get("val") else None
    if split is not None and not splits.get(split):
        raise InputError(f"stream.split: {log.name} has no scene of split '{split}'; one of "
                         f"{', '.join(name for name, scenes in splits.items() if scenes)}, or null for all")
    scenes = log.scenes() if split is None else splits[split]
    if max_scenes is not None and max_scenes < 1:
        raise InputError(f"stream.max_scenes: {max_scenes} is too small; null for all")
    return scenes[:max_scenes]


def open_window(display: bool | str, grid: VoxelGrid, view: Mapping) -> LiveWindow | None:
    """The live window, where `stream.display` asks for one and there is a display.

    Raises:
        InputError: true without a display, or an unknown value.
    """
    if display not in (True, False, "auto"):
        raise InputError(f"stream.display: {display!r} is not known; known: auto, true, false")
    if display is False:
        return None
    try:
        require_display()
    except InputError:
        if display is True:
            raise
        return None
    return LiveWindow(grid, list(view["times_s"]))


def _write_report(run_dir: Path, demo: Demo, settings: Mapping, interrupted: bool) -> str:
    """Write report.json and report.md; returns the table."""
    summary, counts = demo.record.summary(), dict(demo.notices.counts)
    noticed = "; ".join(f"{count} x {kind}" for kind, count in counts.items()) or "nothing"
    table = f"{latency_markdown(summary)}\n\nNoticed: {noticed}."
    shown = ", ".join(f"{key} {settings[key]}" for key in ("pace", "rate_hz", "labels", "reuse", "loops"))
    try:
        write_json(run_dir / "report.json", {
            "log": demo.log_name, "scenes": demo.scenes, "interrupted": interrupted, **summary, "notices": counts,
            "last_notices": list(demo.notices.last), "settings": dict(settings), "machine": machine(),
            "versions": versions()})
        with atomic_file(run_dir / "report.md") as partial:
            partial.write_text(f"# Stream of {demo.log_name}\n\nSettings: {shown}.\n\n{table}\n")
    except OSError:
        print(table, flush=True)  # a full disk takes the files, not what was measured
        raise
    return table


def _write_pictures(run_dir: Path, demo: Demo, config: Mapping) -> None:
    written = [demo.last.save(run_dir / "forecast.npz", demo.grid)]
    if demo.window is None and config["stream"]["gif_forecasts"] > 0:
        written.append(animate(demo.last.kept(), run_dir / "stream.gif", demo.grid, config["view"]))
    for path in filter(None, written):
        print(f"wrote {path}", flush=True)
