"""What a stream has to say: each kind counted, the last ones kept, all told at once."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

KEPT = 100  # of the notices, for the report


class Notices:
    """Takes notices from the reader's and the worker's thread.

    Args:
        tell: what to do with the text of a notice, such as printing it.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self.counts: Counter[str] = Counter()
        self.last: deque[str] = deque(maxlen=KEPT)

    def say(self, kind: str, text: str) -> None:
        """Note that something of a kind ("silence", "pose jump", ...) has happened."""
        self.counts[kind] += 1
        self.last.append(f"{kind}: {text}")
        self._tell(f"{kind}: {text}")
