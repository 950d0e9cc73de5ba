"""A log replayed: pace, loops, sweeps that cannot be read, and gaps: nobody waits for an hour, nor for long without a
word."""

import errno
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from stream_world import Drive, FakeClock

from occflow.errors import InputError
from occflow.logs.nuscenes import NuScenesLog
from occflow.logs.protocol import Sweep
from occflow.stream.clock import SystemClock
from occflow.stream.console import Notices
from occflow.stream.source import MAX_UNREADABLE, Replay

HOUR_S = 3600.0


def replay(log, pace, loops=1, told=None):
    clock, stop = FakeClock(), threading.Event()
    notices = Notices((told if told is not None else []).append)
    return Replay(log, log.scenes(), pace, loops, clock, notices, stop), clock, stop


@pytest.mark.parametrize("pace", [0.5, 1.0, 4.0])
def test_sweeps_arrive_at_the_sensors_pace_or_a_factor(pace):
    source, clock, _ = replay(Drive(num_sweeps=5), pace)
    arrived = [arrival.arrived_s - 100.0 for arrival in source if arrival.drive == (0, "drive-1")]
    assert arrived == pytest.approx([i * 0.25 / pace for i in range(5)])


@pytest.mark.parametrize(("busy_s", "expected"), [(0.3, [0.0, 0.25, 0.5, 0.75]), (1.0, [0.0, 1.0, 1.25, 1.5])])
def test_a_reader_that_is_late_ages_the_sweep_and_one_that_is_far_behind_starts_from_there(busy_s, expected):
    told = []
    source, clock, _ = replay(Drive(num_sweeps=4, names=["one"]), 1.0, told=told)
    arrived = []
    for arrival in source:
        arrived.append(arrival.arrived_s - 100.0)
        clock.spend(busy_s if len(arrived) == 1 else 0.0)
    assert arrived == pytest.approx(expected)
    assert [text.split(":")[0] for text in told] == ["reader late"] * (busy_s == 1.0)


def test_pace_zero_does_not_wait_and_loops_repeat():
    source, clock, _ = replay(Drive(num_sweeps=3), 0.0, loops=2)
    drives = [arrival.drive for arrival in source]
    assert clock.now() == 100.0
    assert drives == [(loop, name) for loop in (0, 1) for name in ("drive-1", "drive-2") for _ in range(3)]


def test_stop_ends_the_replay():
    """And nothing more of the log is read, however many loops there would be."""
    log = Drive(num_sweeps=1)
    source, _, stop = replay(log, 1.0, loops=10**9)
    arrivals = iter(source)
    next(arrivals)
    stop.set()
    assert list(arrivals) == []


def test_unreadable_sweeps_are_told_and_skipped():
    told = []
    source, _, _ = replay(Drive(num_sweeps=6, broken=(2, 3), names=["one"]), 0.0, told=told)
    assert [arrival.sweep.path.stem for arrival in source] == ["0", "1", "4", "5"]
    assert told == [f"unreadable sweep: {i}.bin: truncated; copy the file again" for i in (2, 3)]


def test_a_log_that_has_gone_away_is_refused():
    source, _, _ = replay(Drive(num_sweeps=100, broken=tuple(range(4, 100))), 0.0)
    with pytest.raises(InputError, match=f"truncated.*so are the {MAX_UNREADABLE - 1}"):
        list(source)


def test_a_truncated_file_does_not_end_its_scene(tiny_log_root):
    """With the nuScenes reader, on a keyframe's scan."""
    (broken,) = tiny_log_root.rglob("tiny-1-sweep2.pcd.bin")
    broken.write_bytes(broken.read_bytes()[:-3])
    told = []
    source, _, _ = replay(NuScenesLog(tiny_log_root, "v1.0-tiny"), 0.0, told=told)
    names = [arrival.sweep.path.name.split(".")[0] for arrival in source if arrival.drive[1] == "tiny-1"]
    assert names == [f"tiny-1-sweep{index}" for index in (0, 1, 3, 4)]
    assert len(told) == 1 and "truncated scan" in told[0]


def test_a_log_of_which_nothing_can_be_read_is_refused():
    source, _, _ = replay(Drive(num_sweeps=3, broken=(0, 1, 2)), 0.0, loops=10**9)
    with pytest.raises(InputError, match="no sweep of 2 scenes"):
        list(source)


class FaultyDrive(Drive):
    """With a fault in the middle sweep of each scene, or in all."""

    def __init__(self, fault, everywhere: bool = False) -> None:
        super().__init__(num_sweeps=5)
        self.fault, self.everywhere = fault, everywhere

    def _read(self, index: int) -> Sweep:
        return self.fault(self.sweep(index)) if self.everywhere or index == 2 else self.sweep(index)


def eio(sweep: Sweep) -> Sweep:
    raise OSError(errno.EIO, "Input/output error", str(sweep.path))


FAULTS = {
    "empty sweep": lambda sweep: replace(sweep, points_sensor=np.zeros((0, 3), np.float32), labels=None),
    "bad pose": lambda sweep: replace(sweep, world_from_ego=np.full((4, 4), np.nan)),
    "bad stamp": lambda sweep: replace(sweep, stamp_s=1e300),
    "unreadable sweep": eio}


@pytest.mark.parametrize("kind", list(FAULTS))
def test_a_sweep_that_is_not_usable_is_told_and_left_out(kind):
    told = []
    source, _, _ = replay(FaultyDrive(FAULTS[kind]), 1.0, told=told)
    assert [int(arrival.sweep.path.stem) for arrival in source] == [0, 1, 3, 4] * 2
    assert [text.split(" s ")[0].split(".bin")[0] for text in told] == [f"{kind}: 2"] * 2


@pytest.mark.parametrize("kind", list(FAULTS))
def test_a_log_of_which_nothing_is_usable_is_refused(kind):
    source, _, _ = replay(FaultyDrive(FAULTS[kind], everywhere=True), 0.0, loops=10**9)
    with pytest.raises(InputError, match="no sweep of 2 scenes is usable"):
        list(source)


def test_a_pose_off_the_earth_is_not_believed():
    far = np.eye(4)
    far[0, 3] = 1e300
    source, _, _ = replay(FaultyDrive(lambda sweep: replace(sweep, world_from_sensor=far)), 0.0)
    assert Path("2.bin") not in [arrival.sweep.path for arrival in source]


@pytest.mark.parametrize("num_sweeps", [0, 1])
def test_a_log_that_ends_at_once(num_sweeps):
    source, _, _ = replay(Drive(num_sweeps=num_sweeps, names=["one"]), 1.0)
    if num_sweeps:
        assert len(list(source)) == 1
    else:
        with pytest.raises(InputError, match="no sweep of 1 scenes"):
            list(source)


def arrivals(stamps_s: list[float], pace: float = 1.0, longest_pause_s: float = 5.0) -> tuple[list[float], list[str]]:
    """When sweeps with these stamps arrive, seconds after the first, and what was told."""
    class Log(Drive):
        def sweeps(self, scene: str):
            return (replace(self.sweep(0), stamp_s=stamp_s) for stamp_s in stamps_s)

    clock, told = FakeClock(), []
    source = Replay(Log(), ["one"], pace, 1, clock, Notices(lambda text: told.append((clock.now() - 100.0, text))),
                    threading.Event(), longest_pause_s)
    return [arrival.arrived_s - 100.0 for arrival in source], told


@pytest.mark.parametrize(("pace", "expected"), [(1.0, [0.0, 0.5, 5.5, 6.0]), (2.0, [0.0, 0.25, 2.75, 3.0])])
def test_an_hour_is_taken_for_the_longest_pause_and_told_before_it_is_waited_for(pace, expected):
    arrived, told = arrivals([0.0, 0.5, HOUR_S, HOUR_S + 0.5], pace)
    assert arrived == pytest.approx(expected)
    ((told_s, text),) = told
    assert told_s == pytest.approx(expected[1])
    assert "pause shortened" in text and "3599.5 s" in text and "stream.longest_pause_s" in text


def test_a_gap_within_the_longest_pause_is_waited_for_and_told_where_it_is_long():
    arrived, told = arrivals([0.0, 2.0, 6.0, 6.5])
    assert arrived == pytest.approx([0.0, 2.0, 6.0, 6.5])
    ((told_s, text),) = told
    assert told_s == pytest.approx(2.0) and text.startswith("pause: ") and "going on in 4.0 s" in text


def test_after_a_clock_that_ran_back_sweeps_come_at_the_sensors_pace():
    arrived, _ = arrivals([1000.0, 1000.5, 3.0, 3.5, 4.0])
    assert arrived == pytest.approx([0.0, 0.5, 0.5, 1.0, 1.5])


@pytest.mark.parametrize("stamp_s", [1e300, -1e300, float("inf"), float("nan"), 1.5e18])
def test_a_stamp_that_is_no_time_is_left_out_and_told(stamp_s):
    """The last one is in nanoseconds."""
    arrived, told = arrivals([0.0, 0.5, stamp_s, 1.0, stamp_s])
    assert arrived == pytest.approx([0.0, 0.5, 1.0])
    assert [text.split(":")[0] for _, text in told] == ["bad stamp"] * 2


def test_the_machines_clock_waits_for_any_time_until_it_is_stopped():
    stop = threading.Event()
    threading.Timer(0.02, stop.set).start()
    SystemClock().wait_until(1e300, stop)
    assert stop.is_set()
