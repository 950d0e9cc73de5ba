"""Time, as a stream needs it: a clock that can be replaced in tests."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Seconds from an arbitrary origin, never running back."""

    def now(self) -> float:
        """The time, seconds."""

    def wait_until(self, at_s: float, stop: threading.Event) -> None:
        """Return at a time, or as soon as `stop` is set."""


class SystemClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        return time.perf_counter()

    def wait_until(self, at_s: float, stop: threading.Event) -> None:
        left_s = at_s - self.now()
        if left_s > 0:
            stop.wait(min(left_s, threading.TIMEOUT_MAX))  # more is an error, not a longer wait
