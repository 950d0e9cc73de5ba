"""Is there a display to open a window on?

Open3D does not say: without one it draws into memory and runs for ever, unseen. So the door is tried before.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path

from occflow.errors import InputError

CONNECT_S = 3.0
X11_SOCKETS = "/tmp/.X11-unix/X"  # where X servers listen, followed by the number of the display
X11_PORT = 6000


def require_display() -> None:
    """Refuse to open a window where nobody would see it.

    Raises:
        InputError: no display, or one that does not answer.
    """
    if not sys.platform.startswith("linux") or _wayland_answers():
        return
    display = os.environ.get("DISPLAY")
    if not display:
        raise InputError("no display (DISPLAY is not set), the player needs one; for pictures run render")
    if not _x11_answers(display):
        raise InputError(f"display {display} does not answer, the player needs one; for pictures run render")


def has_display() -> bool:
    """Whether a window would be seen."""
    try:
        require_display()
    except InputError:
        return False
    return True


def _wayland_answers() -> bool:
    name = os.environ.get("WAYLAND_DISPLAY")
    return bool(name) and _connects(socket.AF_UNIX, str(Path(os.environ.get("XDG_RUNTIME_DIR", "/")) / name))


def _x11_answers(display: str) -> bool:
    """Whether a server listens at a display name such as ":0", "unix:1" or "localhost:10.0"."""
    parts = re.fullmatch(r"(.*):(\d+)(\.\d+)?", display)
    if parts is None:
        return False
    host, number = parts[1], int(parts[2])
    if host in ("", "unix"):
        # Linux servers listen at the path, in the abstract namespace, or both.
        return any(_connects(socket.AF_UNIX, f"{prefix}{X11_SOCKETS}{number}") for prefix in ("", "\0"))
    return _connects(socket.AF_INET, (host, X11_PORT + number))


def _connects(family: int, address: str | tuple[str, int]) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(CONNECT_S)
            connection.connect(address)
    except (OSError, OverflowError):
        return False
    return True
