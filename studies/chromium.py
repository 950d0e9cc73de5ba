"""A headless Chromium, driven by its DevTools protocol over two pipes: pages are opened, asked, clicked, photographed.

No package is needed beside the browser itself (Debian's chromium, or Chrome). WebGL is drawn in software (SwiftShader).
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = ("--headless=new", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check", "--disable-gpu",
         "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage", "--hide-scrollbars",
         "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--mute-audio",
         "--force-color-profile=srgb", "--disable-frame-rate-limit", "--disable-gpu-vsync")
PATIENCE_S = 60.0  # for an answer, on a machine that is busy
ABOVE = 10  # file descriptors below it are the browser's own: it reads commands from 3 and writes answers to 4


def find_chromium() -> str | None:
    """The path of a Chromium or Chrome of this machine, None without one; $CHROMIUM names another."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


class ChromiumError(Exception):
    """The browser refused, or did not answer in time."""


class Page:
    """One page of a headless browser.

    Args:
        errors: what the page's programs threw and what the browser complained of, as lines.
        requests: addresses that it asked for.
    """

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers, self._buffer, self._number = commands, answers, b"", 0
        self._session: str | None = None
        self.errors: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def size(self, width: int, height: int, ratio: float = 1.0, touch: bool = False, dark: bool = False) -> None:
        """Width and height in CSS pixels, device pixels to each, and what the user's system prefers."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=ratio,
                  mobile=touch)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme",
                                                            "value": "dark" if dark else "light"}])

    def open(self, path: Path) -> None:
        """Open a file, and wait until the page says that it is ready.

        Raises:
            ChromiumError: no such file, or it does not get ready.
        """
        refused = self.call("Page.navigate", url=Path(path).resolve().as_uri()).get("errorText")
        if refused:
            raise ChromiumError(f"{path}: {refused}")
        until_s = time.monotonic() + PATIENCE_S
        while not self.ask("document.readyState === 'complete' && location.href !== 'about:blank'"):
            if time.monotonic() > until_s:
                raise ChromiumError(f"{path} is not loaded after {PATIENCE_S:.0f} s")
            time.sleep(0.02)
        self.ask("window.occflow && occflow.ready")

    def ask(self, expression: str) -> Any:
        """The value of an expression, JSON; of a promise what it comes to.

        Raises:
            ChromiumError: it throws.
        """
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise ChromiumError(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key, by its name in JavaScript."""
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def click(self, x: float, y: float) -> None:
        """Press and release the left button at a place, CSS pixels."""
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Draw the pressed left button from one place to another, CSS pixels."""
        self.call("Input.dispatchMouseEvent", type="mousePressed", x=start[0], y=start[1], button="left", clickCount=1)
        for share in (0.5, 1.0):
            x, y = (a + share * (b - a) for a, b in zip(start, end))
            self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, button="left", buttons=1)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", x=end[0], y=end[1], button="left", clickCount=1)

    def photograph(self, path: Path) -> None:
        """Write what the page shows as a PNG."""
        self.ask("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        Path(path).write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def call(self, method: str, **parameters: Any) -> dict:
        """The answer to a command of the DevTools protocol.

        Raises:
            ChromiumError: it is refused, or there is no answer.
        """
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        try:
            os.write(self._commands, json.dumps(message).encode() + b"\0")
        except BrokenPipeError:
            raise ChromiumError(f"{method}: the browser has ended") from None
        until_s = time.monotonic() + PATIENCE_S
        while True:
            answer = self._receive(method, until_s)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise ChromiumError(f"{method}: {answer['error'].get('message')}")
                return answer["result"]
            self._note(answer)

    def _receive(self, method: str, until_s: float) -> dict:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, until_s - time.monotonic()))
            part = os.read(self._answers, 1 << 20) if ready else b""
            if not part:
                raise ChromiumError(f"{method}: no answer" + ("" if ready else f" within {PATIENCE_S:.0f} s"))
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict) -> None:
        kind, values = event.get("method"), event.get("params", {})
        if kind == "Runtime.exceptionThrown":
            details = values["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif kind == "Log.entryAdded" and values["entry"]["level"] == "error":
            self.errors.append(values["entry"]["text"])
        elif kind == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])


@contextmanager
def chromium(program: str | None = None) -> Iterator[Page]:
    """A page of a browser of its own, which ends with the block.

    Raises:
        ChromiumError: none is found, or it does not start.
    """
    program = program or find_chromium()
    if program is None:
        raise ChromiumError("no Chromium on this machine: apt-get install chromium, or set CHROMIUM=PATH")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        sandbox = ["--no-sandbox"] if os.getuid() == 0 else []  # Chromium's own refuses root
        reads, commands = os.pipe()
        answers, writes = os.pipe()
        theirs = [fcntl.fcntl(handle, fcntl.F_DUPFD_CLOEXEC, ABOVE) for handle in (reads, writes)]
        for handle in (reads, writes):
            os.close(handle)
        quiet = [(os.POSIX_SPAWN_OPEN, handle, os.devnull, os.O_RDWR, 0) for handle in (0, 1, 2)]
        pipes = [(os.POSIX_SPAWN_DUP2, handle, place) for handle, place in zip(theirs, (3, 4))]
        arguments = [program, *FLAGS, *sandbox, f"--user-data-dir={profile}", "about:blank"]
        try:
            process = os.posix_spawnp(program, arguments, os.environ, file_actions=[*quiet, *pipes], setpgroup=0)
        except OSError as error:
            os.close(commands)
            os.close(answers)
            raise ChromiumError(f"{program}: {error.strerror}") from None
        finally:
            for handle in theirs:
                os.close(handle)
        try:
            yield Page(commands, answers)
        finally:
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            os.close(commands)
            os.close(answers)
