"""The causal history of a stream: the same frames as the builder's, and what is not believed."""

from dataclasses import replace

import numpy as np
import pytest
from small_forecaster import GRID
from stream_world import CAR, ROAD, Drive, moved

from occflow.logs.protocol import UNLABELLED
from occflow.occupancy.building.scene_frames import build_scene_and_causal
from occflow.occupancy.settings import OccupancySettings
from occflow.occupancy.sighting import TICK_S
from occflow.stream.console import Notices
from occflow.stream.history import CausalHistory
from occflow.stream.settings import StreamSettings

OCCUPANCY = OccupancySettings(visibility=False)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def history(told):
    return lambda **settings: CausalHistory(GRID, OCCUPANCY, StreamSettings(**settings), 0.5, Notices(told.append))


def test_frames_are_the_builders_causal_frames(history):
    log, stream = Drive(), history(labels="none")
    _, causal = build_scene_and_causal(log, "drive-1", GRID, OCCUPANCY)
    made = {}
    for sweep in log.sweeps("drive-1"):
        assert stream.add(sweep)
        made[sweep.stamp_s] = stream.make_frame().seen
    for frame in causal:
        ours = made[frame.stamp_s]
        assert np.array_equal(ours.flat, frame.flat) and len(frame.flat) > 100
        assert (ours.labels == UNLABELLED).all() and np.array_equal(ours.world_from_grid, frame.world_from_grid)


@pytest.mark.parametrize("sweep_s", [0.1, 0.25])
def test_what_is_perceived_from_is_the_builders_sighting_in_every_part(told, sweep_s):
    """Cells, counts, ages and observed voxels: what a network was trained on is what it meets on the road."""
    occupancy, log = OccupancySettings(memory_s=1.5), Drive(sweep_s=sweep_s, num_sweeps=41)
    stream = CausalHistory(GRID, occupancy, StreamSettings(), 0.5, Notices(told.append))
    _, sightings = build_scene_and_causal(log, "drive-1", GRID, occupancy)
    made = {}
    for sweep in log.sweeps("drive-1"):
        stream.add(sweep)
        made[round(sweep.stamp_s, 6)] = stream.make_frame()
    for sighting in sightings:
        kept = made[sighting.stamp_s]
        assert kept.frame is None  # until somebody asks for it
        assert kept.seen.area == sighting.area
        for name in ("flat", "labels", "cells", "counts", "youngest", "oldest", "observed", "passed",
                     "world_from_grid"):
            assert np.array_equal(getattr(kept.seen, name), getattr(sighting, name)), name
    assert len(sightings) >= 4 and sightings[-1].area is not None
    assert sightings[-1].oldest.max() > 1.1 / TICK_S  # something is remembered


def test_points_are_corrected_for_the_motion_of_their_revolution_as_in_a_build(told):
    """From the fourth frame on: the motion of the first sweep is known to a build only, from the next sweep."""
    corrected = replace(OCCUPANCY, revolution_s=0.25)  # as long as from sweep to sweep: half a metre of the way
    log, changed = Drive(), 0
    _, causal = build_scene_and_causal(log, "drive-1", GRID, corrected)
    streams = [CausalHistory(GRID, one, StreamSettings(labels="none"), 0.5, Notices(told.append))
               for one in (corrected, OCCUPANCY)]
    frames = {frame.stamp_s: frame for frame in causal if frame.stamp_s >= 1.5}
    for sweep in log.sweeps("drive-1"):
        for stream in streams:
            assert stream.add(sweep)
        ours, plain = (stream.make_frame().seen for stream in streams)
        if sweep.stamp_s in frames:
            assert np.array_equal(ours.flat, frames[sweep.stamp_s].flat)
            changed += not np.array_equal(ours.flat, plain.flat)
    assert changed > 0


def test_labels_of_the_log_are_used_where_wanted(history):
    stream = history(labels="log")
    stream.add(Drive().sweep(0))
    labels = stream.make_frame().frame.labels
    assert {ROAD, CAR} <= set(labels.tolist()) and UNLABELLED not in labels
    stream = history(labels="log")
    stream.add(Drive(labelled=False).sweep(0))
    assert set(stream.make_frame().frame.labels.tolist()) == {UNLABELLED}


def test_memory_is_bounded(history):
    stream, log = history(rate_hz=10.0), Drive(sweep_s=0.1)
    for index in range(60):
        stream.add(log.sweep(index))
        stream.make_frame()
    assert len(stream._frames) <= 8 and len(stream._returns) <= 11 and len(stream._poses) <= 7


@pytest.mark.parametrize("sweep_s", [0.1, 0.25])
def test_a_pose_jump_is_noticed_at_any_rate_and_braking_is_none(history, told, sweep_s):
    log, stream = Drive(sweep_s=sweep_s), history()
    for index in range(5):
        stream.add(log.sweep(index))
    last = log.sweep(4)
    braked = replace(log.sweep(5), world_from_ego=last.world_from_ego)  # 2 m/s -> 0 at once: 20 m/s^2 at 10 Hz
    assert stream.add(braked) and not told
    stream.make_frame()
    assert stream.add(moved(log.sweep(6), 5.0)) and "pose jump" in told[0]
    assert stream.before(stream.make_frame(), 2, 0.5) is None


def test_out_of_order_and_broken_poses_are_left_out(history, told):
    log, stream = Drive(), history()
    stream.add(log.sweep(0))
    stream.add(log.sweep(2))
    assert not stream.add(log.sweep(1)) and "out of order" in told[0]
    assert not stream.add(replace(log.sweep(3), world_from_ego=np.full((4, 4), np.nan))) and "bad pose" in told[1]
    assert stream.add(log.sweep(3)) and len(told) == 2


def test_a_clock_that_runs_back_starts_anew(history, told):
    log, stream = Drive(), history()
    stream.add(log.sweep(10))
    assert stream.add(log.sweep(0)) and "clock ran back" in told[0]
    assert stream.make_frame().seen.stamp_s == 0.0


def test_a_sweep_without_a_return_near_enough_is_left_out_and_told(history, told):
    """A covered sensor sees nothing, or only what is no matter: neither is an empty road."""
    log, stream = Drive(), history()
    assert stream.add(log.sweep(0))
    for points in (np.zeros((0, 3), np.float32), np.full((9, 3), 300.0, np.float32), np.full((9, 3), np.nan)):
        assert not stream.add(replace(log.sweep(1), points_sensor=points, labels=np.full(len(points), ROAD, np.uint8)))
    assert [text.split(":")[0] for text in told] == ["empty sweep"] * 3
    assert stream.add(log.sweep(2)) and len(told) == 3


@pytest.mark.parametrize("after_s", [0.0, 1e-9])
def test_the_same_stamp_again_is_out_of_order(history, told, after_s):
    log, stream = Drive(), history()
    stream.add(log.sweep(0))
    assert not stream.add(replace(log.sweep(1), stamp_s=after_s)) and "out of order" in told[0]
