"""What a stream tells whoever watches: lines, notices of what happened, one line of how it is doing. It goes on where
nobody watches: a closed pipe, a terminal that went away."""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import TextIO

from occflow.errors import spelt_out
from occflow.stream.clock import Clock
from occflow.stream.latency import LatencyRecord, counted

KEPT = 100  # of the notices, for the report
TOLD = 20  # of a kind one by one; then the 40th, the 80th, ...: a sensor that fails for hours does not fill the screen
TERMINAL_S, LOG_S = 0.5, 5.0  # between two lines of progress: on a terminal they take each other's place
CLEAR = "\r\x1b[K"


class Console:
    """Prints to a text stream, `sys.stdout` unless told; once that cannot be written to, nowhere."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream  # None still where the process began without any
        try:
            self.is_terminal = self._stream is not None and self._stream.isatty()
        except ValueError:  # closed
            self.is_terminal, self._stream = False, None

    def write(self, text: str, end: str = "\n") -> None:
        if self._stream is None:
            return
        try:
            print(text, end=end, file=self._stream, flush=True)
        except UnicodeEncodeError:
            print(text.encode("ascii", "backslashreplace").decode(), end=end, file=self._stream, flush=True)
        except (OSError, ValueError):
            self._give_up()

    def _give_up(self) -> None:
        """From now on what is written goes to the null device, also what was not flushed and is at exit."""
        stream, self._stream = self._stream, None
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
        except (OSError, ValueError):  # not a file of the system's
            pass


class Notices:
    """Takes notices from the reader's and the worker's thread.

    Args:
        tell: what to do with the text of a notice, such as printing it.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell, self._lock = tell, threading.Lock()
        self.counts: Counter[str] = Counter()
        self.last: deque[str] = deque(maxlen=KEPT)

    def say(self, kind: str, text: str) -> None:
        """Note that something of a kind ("silence", "pose jump", ...) has happened."""
        notice = spelt_out(f"{kind}: {text}")
        with self._lock:
            self.counts[kind] += 1
            count = self.counts[kind]
            self.last.append(notice)
        rounds, left = divmod(count, TOLD)
        if count < TOLD:
            self._tell(notice)
        elif not left and rounds & (rounds - 1) == 0:  # TOLD times a power of two
            self._tell(f"{notice} (number {count} of its kind; the next one told is number {2 * count})")


class Progress:
    """Writes the line; notices appear above it.

    Args:
        name: of the network, whose ages are told.
        running: how the forecasts did so far, in a few words; empty while nobody knows.
    """

    def __init__(self, record: LatencyRecord, name: str, clock: Clock, console: Console,
                 running: Callable[[], str] = str) -> None:
        self._record, self._name, self._clock, self._console = record, name, clock, console
        self._running = running
        self._terminal, self._lock, self._next_s = console.is_terminal, threading.Lock(), 0.0

    def tell(self, text: str) -> None:
        """A line of its own; any thread may call."""
        with self._lock:
            self._console.write(f"{CLEAR if self._terminal else ''}{text}")
            self._next_s = min(self._next_s, self._clock.now() + TERMINAL_S) if self._terminal else self._next_s

    def tick(self) -> None:
        """Write the line, if it is time."""
        self._record.sample_memory()
        if self._clock.now() < self._next_s:
            return
        with self._lock:
            self._next_s = self._clock.now() + (TERMINAL_S if self._terminal else LOG_S)
            start, end = (CLEAR, "") if self._terminal else ("", "\n")
            self._console.write(f"{start}{self.line()}", end)

    def line(self) -> str:
        record, ages = self._record, self._record.ages(self._name)
        age = "no forecast yet" if ages["p50"] is None else f"age {ages['p50']:.0f} ms (p99 {ages['p99']:.0f})"
        delivered = counted(record.delivered.copy())
        dropped = sum(record.dropped.copy().values())
        memory = f"{record.memory_mib[-1]:.0f} MiB" if record.memory_mib else ""
        running = self._running()
        parts = [f"{record.sweeps} sweeps", f"delivered {delivered}", age, f"dropped {dropped}"]
        return " | ".join([*parts, *([f"IoU {running}"] if running else []), memory])

    def close(self) -> None:
        """End the line."""
        if self._terminal:
            self._console.write("")
