"""A driving log as a stream: its sweeps one by one, when the sensor would have sent them."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from occflow.errors import InputError
from occflow.logs.protocol import DrivingLog, Sweep
from occflow.runtime.stream.clock import Clock
from occflow.runtime.stream.notices import Notices

MAX_LATE_S = 0.5  # a reader later than this has lost the sensor's pace, and starts from where it is
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
    """

    def __init__(self, log: DrivingLog, scenes: list[str], pace: float, loops: int, clock: Clock, notices: Notices,
                 stop: threading.Event) -> None:
        self._log, self._scenes, self._pace, self._loops = log, scenes, pace, loops
        self._clock, self._notices, self._stop = clock, notices, stop

    def __iter__(self) -> Iterator[Arrival]:
        """The arrivals.

        Raises:
            InputError: nothing of a whole round could be read, or too many sweeps in a row could not.
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
                raise InputError(f"{self._log.name}: no sweep of {len(self._scenes)} scenes could be read; the notices "
                                 "above name the files")

    def _drive(self, drive: tuple[int, str]) -> Iterator[Arrival]:
        """One scene; its first sweep arrives now, a sweep out of order at once.

        A sweep arrives when the sensor would have sent it, also where the reader was busy until a little later: ages
        hold that too.
        """
        start: tuple[float, float] | None = None  # stamp and arrival of the first sweep
        last_s = -math.inf
        for sweep in readable_sweeps(self._log, drive[1], self._notices):
            if start is None:
                start = sweep.stamp_s, self._clock.now()
            due_s = start[1] + (sweep.stamp_s - start[0]) / self._pace if self._pace > 0 else last_s
            self._clock.wait_until(due_s, self._stop)
            if self._stop.is_set():
                return
            arrived_s = now_s = self._clock.now()
            if due_s > last_s:
                arrived_s, late_s = min(due_s, now_s), now_s - due_s
                if late_s > MAX_LATE_S:
                    self._notices.say("reader late", f"{sweep.path}: read {late_s:.1f} s after its time; the replay "
                                      "goes on from there")
                    start, arrived_s = (sweep.stamp_s, now_s), now_s
            last_s = arrived_s
            yield Arrival(sweep, drive, arrived_s)


def readable_sweeps(log: DrivingLog, scene: str, notices: Notices) -> Iterator[Sweep]:
    """The sweeps of a scene without those that cannot be read; each of these is told, and so is a scene without any.

    Where the log's iterator ends with an error, as a generator does, so does the scene; those of our readers go on.

    Raises:
        InputError: too many in a row.
    """
    try:
        sweeps, unreadable = iter(log.sweeps(scene)), 0
    except InputError as error:
        notices.say("unreadable scene", str(error))
        return
    while True:
        try:
            sweep = next(sweeps)
        except StopIteration:
            return
        except InputError as error:
            unreadable += 1
            notices.say("unreadable sweep", str(error))
            if unreadable == MAX_UNREADABLE:
                raise InputError(f"{error} (so are the {MAX_UNREADABLE - 1} sweeps before it)") from None
            continue
        unreadable = 0
        yield sweep
