"""When the sweeps of a replayed drive are due: as far apart as they were recorded, but for gaps nobody waits for."""

from __future__ import annotations

from occflow.logs.protocol import Sweep
from occflow.stream.clock import Clock
from occflow.stream.notices import Notices

MAX_LATE_S = 0.5  # a reader later than this has lost the sensor's pace, and starts from where it is
MAX_BACK_S = 0.5  # sweeps out of order by more than this: the recording's clock ran back
TOLD_PAUSE_S = 3.0  # of the clock; who waits for longer is told why


class Pacing:
    """The times of a drive's sweeps on the stream's clock.

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
