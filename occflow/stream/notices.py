"""What a stream has to say: each kind counted, the last ones kept, told as they come."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable

from occflow.errors import spelt_out

KEPT = 100  # of the notices, for the report
TOLD = 20  # of a kind one by one; then the 40th, the 80th, ...: a sensor that fails for hours does not fill the screen


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
