"""How a stream runs and ends: its threads (one reads and paces, one forecasts, the caller's own shows what comes out),
and Ctrl-C and the signals that ask a process to end, which end the stream and let what is written become whole."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from occflow.errors import InputError
from occflow.stream.clock import Clock
from occflow.stream.forecaster import StreamForecast, StreamForecaster
from occflow.stream.latency import LatencyRecord
from occflow.stream.source import Arrival

TICK_S = 0.05  # how often the caller's thread looks after windows and its progress line
GRACE_S = 10.0  # for a thread that is to end: many times what a forecast takes, or the reading of a scan
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
PATIENCE_S = 15.0  # results that take longer to be written are given up at the next signal


class Sink(Protocol):
    """Where forecasts go. `deliver` is called by the worker's thread, and is quick."""

    def deliver(self, forecast: StreamForecast) -> None:
        """Take a forecast."""


class Inbox:
    """Sweeps that wait for the worker; the oldest is dropped where there are too many."""

    def __init__(self, max_waiting: int, record: LatencyRecord) -> None:
        self._waiting: deque[Arrival] = deque()
        self._max_waiting, self._record = max_waiting, record
        self._changed, self._closed = threading.Condition(), False

    def put(self, arrival: Arrival) -> None:
        with self._changed:
            self._waiting.append(arrival)
            if len(self._waiting) > self._max_waiting:
                self._waiting.popleft()
                self._record.drop("sweeps that waited too long")
            self._changed.notify()

    def waits(self) -> bool:
        """Whether a sweep does."""
        return bool(self._waiting)

    def close(self) -> None:
        """Nothing more comes."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def batches(self) -> Iterator[list[Arrival]]:
        """All that waits, again and again until nothing more comes."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                batch = list(self._waiting)
                self._waiting.clear()
            yield batch


class Worker:
    """Forecasts at the latest instant that is due; those that it has overtaken or is too late for are dropped.

    Args:
        disturbed: whether a sweep waits. Looking back, which nobody waits for, then lets it go before: no forecast is
            late because the one before it was.
    """

    def __init__(self, forecaster: StreamForecaster, sinks: list[Sink], deadline_s: float, clock: Clock,
                 record: LatencyRecord, disturbed: Callable[[], bool] = lambda: False) -> None:
        self._forecaster, self._sinks, self._deadline_s = forecaster, sinks, deadline_s
        self._clock, self._record, self._disturbed = clock, record, disturbed
        self._looking_back: deque[Iterator[None]] = deque()  # of one forecast, or of two while the second was urgent

    def step(self, batch: list[Arrival]) -> None:
        """Take sweeps, make one forecast at most, then look back until the next sweep is there."""
        self._forecast(batch)
        while self._looking_back:
            if len(self._looking_back) == 1 and self._disturbed():
                return
            for _ in self._looking_back[0]:
                break
            else:
                self._looking_back.popleft()

    def _forecast(self, batch: list[Arrival]) -> None:
        due = None
        for arrival in batch:
            newer = self._forecaster.observe(arrival)
            if newer and due:
                self._record.drop("forecasts overtaken")
            due = newer or due
        if due is None:
            return
        if self._age_s(due.arrival) > self._deadline_s:
            self._record.drop("forecasts late before they began")
            return
        forecast = self._forecaster.forecast(due)
        in_time = self._age_s(due.arrival) <= self._deadline_s
        if in_time:
            with self._record.stage("deliver"):
                for sink in self._sinks:
                    sink.deliver(forecast)
            self._record.deliver(forecast.name, self._age_s(due.arrival))
        else:
            self._record.drop("forecasts late")
        self._looking_back.append(self._forecaster.look_back(in_time))

    def _age_s(self, arrival: Arrival) -> float:
        return self._clock.now() - arrival.arrived_s


def run_stream(source: Iterable[Arrival], worker: Worker, inbox: Inbox | None, tick: Callable[[], bool],
               stop: threading.Event, begin: Callable[[], None] = lambda: None) -> None:
    """Run until the source ends, `tick` returns False or `stop` is set; threads have ended when this returns.

    Args:
        inbox: between reader and worker; None: the worker itself reads, so that nothing waits and nothing is dropped.
        tick: called in the caller's thread, every `TICK_S`.
        begin: called in the worker's thread, before all else.

    Raises:
        what a thread raised; KeyboardInterrupt; InputError: a thread cannot be started, or does not end.
    """
    errors: list[BaseException] = []

    def read() -> None:
        for arrival in source:
            inbox.put(arrival)

    def work() -> None:
        begin()
        for batch in inbox.batches() if inbox else ([arrival] for arrival in source):
            if stop.is_set():
                return
            worker.step(batch)

    jobs = [_Job("worker", work, stop, errors)]
    if inbox:
        jobs.append(_Job("reader", read, stop, errors, at_end=inbox.close))
    try:
        for job in jobs:
            job.start()
        while not jobs[0].ended.is_set() and tick():
            jobs[0].ended.wait(TICK_S)  # Thread.join, interrupted by Ctrl-C, takes a running thread for an ended one
    finally:
        stop.set()
        if inbox:
            inbox.close()  # also where there is no reader to do it
        running = _running_still(jobs)
    if errors:
        raise errors[0]
    if running:
        raise InputError(f"the stream's {' and '.join(running)} did not end within {GRACE_S:.0f} s and had to be left; "
                         "see whether the disk or the network that holds the log still answers")


class _Job:
    """A thread that keeps its error for the caller, and stops the others with it."""

    def __init__(self, name: str, job: Callable[[], None], stop: threading.Event, errors: list[BaseException],
                 at_end: Callable[[], None] = lambda: None) -> None:
        self.name, self._job, self._stop, self._errors, self._at_end = name, job, stop, errors, at_end
        self.started, self.ended = False, threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"stream {name}", daemon=True)

    def start(self) -> None:
        try:
            self.thread.start()
        except RuntimeError as error:  # the system has no thread left
            raise InputError(f"the stream's {self.name} cannot begin ({error}); end other processes, or raise the "
                             "limit of processes or of memory (ulimit -u, ulimit -v)") from None
        self.started = True

    def _run(self) -> None:
        try:
            self._job()
        except BaseException as error:  # a thread has nobody else to tell
            self._errors.append(error)
            self._stop.set()
        finally:
            self._at_end()
            self.ended.set()


def _running_still(jobs: list[_Job]) -> list[str]:
    """Wait until the jobs have ended, for `GRACE_S` at most; the names of those that have not."""
    until_s, running = time.monotonic() + GRACE_S, []
    for job in jobs:
        if job.started and not job.ended.wait(max(0.0, until_s - time.monotonic())):
            running.append(job.name)
        elif job.started:
            job.thread.join()
    return running


class Interruption:
    """Within `with`, takes over the signals that the process does not ignore; in the main thread only.

    A signal raises KeyboardInterrupt within `allowed()`, once; elsewhere it is noted, so that results are written
    whole however often Ctrl-C is pressed. One later than `PATIENCE_S` after the first always raises: no disk that
    hangs can hold the process.
    """

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        self._first_s, self._allowed, self._before = 0.0, False, {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # as under nohup; not set by Python
                    self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """A signal within ends what is done there."""
        self._allowed = True
        try:
            yield
        finally:
            self._allowed = False

    @property
    def status(self) -> int:
        """Of the process: 0 where nobody asked it to end but by Ctrl-C, which is how an endless stream ends."""
        return 0 if self.first in (None, signal.SIGINT) else 128 + self.first

    def _take(self, number: int, frame: object) -> None:
        if self.first is None:
            self.first, self._first_s = signal.Signals(number), time.monotonic()
        impatient = time.monotonic() - self._first_s > PATIENCE_S
        if self._allowed or impatient:
            self._allowed = False
            raise KeyboardInterrupt
