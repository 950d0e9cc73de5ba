"""Threads, deadline and drops, with a clock that only moves when told. Signals: one ends the stream, none ends the
writing of results, and none is lost."""

import gc
import os
import signal
import threading
from types import SimpleNamespace

import pytest
from stream_world import Drive, FakeClock

from occflow.errors import InputError
from occflow.stream import loop
from occflow.stream.jobs import no_old_garbage
from occflow.stream.latency import LatencyRecord
from occflow.stream.loop import Inbox, Interruption, Worker, run_stream
from occflow.stream.source import Arrival


class SlowForecaster:
    """A forecast is due at every sweep and takes `seconds`."""

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        self.clock, self.seconds, self.observed, self.delivered = clock, seconds, [], []

    def observe(self, arrival: Arrival):
        self.observed.append(arrival.sweep.stamp_s)
        return SimpleNamespace(arrival=arrival)

    def forecast(self, task):
        self.clock.spend(self.seconds)
        return SimpleNamespace(name="slow", stamp_s=task.arrival.sweep.stamp_s)

    def look_back(self, delivered: bool):
        self.delivered.append(delivered)
        yield


class Collector(list):
    def deliver(self, forecast) -> None:
        self.append(forecast.stamp_s)


@pytest.fixture
def parts():
    """Clock, record, sink and a worker whose forecasts take 0.3 s, with a deadline of 0.5 s."""
    clock = FakeClock()
    record, sink = LatencyRecord(clock), Collector()
    forecaster = SlowForecaster(clock, 0.3)
    return SimpleNamespace(clock=clock, record=record, sink=sink, forecaster=forecaster,
                           worker=Worker(forecaster, [sink], 0.5, clock, record))


def arrivals(clock: FakeClock, *indices: int) -> list[Arrival]:
    return [Arrival(Drive().sweep(index), (0, "drive"), clock.now()) for index in indices]


def test_the_latest_wins_and_the_overtaken_are_counted(parts):
    parts.worker.step(arrivals(parts.clock, 0, 1, 2))
    assert parts.sink == [0.5] and parts.forecaster.observed == [0.0, 0.25, 0.5]
    assert parts.record.dropped == {"forecasts overtaken": 2}


def test_what_is_late_is_not_delivered(parts):
    on_time, late, hopeless = (arrivals(parts.clock, index) for index in range(3))
    parts.worker.step(on_time)
    parts.worker.step(late)  # 0.3 s old already, 0.6 s when it is done
    parts.worker.step(hopeless)  # 0.6 s old
    assert parts.sink == [0.0]
    assert parts.record.dropped == {"forecasts late": 1, "forecasts late before they began": 1}
    assert parts.record.ages("slow")["p50"] == pytest.approx(300)
    assert parts.clock.now() == pytest.approx(100.6)  # nothing was spent on the hopeless one


class InParts(SlowForecaster):
    """Forecasts when told at once, and looks back in three parts; `told` has all in the order in which it was done."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock, 0.0)
        self.told = []

    def observe(self, arrival: Arrival):
        self.told.append(f"sweep {arrival.sweep.stamp_s:g}")
        return super().observe(arrival) if arrival.sweep.stamp_s % 0.5 == 0 else None

    def look_back(self, delivered: bool):
        stamp_s = self.observed[-1]
        for part in range(3):
            self.told.append(f"back {stamp_s:g} part {part}")
            yield


def test_a_sweep_goes_before_what_is_left_of_looking_back_but_not_twice(parts):
    forecaster, waiting = InParts(parts.clock), []
    worker = Worker(forecaster, [parts.sink], 0.5, parts.clock, parts.record, lambda: waiting and waiting.pop())
    waiting[:] = [True, False, False]  # before the third part
    worker.step(arrivals(parts.clock, 0))
    waiting[:] = [True]  # before anything of the rest: the sweep in between was none that is due
    worker.step(arrivals(parts.clock, 1))
    worker.step(arrivals(parts.clock, 2))
    assert forecaster.told == ["sweep 0", "back 0 part 0", "back 0 part 1", "sweep 0.25", "sweep 0.5", "back 0 part 2",
                               *(f"back 0.5 part {part}" for part in range(3))] and parts.sink == [0.0, 0.5]


def test_looking_back_ends_where_the_stream_does(parts):
    forecaster, inbox = InParts(parts.clock), Inbox(100, parts.record)
    worker = Worker(forecaster, [parts.sink], 0.5, parts.clock, parts.record, inbox.waits)
    run_stream(arrivals(parts.clock, *range(20)), worker, inbox, lambda: True, threading.Event())
    assert sum(one.startswith("back") for one in forecaster.told) == 3 * len(parts.sink) > 0


def test_old_objects_are_left_in_peace_while_a_stream_runs():
    before = gc.get_freeze_count()
    with pytest.raises(ValueError), no_old_garbage():
        assert gc.get_freeze_count() > before + 10_000
        raise ValueError
    assert gc.get_freeze_count() == 0


def test_the_inbox_is_bounded(parts):
    inbox = Inbox(3, parts.record)
    for arrival in arrivals(parts.clock, *range(10)):
        inbox.put(arrival)
    inbox.close()
    (batch,) = inbox.batches()
    assert [arrival.sweep.path.stem for arrival in batch] == ["7", "8", "9"]
    assert parts.record.dropped == {"sweeps that waited too long": 7}


@pytest.mark.parametrize("with_reader", [True, False])
def test_a_stream_runs_to_its_end(parts, with_reader):
    inbox = Inbox(100, parts.record) if with_reader else None
    parts.forecaster.seconds = 0.0
    begun = []
    run_stream(arrivals(parts.clock, *range(20)), parts.worker, inbox, lambda: True, threading.Event(),
               lambda: begun.append((threading.current_thread().name, len(parts.forecaster.observed))))
    assert begun == [("stream worker", 0)]
    assert parts.forecaster.observed == [index / 4 for index in range(20)]
    assert len(parts.sink) + parts.record.dropped.total() == 20
    assert with_reader or len(parts.sink) == 20  # without a reader nothing is ever dropped


@pytest.mark.parametrize("with_reader", [True, False])
def test_an_error_in_a_thread_reaches_the_caller(parts, with_reader):
    def source():
        yield from arrivals(parts.clock, 0)
        raise InputError("gone")

    inbox = Inbox(100, parts.record) if with_reader else None
    with pytest.raises(InputError, match="gone"):
        run_stream(source(), parts.worker, inbox, lambda: True, threading.Event())
    assert threading.active_count() < 10 and not any("stream" in one.name for one in threading.enumerate())


@pytest.mark.parametrize("ending", ["window closed", "interrupt"])
def test_an_endless_stream_stops_cleanly(parts, ending):
    stop = threading.Event()

    def source():
        while not stop.is_set():
            yield from arrivals(parts.clock, 0)

    def tick() -> bool:
        if ending == "interrupt":
            raise KeyboardInterrupt
        return False

    if ending == "interrupt":
        with pytest.raises(KeyboardInterrupt):
            run_stream(source(), parts.worker, Inbox(4, parts.record), tick, stop)
    else:
        run_stream(source(), parts.worker, Inbox(4, parts.record), tick, stop)
    assert stop.is_set() and not any("stream" in one.name for one in threading.enumerate())


@pytest.mark.parametrize("name", ["worker", "reader"])
def test_a_thread_that_cannot_begin_is_one_line_and_the_other_ends(parts, name, monkeypatch):
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if thread.name == f"stream {name}":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(InputError, match=f"stream's {name} cannot begin .can't start new thread.; .*ulimit -u"):
        run_stream(arrivals(parts.clock, 0), parts.worker, Inbox(4, parts.record), lambda: True, threading.Event())
    assert not any("stream" in one.name for one in threading.enumerate())


@pytest.mark.parametrize("with_reader", [True, False])
def test_a_log_that_does_not_answer_any_more_does_not_hold_the_stream(parts, with_reader, monkeypatch):
    """The reader hangs in a read of a dead network drive; the window is closed."""
    monkeypatch.setattr(loop, "GRACE_S", 0.05)
    answers = threading.Event()

    def source():
        yield from arrivals(parts.clock, 0)
        answers.wait()

    inbox = Inbox(4, parts.record) if with_reader else None
    ending = "reader" if with_reader else "worker"
    with pytest.raises(InputError, match=f"stream's {ending} did not end within"):
        run_stream(source(), parts.worker, inbox, lambda: not parts.sink, threading.Event())
    answers.set()


@pytest.mark.parametrize("who", ["reader", "worker", "sink", "begin"])
def test_any_error_of_any_thread_ends_the_stream(parts, who):
    """Also one that nobody foresaw, with an endless source."""
    def fail(*_):
        raise ZeroDivisionError(who)

    stop = threading.Event()

    def source():
        while not stop.is_set():
            yield from arrivals(parts.clock, 0)
            if who == "reader":
                fail()

    if who == "worker":
        parts.forecaster.forecast = fail
    if who == "sink":
        parts.sink.deliver = fail
    with pytest.raises(ZeroDivisionError, match=who):
        run_stream(source(), parts.worker, Inbox(4, parts.record), lambda: True, stop,
                   fail if who == "begin" else lambda: None)
    assert not any("stream" in one.name for one in threading.enumerate())


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_what_may_end_and_more_of_them_do_not_end_what_follows(number, status):
    before = signal.getsignal(number)
    with Interruption() as interruption:
        with pytest.raises(KeyboardInterrupt), interruption.allowed():
            send(number)
        for _ in range(3):
            send(number)  # while the report is written
        assert interruption.first == number and interruption.status == status
    assert signal.getsignal(number) == before


def test_a_second_signal_ends_the_next_thing_that_may_end():
    with Interruption() as interruption:
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt), interruption.allowed():
                send(signal.SIGINT)


def test_results_that_never_get_written_can_be_given_up(monkeypatch):
    with Interruption():
        send(signal.SIGTERM)
        monkeypatch.setattr(loop, "PATIENCE_S", -1.0)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGTERM)


def test_what_the_process_was_told_to_ignore_stays_ignored():
    """As `nohup` does."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption, interruption.allowed():
            send(signal.SIGHUP)
        assert interruption.first is None
    finally:
        signal.signal(signal.SIGHUP, before)
