"""Warnings as one line each, without the line of Python that gave them."""

from __future__ import annotations

import sys
import warnings
from typing import TextIO

ABOUT_CODE = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)  # of a dependency: nothing to do about it


def show_warnings_as_lines() -> None:
    """From here on a warning is `warning: MESSAGE` on stderr, in this process; those about code are not shown."""
    warnings.showwarning = _show


def _show(message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None,
          line: str | None = None) -> None:
    if not issubclass(category, ABOUT_CODE):
        print(f"warning: {' '.join(str(message).split())}", file=file or sys.stderr, flush=True)
