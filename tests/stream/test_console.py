"""Lines for somebody who may have gone, from files that may say anything."""

import io
import os

from stream_world import FakeClock

from occflow.stream.console import TOLD, Console, Notices, Progress
from occflow.stream.latency import LatencyRecord


def test_a_closed_pipe_silences_the_progress_and_nothing_else():
    """Nor does the process stumble over what was not flushed when it ends."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        progress = Progress(LatencyRecord(FakeClock()), "student-1", FakeClock(), Console(stream))
        for _ in range(2):
            progress.tick()
            progress.tell("silence: no sweep")
        progress.close()
        stream.write("still there")
        stream.flush()


def test_without_any_output_there_is_silence(monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr("sys.stdout", None)
    for console in (Console(), Console(closed)):
        console.write("nobody")
        assert not console.is_terminal


def test_what_an_encoding_lacks_is_spelt_out():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", newline="\n")
    Console(stream).write("Straße")
    assert stream.buffer.getvalue() == b"Stra\\xdfe\n"


def test_names_from_files_cannot_steer_the_terminal():
    told = []
    Notices(told.append).say("silence", "until \x1b[2Jevil\n\udcff.bin")
    assert told == [r"silence: until \x1b[2Jevil\n\udcff.bin"]


def test_a_fault_that_lasts_does_not_fill_the_screen():
    told, number = [], 100_000
    notices = Notices(told.append)
    for _ in range(number):
        notices.say("empty sweep", "0.bin")
    assert notices.counts["empty sweep"] == number and TOLD <= len(told) < 2 * TOLD
