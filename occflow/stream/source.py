"""A driving log as a stream: its usable sweeps one by one, when the sensor would have sent them."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from occflow.errors import InputError
from occflow.geometry import is_rigid
from occflow.logs.protocol import DrivingLog, Sweep
from occflow.records import one_line
from occflow.stream.clock import Clock
from occflow.stream.console import Notices

MAX_UNREADABLE = 20  # sweeps in a row; then the log is gone and the stream ends
MAX_STAMP_S = 1e10  # the year 2286, where seconds since 1970 still tell microseconds apart; nanoseconds are far beyond
MAX_POSE_M = 1e8    # from the origin of any map: the earth's centre is 6.4e6 away
MAX_LATE_S = 0.5  # a reader later than this has lost the sensor's pace, and starts from where it is
MAX_BACK_S = 0.5  # sweeps out of order by more than this: the recording's clock ran back
TOLD_PAUSE_S = 3.0  # of the clock; who waits for longer is told why


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


class Pacing:
    """When a drive's sweeps are due on the stream's clock: as far apart as they were recorded, but for gaps nobody
    waits for.

    Args:
        pace: seconds of the recording in a second of the clock, more than 0.
        longest_pause_s: a longer gap in the recording, seconds of its own, is taken for one of this length.
    """

    def __init__(self, pace: float, longest_pause_s: float, clock: Clock, notices: Notices) -> None:
        self._pace, self._longest_pause_s, self._clock, self._notices = pace, longest_pause_s, clock, notices
        self._anchor: tuple[float, float] | None = None  # a stamp, and when it is due on the clock
        self._last_stamp_s = 0.0

    def due_s(self, sweep: Sweep) -> float:
        """When a sweep is due; one that is due at once is due now or before. A long wait is told before it begins."""
        stamp_s, now_s = sweep.stamp_s, self._clock.now()
        gap_s = 0.0 if self._anchor is None else stamp_s - self._last_stamp_s
        shortened = gap_s > self._longest_pause_s
        if self._anchor is None or gap_s < -MAX_BACK_S:
            self._anchor = stamp_s, now_s
        elif shortened:
            self._anchor = stamp_s, self._at(self._last_stamp_s + self._longest_pause_s)
        self._last_stamp_s, due_s = stamp_s, self._at(stamp_s)
        self._tell(sweep, gap_s, max(0.0, due_s - now_s), shortened)
        return due_s

    def restart(self, sweep: Sweep, now_s: float) -> None:
        """A sweep came too late: those after it are due as long after it as they were recorded."""
        self._anchor = sweep.stamp_s, now_s

    def _at(self, stamp_s: float) -> float:
        return self._anchor[1] + (stamp_s - self._anchor[0]) / self._pace

    def _tell(self, sweep: Sweep, gap_s: float, wait_s: float, shortened: bool) -> None:
        gap = f"the recording has nothing for {gap_s:.1f} s until {sweep.path}"
        if shortened:
            self._notices.say("pause shortened", f"{gap}; taken for {self._longest_pause_s:g} s "
                              f"(stream.longest_pause_s), going on in {wait_s:.1f} s")
        elif wait_s > TOLD_PAUSE_S:
            self._notices.say("pause", f"{gap}; going on in {wait_s:.1f} s")


def usable_sweeps(log: DrivingLog, scene: str, notices: Notices) -> Iterator[Sweep]:
    """The sweeps of a scene that can be read and have nothing that speaks against them; each of the others is told, and
    so is a scene without any.

    Where the log's iterator ends with an error, as a generator does, so does the scene; those of our readers go on.

    Raises:
        InputError: too many in a row could not be read.
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
        unreadable, fault = 0, refusal(sweep)
        if fault:
            notices.say(*fault)
        else:
            yield sweep


def refusal(sweep: Sweep) -> tuple[str, str] | None:
    """What speaks against a sweep taken by itself, which is then told, counted and not used: the kind of fault and what
    there is to say about it; None where nothing does."""
    if not (math.isfinite(sweep.stamp_s) and abs(sweep.stamp_s) <= MAX_STAMP_S):
        return "bad stamp", f"{sweep.path}: {sweep.stamp_s:g} s is no time in seconds; the sweep is left out"
    if not all(is_rigid(pose) and (np.abs(pose[:3, 3]) <= MAX_POSE_M).all()
               for pose in (sweep.world_from_sensor, sweep.world_from_ego)):
        return "bad pose", f"{sweep.path}: pose is not finite and rigid, or off the earth; the sweep is left out"
    if not len(sweep.points_sensor):
        return "empty sweep", f"{sweep.path}: no point in it; the sweep is left out"
    return None


def _reason(error: InputError | OSError) -> str:
    """The line of an error; that of a disk that fails names the file."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror or one_line(error)}"
    return str(error)
