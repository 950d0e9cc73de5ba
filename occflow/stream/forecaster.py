"""The streaming forecaster: sweeps in, one forecast of its network at every instant where one is due, or persistence
while the network cannot or should not speak."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from occflow.errors import InputError
from occflow.eval.protocols import HORIZONS_S
from occflow.flow.temperature import AS_LEARNT, tempered
from occflow.forecasting.forecast import CENTRAL, tempered_name
from occflow.forecasting.networks import refuse_temperature
from occflow.forecasting.rules import PERSISTENCE, persisted
from occflow.logs.protocol import SAME_STAMP_S
from occflow.models.flow_model import EMPTY, Condition, Encoding, FlowModel, Observation
from occflow.models.preparation import ModelSettings
from occflow.occupancy.frame import Frames, OccupancyFrame
from occflow.occupancy.settings import OccupancySettings
from occflow.occupancy.tasks import EXTRAPOLATED, Target, Task
from occflow.perception.perceive import Perceiver
from occflow.sparse.sites import Sites
from occflow.stream.console import Notices
from occflow.stream.history import CausalHistory, KeptFrame
from occflow.stream.judge import Judge
from occflow.stream.latency import LatencyRecord
from occflow.stream.risk import RiskRecord
from occflow.stream.settings import CENTRE, SAMPLE, StreamSettings
from occflow.stream.source import Arrival

NAMES = {CENTRE: f"student-{CENTRAL}", SAMPLE: "student-1"}  # as evaluations call what stream.delivers calls so
MOST_EARLY = 0.45  # of the time between forecasts: a sweep that comes earlier than this is never taken for the due one
MISSING, UNPROVED, LOSING = "a frame of the history is missing", "the network has yet to prove itself", \
    "the network loses"  # why persistence speaks


@dataclass(frozen=True)
class Due:
    """A forecast that is due.

    Args:
        arrival: the last sweep that it may know.
        kept: the instants of the history, the last being the present; only the present where it is not `whole`.
        targets: of the forecast, in the guessed grid poses of the future.
        drive_s: seconds since the first sweep of the drive.
        beginning: how often the history had begun anew: forecasts before and after that share no world.
    """

    arrival: Arrival
    kept: list[KeptFrame]
    whole: bool
    targets: tuple[Target, ...]
    drive_s: float
    beginning: int


@dataclass(frozen=True)
class StreamForecast:
    """What a stream delivers.

    Args:
        name: of the forecaster; "persistence" where the network had to pass.
        task: the frames of the history, UNLABELLED voxels in them where nobody named them, and the targets.
        frames: F forecast frames; the stamp of the forecast is that of task.present.
        drive_s: seconds from the first sweep of the drive to the present.
        why: persistence was delivered; empty for a forecast of the network.
    """

    name: str
    task: Task
    frames: Frames
    drive_s: float
    why: str = ""


@dataclass(frozen=True)
class LookedBack:
    """All that was forecast at an instant, when the forecast is out.

    Args:
        delivered: what went out.
        task: its history and targets, all voxels with classes.
        frames: of each forecast of the network by name, F frames; of the one that is not delivered, only the scored
            ones hold anything.
    """

    delivered: StreamForecast
    task: Task
    frames: dict[str, Frames]


@dataclass(frozen=True)
class Futures:
    """What the network foresees.

    Args:
        frames: the forecast that is to be delivered, F frames.
        other: makes the other one, those frames of it that are named by their index.
        samples: draws so many futures, of seeds that follow that of the forecast.
    """

    frames: Frames
    other: Callable[[Sequence[int]], Frames]
    samples: Callable[[int], list[Frames]] = lambda count: []


class StreamNetwork:
    """The one-step student of forecasting.networks, taken apart for a stream: every frame is encoded once, the steps of
    a forecast are timed one by one.

    Args:
        delivers: the centre of the futures, where the residual about the mean is zero, or one sample of them.
        temperature: of that sample; those that `Futures.samples` draws are of the distribution as it was learnt.

    Raises:
        InputError: a temperature outside [0, 1].
    """

    def __init__(self, model: FlowModel, record: LatencyRecord, delivers: str = CENTRE,
                 temperature: float = AS_LEARNT) -> None:
        refuse_temperature(temperature, "stream.temperature")
        self.model, self._record, self._temperature = model.eval(), record, temperature
        self._delivers, self._other = (delivers, *(one for one in NAMES if one != delivers))
        names = {**NAMES, SAMPLE: tempered_name(NAMES[SAMPLE], temperature)}
        self.name, self.other_name = names[self._delivers], names[self._other]

    @torch.inference_mode()
    def encode(self, frame: OccupancyFrame) -> Encoding:
        """The encoding of a frame."""
        with self._record.stage("encode"):
            encoding = self.model.encode_frames((frame,))
            self._finish()
            return encoding

    def forecast(self, task: Task, encoded: Sequence[Encoding], seed: int) -> Frames:
        """What is delivered: as `StudentForecaster.forecast` gives a sample, or `CentralForecaster.forecast` the
        centre."""
        return self.futures(task, encoded, seed).frames

    @torch.inference_mode()
    def futures(self, task: Task, encoded: Sequence[Encoding], seed: int) -> Futures:
        """What is delivered of the task's futures, and the other forecast for who asks for it: until then it costs
        nothing."""
        with self._record.stage("propose"):
            observation = self.model.observe(task, encoded=encoded)
            self._finish()
        with self._record.stage("network"):
            condition = self.model.condition(observation)
            state, seen = self._state(self._delivers, observation, condition, seed, self._temperature)
            self._finish()
        with self._record.stage("decode"):
            frames = self.model.decoder(seen, task.targets)(state)

        @torch.inference_mode()
        def other(horizon: Sequence[int]) -> Frames:
            with self._record.stage("other"):
                found, seen = self._state(self._other, observation, condition, seed, self._temperature)
                channels = self.model.settings.autoencoder.latent_channels
                return self.model.decoder(seen, task.targets)(_only(found, channels, seen.layout.support, horizon))

        @torch.inference_mode()
        def samples(count: int) -> list[Frames]:
            states = (self._state(SAMPLE, observation, condition, seed + number, AS_LEARNT) for number in range(count))
            return [self.model.decoder(seen, task.targets)(state) for state, seen in states]

        return Futures(frames, other, samples)

    def _state(self, kind: str, observation: Observation, condition: Condition, seed: int, temperature: float
               ) -> tuple[Tensor, Observation]:
        """The state [N, S] of the centre, which needs no flow, or of a sample at a temperature; and the observation
        about whose base it is."""
        mean = condition.forecast.mean
        if kind == CENTRE:
            return condition.state(torch.zeros_like(mean)), observation
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(mean.shape, generator=generator).to(self.model.device)
        observation, condition = self.model.drawn(
            observation, condition, lambda *drawn: tempered(self.model.motion.one_step(*drawn), temperature), generator)
        return condition.state(tempered(self.model.one_step(noise, condition), temperature)), observation

    def _finish(self) -> None:
        """Wait for a device that works behind Python's back, so that each stage has its own milliseconds."""
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)


def _only(state: Tensor, channels: int, support: Sites, horizon: Sequence[int]) -> Tensor:
    """A state [N, S] of so many latent channels whose other frames are empty: nothing of them needs to be decoded."""
    wanted = torch.isin(support.coords[:, 0], torch.tensor(list(horizon), device=state.device, dtype=torch.int32))
    existence = torch.where(wanted, state[:, channels], EMPTY)[:, None]
    return torch.cat([state[:, :channels], existence, state[:, channels + 1:]], dim=1)


class StreamForecaster:
    """Turns arrivals into forecasts that are due (cheap, for every sweep), these into forecasts that are made, and
    looks back at those when they are out.

    Args:
        perceiver: of stream.labels=perceived.

    Raises:
        InputError: the rate does not suit the history; no perceiver where one is needed.
    """

    def __init__(self, network: StreamNetwork, occupancy: OccupancySettings, stream: StreamSettings, seed: int,
                 record: LatencyRecord, notices: Notices, perceiver: Perceiver | None = None) -> None:
        self._network, self._stream, self._seed, self._record, self._notices = network, stream, seed, record, notices
        if stream.perceives and perceiver is None:
            raise InputError("stream.labels: perceived needs a perception network; name one, or log or none")
        self._perceiver = perceiver
        self.watch: Callable[[LookedBack], None] = lambda one: None  # is shown every look back
        self._settings: ModelSettings = network.model.settings
        interval_s = self._settings.frame_interval_s
        stream.refuse_uneven_rate(interval_s)
        self._future_s = interval_s * np.arange(1, self._settings.num_horizon + 1)
        self.scored = scored_frames(self._future_s)
        span_s = interval_s * (self._settings.num_history - 1)
        self._history = CausalHistory(self._settings.grid, occupancy, stream, span_s, notices)
        self.judge = Judge(self._settings.grid, self.scored, network.name, stream) if stream.perceives else None
        self.risks = None
        if stream.risk_samples:
            self.risks = RiskRecord(self._settings.grid, stream.risk_samples, stream.vehicle)
        self._made: tuple[Due, Task, StreamForecast, Futures | None] | None = None  # the last one
        self._beginning = -1
        self._drive: tuple[int, str] | None = None
        self._start_s = 0.0  # stamp of its first sweep
        self._due_s, self._last_s = -np.inf, np.inf  # stamps of the next forecast and of the last sweep
        self._told: str | None = None  # why persistence spoke, empty for the network

    @property
    def scored_s(self) -> list[float]:
        """The times of the forecast that are scored, seconds."""
        return self._future_s[self.scored].tolist()

    def observe(self, arrival: Arrival) -> Due | None:
        """Take a sweep; what is to be forecast, where a forecast is due at it."""
        self._record.sweeps += 1
        if arrival.drive != self._drive:
            self._history.forget()
            self._start_s = arrival.sweep.stamp_s
            self._drive, self._due_s, self._last_s, self._told = arrival.drive, -np.inf, np.inf, None
        with self._record.stage("accumulate"):
            if not self._history.add(arrival.sweep):
                return None
            self._record.used += 1
            if not self._is_due(arrival.sweep.stamp_s):
                return None
            present = self._history.make_frame()
        settings, stamp_s = self._settings, arrival.sweep.stamp_s
        history = self._history.before(present, settings.num_history, settings.frame_interval_s)
        targets = tuple(Target(pose, stamp_s + seconds) for pose, seconds
                        in zip(self._history.future_poses(self._future_s), self._future_s))
        return Due(arrival, history or [present], history is not None, targets, stamp_s - self._start_s,
                   self._history.beginnings)

    def forecast(self, due: Due) -> StreamForecast:
        """Make a forecast: by the network where the history is whole and the judge believes it, else by persistence;
        the change is told."""
        for kept in due.kept:
            self._perceive(kept)
        task = Task(tuple(kept.frame for kept in due.kept), due.targets, EXTRAPOLATED, due.arrival.drive[1])
        why = self._why_not(due)
        self._tell(due, why)
        futures = None
        if why:
            with self._record.stage("decode"):
                frames = persisted(self._settings.grid, task.with_classes())
            forecast = StreamForecast(PERSISTENCE, task, frames, due.drive_s, why)
        else:
            futures = self._futures(due, task)
            forecast = StreamForecast(self._network.name, task, futures.frames, due.drive_s)
        self._made = due, task, forecast, futures
        return forecast

    def look_back(self, delivered: bool) -> Iterator[None]:
        """What can wait until a forecast is out: hold former ones against what is perceived now; let the network make
        one all the same where persistence spoke in its place, and keep it until its time comes. In parts, between which
        sweeps may be observed and the next forecast be made.

        A forecast that was not delivered was late: then there is no time for more than the first.
        """
        if self._made is None:
            return
        (due, task, forecast, futures), self._made = self._made, None
        if self.judge:
            self._judge_former(due, task.present)
            yield
        if not delivered:
            return
        if due.whole:
            if futures is None:
                futures = self._futures(due, task)
                yield
            self.watch(LookedBack(forecast, task.with_classes(), self._foreseen(task, futures)))
            if self.risks:
                yield
                with self._record.stage("risk"):
                    self.risks.weigh(task, futures.samples(self.risks.samples))
        elif self._stream.reuse:
            for kept in due.kept:  # ahead of the forecast that will want it
                self._encoding(kept)

    def _foreseen(self, task: Task, futures: Futures) -> dict[str, Frames]:
        """The network's forecasts of an instant by name; where it judges, the judge keeps them."""
        frames = {self._network.name: futures.frames}
        if self.judge:
            frames[self._network.other_name] = futures.other(self.scored)
            self.judge.foresee(task.present, task.targets, frames)
        return frames

    def _judge_former(self, due: Due, present: OccupancyFrame) -> None:
        with self._record.stage("judge"):
            if due.beginning != self._beginning:
                self.judge.forget()
                self._beginning = due.beginning
            self.judge.see(present)

    def _why_not(self, due: Due) -> str:
        """Why the network does not speak; empty where it does."""
        if not due.whole:
            return MISSING
        if self.judge is None or self.judge.believed:
            return ""
        return LOSING if self.judge.instants >= self._stream.fallback_instants else UNPROVED

    def _futures(self, due: Due, task: Task) -> Futures:
        return self._network.futures(task, [self._encoding(kept) for kept in due.kept], self._seed)

    def _perceive(self, kept: KeptFrame) -> None:
        if kept.frame is None:
            with self._record.stage("perceive"):
                kept.frame = self._perceiver.frame(kept.seen)

    def _encoding(self, kept: KeptFrame) -> Encoding:
        if not self._stream.reuse:
            return self._network.encode(kept.frame)
        kept.encoding = kept.encoding or self._network.encode(kept.frame)
        return kept.encoding

    def _is_due(self, stamp_s: float) -> bool:
        """Whether of all sweeps this is the nearest to the instant that is due, as far as one can tell beforehand."""
        period_s, since_last_s = 1 / self._stream.rate_hz, stamp_s - self._last_s
        self._last_s = stamp_s
        if not -period_s <= self._due_s - stamp_s <= (1 + MOST_EARLY) * period_s:  # the first one, or a jump in time
            self._due_s = stamp_s
        early_s = min(since_last_s / 2, MOST_EARLY * period_s) if since_last_s > 0 else 0.0  # the next comes as late
        if stamp_s < self._due_s - early_s - SAME_STAMP_S:
            return False
        overdue_s = stamp_s + early_s + SAME_STAMP_S - self._due_s  # >= 0
        self._due_s += period_s * (np.floor(overdue_s / period_s) + 1)  # computed: a gap may hold any number of periods
        return True

    def _tell(self, due: Due, why: str) -> None:
        if why == self._told:
            return
        self._told, at = why, f"from {due.arrival.drive[1]}, {due.arrival.sweep.stamp_s:.2f} s"
        held = f" ({self.judge.advantage:+.1%} IoU above persistence)" if self.judge and self.judge.instants else ""
        if why:
            self._notices.say(PERSISTENCE, f"{at}: {why}" + (held if why == LOSING else ""))
        else:
            self._notices.say("forecasting", f"{at}: the history is whole" +
                              (f" and the network is believed{held}" if self.judge else ""))


def scored_frames(future_s: np.ndarray) -> list[int]:
    """Which of the forecast frames, so many seconds ahead [F], are scored: those at 1, 2 and 3 s; the last one where
    the forecast ends before."""
    return [index for index, seconds in enumerate(future_s)
            if np.abs(np.array(HORIZONS_S) - seconds).min() < SAME_STAMP_S] or [len(future_s) - 1]
