"""Ctrl-C, and the signals that ask a process to end: they end the stream, and let what is written become whole."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
PATIENCE_S = 15.0  # results that take longer to be written are given up at the next signal


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
