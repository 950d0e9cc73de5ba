"""One line that tells a person how a stream is doing."""

from __future__ import annotations

import threading

from occflow.stream.clock import Clock
from occflow.stream.console import Console
from occflow.stream.latency import LatencyRecord

TERMINAL_S, LOG_S = 0.5, 5.0  # between two lines: on a terminal they take each other's place
CLEAR = "\r\x1b[K"


class Progress:
    """Writes the line; notices appear above it.

    Args:
        name: of the network, whose ages are told.
    """

    def __init__(self, record: LatencyRecord, name: str, clock: Clock, console: Console) -> None:
        self._record, self._name, self._clock, self._console = record, name, clock, console
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
        delivered = ", ".join(f"{count} {name}" for name, count in record.delivered.copy().items()) or "0"
        dropped = sum(record.dropped.copy().values())
        memory = f"{record.memory_mib[-1]:.0f} MiB" if record.memory_mib else ""
        return f"{record.sweeps} sweeps | delivered {delivered} | {age} | dropped {dropped} | {memory}"

    def close(self) -> None:
        """End the line."""
        if self._terminal:
            self._console.write("")
