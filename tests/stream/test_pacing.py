"""Gaps in a recording: nobody waits for an hour, and nobody waits for long without a word."""

import threading
from dataclasses import replace

import pytest
from stream_world import Drive, FakeClock

from occflow.stream.clock import SystemClock
from occflow.stream.notices import Notices
from occflow.stream.source import Replay

HOUR_S = 3600.0


def arrivals(stamps_s: list[float], pace: float = 1.0, longest_pause_s: float = 5.0) -> tuple[list[float], list[str]]:
    """When sweeps with these stamps arrive, seconds after the first, and what was told."""
    class Log(Drive):
        def sweeps(self, scene: str):
            return (replace(self.sweep(0), stamp_s=stamp_s) for stamp_s in stamps_s)

    clock, told = FakeClock(), []
    source = Replay(Log(), ["one"], pace, 1, clock, Notices(lambda text: told.append((clock.now() - 100.0, text))),
                    threading.Event(), longest_pause_s)
    return [arrival.arrived_s - 100.0 for arrival in source], told


@pytest.mark.parametrize(("pace", "expected"), [(1.0, [0.0, 0.5, 5.5, 6.0]), (2.0, [0.0, 0.25, 2.75, 3.0])])
def test_an_hour_is_taken_for_the_longest_pause_and_told_before_it_is_waited_for(pace, expected):
    arrived, told = arrivals([0.0, 0.5, HOUR_S, HOUR_S + 0.5], pace)
    assert arrived == pytest.approx(expected)
    ((told_s, text),) = told
    assert told_s == pytest.approx(expected[1])
    assert "pause shortened" in text and "3599.5 s" in text and "stream.longest_pause_s" in text


def test_a_gap_within_the_longest_pause_is_waited_for_and_told_where_it_is_long():
    arrived, told = arrivals([0.0, 2.0, 6.0, 6.5])
    assert arrived == pytest.approx([0.0, 2.0, 6.0, 6.5])
    ((told_s, text),) = told
    assert told_s == pytest.approx(2.0) and text.startswith("pause: ") and "going on in 4.0 s" in text


def test_after_a_clock_that_ran_back_sweeps_come_at_the_sensors_pace():
    arrived, _ = arrivals([1000.0, 1000.5, 3.0, 3.5, 4.0])
    assert arrived == pytest.approx([0.0, 0.5, 0.5, 1.0, 1.5])


@pytest.mark.parametrize("stamp_s", [1e300, -1e300, float("inf"), float("nan"), 1.5e18])
def test_a_stamp_that_is_no_time_is_left_out_and_told(stamp_s):
    """The last one is in nanoseconds."""
    arrived, told = arrivals([0.0, 0.5, stamp_s, 1.0, stamp_s])
    assert arrived == pytest.approx([0.0, 0.5, 1.0])
    assert [text.split(":")[0] for _, text in told] == ["bad stamp"] * 2


def test_the_machines_clock_waits_for_any_time_until_it_is_stopped():
    stop = threading.Event()
    threading.Timer(0.02, stop.set).start()
    SystemClock().wait_until(1e300, stop)
    assert stop.is_set()
