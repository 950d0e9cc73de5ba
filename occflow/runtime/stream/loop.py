"""The stream's threads: one reads and paces, one forecasts, the caller's own shows what comes out."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from occflow.runtime.stream.clock import Clock
from occflow.runtime.stream.forecaster import StreamForecast, StreamForecaster
from occflow.runtime.stream.latency import LatencyRecord
from occflow.runtime.stream.source import Arrival

TICK_S = 0.05  # how often the caller's thread looks after windows and its progress line


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
    """Forecasts at the latest instant that is due; those that it has overtaken or is too late for are dropped."""

    def __init__(self, forecaster: StreamForecaster, sinks: list[Sink], deadline_s: float, clock: Clock,
                 record: LatencyRecord) -> None:
        self._forecaster, self._sinks, self._deadline_s = forecaster, sinks, deadline_s
        self._clock, self._record = clock, record

    def step(self, batch: list[Arrival]) -> None:
        """Take sweeps and make one forecast at most."""
        task = None
        for arrival in batch:
            newer = self._forecaster.observe(arrival)
            if newer and task:
                self._record.drop("forecasts overtaken")
            task = newer or task
        if task is None:
            return
        if self._age_s(task.arrival) > self._deadline_s:
            self._record.drop("forecasts late before they began")
            return
        forecast = self._forecaster.forecast(task)
        if self._age_s(task.arrival) > self._deadline_s:
            self._record.drop("forecasts late")
            return
        with self._record.stage("deliver"):
            for sink in self._sinks:
                sink.deliver(forecast)
        self._record.deliver(forecast.name, self._age_s(task.arrival))

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
        what a thread raised; KeyboardInterrupt.
    """
    errors: list[BaseException] = []
    worked = threading.Event()

    def read() -> None:
        for arrival in source:
            inbox.put(arrival)

    def work() -> None:
        begin()
        for batch in inbox.batches() if inbox else ([arrival] for arrival in source):
            if stop.is_set():
                return
            worker.step(batch)

    threads = [_thread("worker", work, stop, errors, worked.set)]
    if inbox:
        threads.append(_thread("reader", read, stop, errors, inbox.close))
    try:
        for thread in threads:
            thread.start()
        while not worked.is_set() and tick():
            worked.wait(TICK_S)  # Thread.join, interrupted by Ctrl-C, takes a running thread for an ended one
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]


def _thread(name: str, job: Callable[[], None], stop: threading.Event, errors: list[BaseException],
            at_end: Callable[[], None]) -> threading.Thread:
    """A thread that keeps its error for the caller, and stops the others with it."""
    def run() -> None:
        try:
            job()
        except BaseException as error:  # a thread has nobody else to tell
            errors.append(error)
            stop.set()
        finally:
            at_end()

    return threading.Thread(target=run, name=f"stream {name}", daemon=True)
