"""Warnings as one line each, without the line of Python that gave them."""

from __future__ import annotations

import warnings

ABOUT_CODE = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)  # of a dependency: nothing to do about it


def show_warnings_as_lines() -> None:
    """From here on a warning is `warning: MESSAGE` on stderr, in this process; those about code are not shown."""
    warnings.formatwarning = _line


def _line(message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
    return "" if issubclass(category, ABOUT_CODE) else f"warning: {' '.join(str(message).split())}\n"
