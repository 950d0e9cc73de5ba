"""Boxes of objects that are annotated at one of the keyframes around a sweep only."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from occflow.geometry import planar_pose
from occflow.logs.boxes import interpolate_boxes
from occflow.logs.protocol import Box, Keyframe
from occflow.occupancy.building.tracks import Tracks


def box(track: str, x: float) -> Box:
    return Box(track, 4, planar_pose(x, 1.0, 0.3), np.array([4.0, 2.0, 1.5]))


def test_who_comes_or_goes_between_keyframes_goes_on_as_he_went():
    annotated = [(box("leaves", 0), box("stays", 8)), (box("leaves", 3), box("stays", 9), box("once", 5)),
                 (box("stays", 10), box("comes", -4)), (box("stays", 11), box("comes", -6))]
    keyframes = [Keyframe(str(k), k / 2, np.eye(4), boxes) for k, boxes in enumerate(annotated)]
    between = interpolate_boxes(annotated[1], annotated[2], 0.4)
    log = SimpleNamespace(boxes_at=lambda scene, stamp_s: between if stamp_s == 0.7 else list(annotated[1]))
    tracks = Tracks(log, "street", keyframes)
    found = {one.track: one.world_from_box[0, 3] for one in tracks.boxes_at(0.7)}
    assert found == pytest.approx({"stays": 9.4, "leaves": 3 + 0.4 * 3, "comes": -4 + 0.6 * 2})
    assert [one.track for one in tracks.boxes_at(0.5)] == ["leaves", "stays", "once"]  # as annotated
