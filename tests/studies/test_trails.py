"""What the study of truths without boxes counts."""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile

import numpy as np
from real_recordings import DRIVE

from occflow.geometry import planar_pose
from occflow.grid import CLASS_NAMES, VoxelGrid
from occflow.logs.open import open_log
from occflow.logs.protocol import Box, Keyframe
from occflow.occupancy.building.scene_frames import build_scene
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.settings import DEMO_GRID, OccupancySettings
from studies.trails import Unannotated, agreement, built, moving_tracks, scored, ways_of_movers

CAR = CLASS_NAMES.index("car")
GRID = VoxelGrid((0.0, 0.0, 0.0), (10, 10, 1), 1.0)


def frame(number: int, *voxels: int) -> OccupancyFrame:
    """A car on voxel (number, 4), a kerb on others."""
    box = Box("car", CAR, planar_pose(number + 0.5, 4.5, 0.0, 0.5), np.ones(3))
    flat = np.unique([10 * number + 4, *voxels])
    return OccupancyFrame(flat, np.full(len(flat), CAR, np.uint8), np.eye(4), float(number), boxes=(box,))


def test_who_moves_and_where_to():
    frames = [frame(number, 99) for number in range(3)]
    stands = Box("parked", CAR, planar_pose(9.5, 9.5, 0.0, 0.5), np.ones(3))
    keyframes = [Keyframe(str(one.stamp_s), one.stamp_s, np.eye(4), (*one.boxes, stands)) for one in frames]
    assert moving_tracks(keyframes) == {"car"}
    ways = ways_of_movers(frames, GRID, {"car"})
    assert len(ways) == 3 and all(np.array_equal(way, ways[0]) for way in ways)  # one way, whenever
    assert ways[0].reshape(10, 10)[:3, 4].all() and not ways[0].reshape(10, 10)[5:].any() and not ways[0][99]


def test_iou_on_the_way_and_off_it():
    one, other, way = frame(0, 99), frame(1, 99), np.arange(100) < 80
    assert agreement(one, other, way).tolist() == [[1, 3], [0, 2], [1, 1]]
    assert built([one], [other], [way]) == "33.3 / 0.0 / 100.0"
    truth = [frame(number, 99) for number in range(9)]
    forecast = tuple(frame(number if number in (2, 4, 6) else 9, 99) for number in range(1, 7))
    assert scored({0: forecast}, truth, [way] * 9) == "100.0 / 100.0 / 100.0"


class Part:
    """The first seconds of a log, in memory."""

    def __init__(self, log: object, scene: str, seconds: float) -> None:
        until_s = log.keyframes(scene)[0].stamp_s + seconds
        self.name, self._log = log.name, log
        self._keyframes = [one for one in log.keyframes(scene) if one.stamp_s <= until_s]
        self._sweeps = list(takewhile(lambda one: one.stamp_s <= until_s, log.sweeps(scene)))

    def keyframes(self, scene):
        return self._keyframes

    def sweeps(self, scene):
        return iter(self._sweeps)

    def boxes_at(self, scene, stamp_s):
        return self._log.boxes_at(scene, stamp_s)


def test_in_real_traffic_rays_take_trails_away_and_leave_what_stands():
    log = open_log({"kind": "recording", "root": DRIVE})
    settings = OccupancySettings(causal_window_s=0.0, visibility=False)
    scene, trails = log.scenes()[0], replace(settings, see_through_m=0.0)
    part = Part(log, scene, 2.0)
    true, smeared, seen = (build_scene(one, scene, DEMO_GRID, how) for one, how in
                           ((part, settings), (Unannotated(part), trails), (Unannotated(part), settings)))
    ways = ways_of_movers(true, DEMO_GRID, moving_tracks(log.keyframes(scene)))
    before, after = ([float(value) for value in built(one, true, ways).split(" / ")] for one in (smeared, seen))
    assert after[0] > before[0] + 3 and after[1] > before[1] + 10 and after[2] > before[2] - 2
