"""Signals: one ends the stream, none ends the writing of results, and none is lost."""

import os
import signal

import pytest

from occflow.stream import interruption as module
from occflow.stream.interruption import Interruption


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
        monkeypatch.setattr(module, "PATIENCE_S", -1.0)
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
