"""Lines for whoever watches; a stream goes on where nobody does: a closed pipe, a terminal that went away."""

from __future__ import annotations

import os
import sys
from typing import TextIO


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
