"""The streaming forecaster: sweeps in, one forecast of its network at every instant where one is due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from occflow.forecasting.rules import persisted
from occflow.models.flow_model import Encoding, FlowModel, ModelSettings
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.settings import OccupancySettings
from occflow.occupancy.tasks import EXTRAPOLATED, Target, Task
from occflow.stream.console import Notices
from occflow.stream.history import SAME_STAMP_S, CausalHistory, KeptFrame
from occflow.stream.latency import LatencyRecord
from occflow.stream.settings import StreamSettings
from occflow.stream.source import Arrival

MOST_EARLY = 0.45  # of the time between forecasts: a sweep that comes earlier than this is never taken for the due one

Frames = tuple[OccupancyFrame, ...]


@dataclass(frozen=True)
class Due:
    """A forecast that is due.

    Args:
        arrival: the last sweep that it may know.
        kept: the frames of the history, the last being the present; only the present where it is not `whole`.
        task: of these frames, UNLABELLED voxels in them, and the guessed grid poses of the future.
        drive_s: seconds since the first sweep of the drive.
    """

    arrival: Arrival
    kept: list[KeptFrame]
    whole: bool
    task: Task
    drive_s: float


@dataclass(frozen=True)
class StreamForecast:
    """What a stream delivers.

    Args:
        name: of the forecaster; "persistence" where the network had to pass.
        task: as in `Due`.
        frames: F forecast frames; the stamp of the forecast is that of task.present.
        drive_s: seconds from the first sweep of the drive to the present.
    """

    name: str
    task: Task
    frames: Frames
    drive_s: float


class StreamNetwork:
    """The one-step student of forecasting.networks, taken apart for a stream: every frame is encoded once, the steps of
    a forecast are timed one by one."""

    name = "student-1"

    def __init__(self, model: FlowModel, record: LatencyRecord) -> None:
        self.model, self._record = model.eval(), record

    @torch.inference_mode()
    def encode(self, frame: OccupancyFrame) -> Encoding:
        """The encoding of a frame."""
        with self._record.stage("encode"):
            encoding = self.model.encode_frames((frame,))
            self._finish()
            return encoding

    @torch.inference_mode()
    def forecast(self, task: Task, encoded: Sequence[Encoding], seed: int) -> tuple[OccupancyFrame, ...]:
        """One sample of the task's future, as `StudentForecaster.forecast` gives it."""
        with self._record.stage("propose"):
            observation = self.model.observe(task, encoded=encoded)
            self._finish()
        with self._record.stage("network"):
            condition = self.model.condition(observation)
            noise = torch.randn(condition.forecast.mean.shape, generator=torch.Generator().manual_seed(seed))
            state = condition.state(self.model.one_step(noise.to(self.model.device), condition))
            self._finish()
        with self._record.stage("decode"):
            return self.model.decoder(observation, task.targets)(state)

    def _finish(self) -> None:
        """Wait for a device that works behind Python's back, so that each stage has its own milliseconds."""
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)


class StreamForecaster:
    """Turns arrivals into forecasts that are due (cheap, for every sweep), and these into forecasts that are made.

    Raises:
        InputError: the rate does not suit the history.
    """

    def __init__(self, network: StreamNetwork, occupancy: OccupancySettings, stream: StreamSettings, seed: int,
                 record: LatencyRecord, notices: Notices) -> None:
        self._network, self._stream, self._seed, self._record, self._notices = network, stream, seed, record, notices
        self._settings: ModelSettings = network.model.settings
        interval_s = self._settings.frame_interval_s
        stream.refuse_uneven_rate(interval_s)
        self._future_s = interval_s * np.arange(1, self._settings.num_horizon + 1)
        span_s = interval_s * (self._settings.num_history - 1)
        self._history = CausalHistory(self._settings.grid, occupancy, stream, span_s, notices)
        self._drive: tuple[int, str] | None = None
        self._start_s = 0.0  # stamp of its first sweep
        self._due_s, self._last_s = -np.inf, np.inf  # stamps of the next forecast and of the last sweep
        self._was_whole: bool | None = None

    def observe(self, arrival: Arrival) -> Due | None:
        """Take a sweep; what is to be forecast, where a forecast is due at it."""
        self._record.sweeps += 1
        if arrival.drive != self._drive:
            self._history.forget()
            self._start_s = arrival.sweep.stamp_s
            self._drive, self._due_s, self._last_s, self._was_whole = arrival.drive, -np.inf, np.inf, None
        with self._record.stage("accumulate"):
            if not self._history.add(arrival.sweep):
                return None
            self._record.used += 1
            if not self._is_due(arrival.sweep.stamp_s):
                return None
            present = self._history.make_frame()
        settings = self._settings
        history = self._history.before(present, settings.num_history, settings.frame_interval_s)
        kept = history or [present]
        targets = tuple(Target(pose, present.frame.stamp_s + seconds) for pose, seconds
                        in zip(self._history.future_poses(self._future_s), self._future_s))
        task = Task(tuple(one.frame for one in kept), targets, EXTRAPOLATED, arrival.drive[1])
        return Due(arrival, kept, history is not None, task, arrival.sweep.stamp_s - self._start_s)

    def forecast(self, due: Due) -> StreamForecast:
        """Make a forecast: by the network where the history is whole, else by persistence; the change is told."""
        self._tell(due)
        encoded = [self._encoding(kept) for kept in due.kept]
        if due.whole:
            frames = self._network.forecast(due.task, encoded, self._seed)
            return StreamForecast(self._network.name, due.task, frames, due.drive_s)
        with self._record.stage("decode"):
            frames = persisted(self._settings.grid, due.task.with_classes())
        return StreamForecast("persistence", due.task, frames, due.drive_s)

    def _encoding(self, kept: KeptFrame) -> Encoding:
        if not self._stream.reuse:
            return self._network.encode(kept.frame)
        kept.encoding = kept.encoding or self._network.encode(kept.frame)
        return kept.encoding

    def _is_due(self, stamp_s: float) -> bool:
        """Whether of all sweeps this is the nearest to the instant that is due, as far as one can tell beforehand."""
        period_s, since_last_s = 1 / self._stream.rate_hz, stamp_s - self._last_s
        self._last_s = stamp_s
        if not abs(stamp_s - self._due_s) <= period_s:  # the first sweep, or one after a jump in time
            self._due_s = stamp_s
        early_s = min(since_last_s / 2, MOST_EARLY * period_s) if since_last_s > 0 else 0.0  # the next comes as late
        if stamp_s < self._due_s - early_s - SAME_STAMP_S:
            return False
        overdue_s = stamp_s + early_s + SAME_STAMP_S - self._due_s  # >= 0
        self._due_s += period_s * (np.floor(overdue_s / period_s) + 1)  # computed: a gap may hold any number of periods
        return True

    def _tell(self, due: Due) -> None:
        if due.whole != self._was_whole:
            at = f"{due.task.scene}, {due.arrival.sweep.stamp_s:.2f} s"
            if due.whole:
                self._notices.say("forecasting", f"from {at}: the history is whole")
            else:
                self._notices.say("persistence", f"from {at}: a frame of the history is missing")
            self._was_whole = due.whole
