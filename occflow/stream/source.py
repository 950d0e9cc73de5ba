"""A driving log as a stream: its sweeps one by one, when the sensor would have sent them."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from occflow.errors import InputError
from occflow.logs.protocol import DrivingLog, Sweep
from occflow.records import one_line
from occflow.stream.clock import Clock
from occflow.stream.notices import Notices
from occflow.stream.pacing import MAX_LATE_S, Pacing
from occflow.stream.refusals import refusal

MAX_UNREADABLE = 20  # sweeps in a row; then the log is gone and the stream ends


@dataclass(frozen=True)
class Arrival:
    """A sweep, the scene (and the round) it belongs to, and when it arrived on the stream's clock, seconds."""

    sweep: Sweep
    drive: tuple[int, str]
    arrived_s: float


class Replay:
    """Iterates over the sweeps of scenes as they arrive.

    Args:
        log, scenes: what to replay, and in which order.
        pace: seconds of the sensor in a second of the clock; 0: without waiting.
        loops: how often.
        stop: ends the replay.
        longest_pause_s: a longer gap in the recording is taken for one of this length.
    """

    def __init__(self, log: DrivingLog, scenes: list[str], pace: float, loops: int, clock: Clock, notices: Notices,
                 stop: threading.Event, longest_pause_s: float = math.inf) -> None:
        self._log, self._scenes, self._pace, self._loops = log, scenes, pace, loops
        self._longest_pause_s = longest_pause_s
        self._clock, self._notices, self._stop = clock, notices, stop

    def __iter__(self) -> Iterator[Arrival]:
        """The arrivals.

        Raises:
            InputError: nothing of a whole round was usable, or too many sweeps in a row could not be read.
        """
        for loop in range(self._loops):
            read = 0
            for scene in self._scenes:
                for arrival in self._drive((loop, scene)):
                    read += 1
                    yield arrival
                if self._stop.is_set():
                    return
            if not read:
                raise InputError(f"{self._log.name}: no sweep of {len(self._scenes)} scenes is usable; the notices "
                                 "above name the files")

    def _drive(self, drive: tuple[int, str]) -> Iterator[Arrival]:
        """One scene; its first sweep arrives now, a sweep out of order at once.

        A sweep arrives when the sensor would have sent it, also where the reader was busy until a little later: ages
        hold that too.
        """
        pacing = Pacing(self._pace, self._longest_pause_s, self._clock, self._notices) if self._pace > 0 else None
        last_s = -math.inf
        for sweep in usable_sweeps(self._log, drive[1], self._notices):
            due_s = pacing.due_s(sweep) if pacing else last_s
            self._clock.wait_until(due_s, self._stop)
            if self._stop.is_set():
                return
            arrived_s = now_s = self._clock.now()
            if due_s > last_s:
                arrived_s, late_s = min(due_s, now_s), now_s - due_s
                if late_s > MAX_LATE_S:
                    self._notices.say("reader late", f"{sweep.path}: read {late_s:.1f} s after its time; the replay "
                                      "goes on from there")
                    pacing.restart(sweep, now_s)
                    arrived_s = now_s
            last_s = arrived_s
            yield Arrival(sweep, drive, arrived_s)


def usable_sweeps(log: DrivingLog, scene: str, notices: Notices) -> Iterator[Sweep]:
    """The sweeps of a scene that can be read and have nothing that speaks against them; the others are told.

    Raises:
        InputError: too many in a row could not be read.
    """
    for sweep in readable_sweeps(log, scene, notices):
        fault = refusal(sweep)
        if fault:
            notices.say(*fault)
        else:
            yield sweep


def readable_sweeps(log: DrivingLog, scene: str, notices: Notices) -> Iterator[Sweep]:
    """The sweeps of a scene without those that cannot be read; each of these is told, and so is a scene without any.

    Where the log's iterator ends with an error, as a generator does, so does the scene; those of our readers go on.

    Raises:
        InputError: too many in a row.
    """
    try:
        sweeps, unreadable = iter(log.sweeps(scene)), 0
    except (InputError, OSError) as error:
        notices.say("unreadable scene", _reason(error))
        return
    while True:
        try:
            sweep = next(sweeps)
        except StopIteration:
            return
        except (InputError, OSError) as error:
            unreadable += 1
            notices.say("unreadable sweep", _reason(error))
            if unreadable == MAX_UNREADABLE:
                raise InputError(f"{_reason(error)} (so are the {MAX_UNREADABLE - 1} sweeps before it)") from None
            continue
        unreadable = 0
        yield sweep


def _reason(error: InputError | OSError) -> str:
    """The line of an error; that of a disk that fails names the file."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror or one_line(error)}"
    return str(error)
