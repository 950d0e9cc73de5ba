"""The real-time demo behind realtime_demo, and its student: a named one, or the run's own, trained first."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import torch

from occflow.errors import InputError, spelt_out
from occflow.forecasting.checkpoint import refuse_other_windows
from occflow.forecasting.networks import load_student
from occflow.grid import VoxelGrid
from occflow.jobs.sources import configured_device, configured_perception, ensure_log, ensure_store, prepare_torch
from occflow.jobs.train import distill_mfd, train_teacher
from occflow.logs.open import open_log
from occflow.logs.protocol import DrivingLog
from occflow.models.flow_model import FlowModel
from occflow.models.settings import settings_from_config
from occflow.occupancy.settings import OccupancySettings
from occflow.perception.perceive import Perceiver
from occflow.stream.accuracy import ForecastsToScore, accuracy
from occflow.stream.clock import SystemClock
from occflow.stream.console import Console, Notices, Progress
from occflow.stream.forecaster import StreamForecaster, StreamNetwork
from occflow.stream.judge import Judge
from occflow.stream.latency import LatencyRecord
from occflow.stream.loop import Inbox, Interruption, Worker, run_stream
from occflow.stream.results import SCORED, scores_markdown, write_pictures, write_report
from occflow.stream.risk import RiskRecord
from occflow.stream.settings import DemoSettings, StreamSettings, settings_of
from occflow.stream.sinks import LastForecasts, LiveWindow
from occflow.stream.source import Replay
from occflow.viewing.headless import has_display, open3d_installed, require_display
from occflow.viewing.panels import view_palette
from occflow.viewing.scene import Look

TRIAL_BYTES = 1 << 20  # more than a report takes


@dataclass
class Demo:
    """The parts of a demo, put together and not yet running."""

    log: DrivingLog
    scenes: list[str]
    grid: VoxelGrid
    occupancy: OccupancySettings
    record: LatencyRecord
    notices: Notices
    progress: Progress
    worker: Worker
    source: Replay
    inbox: Inbox | None
    last: LastForecasts
    to_score: ForecastsToScore | None
    judge: Judge | None
    risks: RiskRecord | None
    scored_s: list[float]
    window: LiveWindow | None
    stop: threading.Event

    @property
    def log_name(self) -> str:
        return self.log.name

    def tick(self) -> bool:
        """Look after progress line and window; False when the window was closed."""
        self.progress.tick()
        return self.window is None or self.window.tick()

    def close(self) -> None:
        """End the progress line, close the window."""
        self.progress.close()
        if self.window:
            self.window.close()


def realtime_demo(config: Mapping) -> tuple[Path, str]:
    """Replay the log to the student until it ends or is ended: by Ctrl-C, SIGTERM or SIGHUP, by closing the window.

    The report is written in any case, also after an error.

    Returns:
        the folder of the results (report.json, report.md, forecast.npz, stream.html, stream.gif) and the table.

    Raises:
        InputError: no student or perception, a log that cannot be read, settings that are not usable, results that
            cannot be written.
        SystemExit: with status 128 + signal after SIGTERM and SIGHUP.
    """
    settings = settings_of(DemoSettings, config["stream"])
    settings_of(StreamSettings, config["stream"])  # before minutes of simulating and training
    run_dir = writable_folder(Path(settings.run_dir))
    prepare_torch(config, threads=1)  # the worker has torch's threads; see `own_threads`
    demo, console = assemble(config), Console()
    with Interruption() as interruption:
        console.write(f"streaming {len(demo.scenes)} scenes of {spelt_out(demo.log_name)}; Ctrl-C stops and writes the "
                      "report")
        try:
            with interruption.allowed(), no_old_garbage():
                run_stream(demo.source, demo.worker, demo.inbox, demo.tick, demo.stop, own_threads(config["workers"]))
        except KeyboardInterrupt:
            pass
        finally:
            table, lost = write_report(run_dir, demo, config["stream"], interruption.first)
            demo.close()
            console.write(table)  # a full disk takes the files, not what was measured
        try:
            with interruption.allowed():
                found = score(demo, console) if demo.to_score and interruption.status == 0 else None
            if found:
                table, lost = write_report(run_dir, demo, config["stream"], interruption.first, found)
                console.write(scores_markdown(found, demo.record.summary(), SCORED.format(**found)))
        except KeyboardInterrupt:
            console.write("interrupted: the accuracy is left out")
        try:
            with interruption.allowed():
                lost += write_pictures(run_dir, demo, config, interruption.status == 0)
        except KeyboardInterrupt:
            console.write("interrupted: the pictures are left out")
    _end(run_dir, demo, lost, interruption)
    return run_dir, table


def score(demo: Demo, console: Console) -> dict | None:
    """Hold what was delivered against the occupancy built from the log; None where that cannot be, and one line why."""
    kept = demo.to_score.kept
    if not kept:
        console.write("no accuracy: no forecast of the network to score was delivered in time")
        return None
    scenes = {one.scene for one in kept}
    console.write(f"scoring {len(kept)} forecasts against the occupancy built of {len(scenes)} scenes "
                  "(stream.score=false leaves that out)")
    try:
        found = accuracy(kept, demo.log, demo.grid, demo.occupancy, demo.scored_s)
    except (InputError, OSError) as error:
        console.write(spelt_out(f"no accuracy: {error}"))
        return None
    if not found["instants"]:
        console.write("no accuracy: the log has no keyframe at the time of any forecast")
        return None
    return found


def _end(run_dir: Path, demo: Demo, lost: list[str], interruption: Interruption) -> None:
    """What there is to say once everything is written.

    Raises:
        InputError: results are missing, or there was nothing to forecast from.
        SystemExit: after SIGTERM and SIGHUP.
    """
    if lost:
        raise InputError(f"{run_dir}: {', '.join(lost)} could not be written, see above; make room there, or name "
                         "another stream.run_dir")
    if interruption.status:
        Console().write(f"ended by {interruption.first.name}: the report is in {run_dir}, stream.html and stream.gif "
                        "are not made")
        raise SystemExit(interruption.status)
    if demo.record.sweeps and not demo.record.used:
        raise InputError(f"{spelt_out(demo.log_name)}: none of {demo.record.sweeps} sweeps is usable; "
                         f"{run_dir / 'report.md'} says why")
    Console().write(f"wrote {run_dir / 'report.md'} and report.json")


def own_threads(count: int) -> Callable[[], None]:
    """What the worker does first: from then on its networks run on `count` threads.

    OpenMP keeps a team of threads for every thread that asks for one. Where the main thread has one too there are more
    threads than cores, and GNU's library then puts them to sleep between any two operations (0.1 ms each; networks
    1.4 times as slow). So the main thread stays alone.
    """
    return lambda: torch.set_num_threads(count)


@contextmanager
def no_old_garbage() -> Iterator[None]:
    """Within, what there is now is never looked through for garbage.

    Python now and then stops all threads to look through all that has lived for a while: the 240,000 objects of the
    imported modules and networks take it 60 to 120 ms, and one forecast in twenty would be so much later.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


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
    settings, stream = (settings_of(kind, config["stream"]) for kind in (DemoSettings, StreamSettings))
    if not Path(config["log"]["root"]).exists():
        ensure_log(config)  # does nothing where another log than the embedded one is configured
    model, log = ensure_student(config), open_log(config["log"])
    scenes, grid = streamed_scenes(log, settings.split, settings.max_scenes), model.settings.grid
    clock, stop = SystemClock(), threading.Event()
    record = LatencyRecord(clock)
    if not stream.learnt_landing:
        model.landing = None
    network = StreamNetwork(model, record, stream.delivers, stream.temperature)
    progress = Progress(record, network.name, clock, Console(), lambda: forecaster.judge.line if forecaster.judge
                        else "")
    notices = Notices(progress.tell)
    occupancy = OccupancySettings.from_dict(config["data"]["occupancy"])
    perceiver = Perceiver(configured_perception(config)) if stream.perceives else None
    forecaster = StreamForecaster(network, occupancy, stream, config["seed"], record, notices, perceiver)
    to_score = ForecastsToScore(forecaster.scored) if settings.score else None
    if to_score:
        forecaster.watch = to_score.watch
    last = LastForecasts(max(settings.gif_forecasts, settings.page_forecasts))
    window = open_window(settings.display, grid, config["view"])
    inbox = Inbox(stream.max_waiting_sweeps, record) if stream.pace > 0 else None
    worker = Worker(forecaster, [last, window] if window else [last], stream.deadline_s, clock, record,
                    *([inbox.waits] if inbox else []))
    source = Replay(log, scenes, stream.pace, settings.loops, clock, notices, stop, stream.longest_pause_s)
    return Demo(log, scenes, grid, occupancy, record, notices, progress, worker, source, inbox, last, to_score,
                forecaster.judge, forecaster.risks, forecaster.scored_s, window, stop)


def ensure_student(config: Mapping) -> FlowModel:
    """The model of stream.checkpoint; a missing one is trained first where it is the run's own, on the embedded log.

    Raises:
        InputError: it is missing and another log is streamed, or it was trained with other settings.
    """
    checkpoint = Path(config["stream"]["checkpoint"])
    if not checkpoint.is_file():
        _refuse_unless_embedded(checkpoint, config)
        print(f"no student at {checkpoint}: training one first, as `make demo` does (log, occupancy, teacher, student; "
              "some ten minutes on two cores). After Ctrl-C the same command goes on where it stopped.", flush=True)
        ensure_store(config)
        if not (Path(config["run_dir"]) / "teacher.safetensors").is_file():
            train_teacher(config)
        distill_mfd(config)
    model = load_student(checkpoint, configured_device(config)).model
    refuse_other_windows(checkpoint, model.settings, settings_from_config(config["data"], config["model"]))
    return model


def _refuse_unless_embedded(checkpoint: Path, config: Mapping) -> None:
    if checkpoint != Path(config["run_dir"]) / "student.safetensors":
        raise InputError(f"stream.checkpoint: {checkpoint} does not exist; name a student of distill_mfd")
    if config["log"]["root"] != config["simulation"]["root"]:
        raise InputError(f"no student at {checkpoint}; run `realtime_demo "
                         f"stream.checkpoint={checkpoint}` without log= once (trains one on the embedded log), or name "
                         "one with stream.checkpoint=PATH")


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
    return scenes[:max_scenes]


def open_window(display: bool | str, grid: VoxelGrid, view: Mapping) -> LiveWindow | None:
    """The live window, where `stream.display` asks for one and there are a display and Open3D.

    Raises:
        InputError: true without one of them.
    """
    if display is False or display == "auto" and not open3d_installed():
        return None
    if display is True:
        require_display()
    elif not has_display():
        return None
    return LiveWindow(grid, list(view["times_s"]), look=Look(palette=view_palette(view)))
