"""Boxes between two instants: every track as its pose goes, whatever else is there."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from occflow.geometry import pose_matrix
from occflow.logs.boxes import interpolate_boxes
from occflow.logs.protocol import Box


def random_box(rng: np.random.Generator, track: str) -> Box:
    quaternion = rng.normal(size=4)
    pose = pose_matrix(rng.uniform(-1e3, 1e3, 3), quaternion / np.linalg.norm(quaternion))
    return Box(track, int(rng.integers(17)), pose, rng.uniform(0.1, 10, 3))


@given(st.integers(0, 2 ** 32 - 1), st.floats(0, 1))
def test_every_box_goes_as_its_pose(seed, fraction):
    rng = np.random.default_rng(seed)
    before, after = ([random_box(rng, f"track {k}") for k in rng.permutation(6)[:4]] for _ in range(2))
    later = {box.track: box for box in after}
    found = interpolate_boxes(before, after, fraction)
    assert [box.track for box in found] == [box.track for box in before if box.track in later]
    for box in found:
        first, second = next(b for b in before if b.track == box.track), later[box.track]
        start, end, found_pose = first.world_from_box, second.world_from_box, box.world_from_box
        turning = Slerp([0, 1], Rotation.from_matrix([start[:3, :3], end[:3, :3]]))
        assert np.allclose(found_pose[:3, :3], turning(fraction).as_matrix(), atol=1e-6)
        assert np.allclose(found_pose[:, 3], (1 - fraction) * start[:, 3] + fraction * end[:, 3])
        assert np.allclose(found_pose[3], [0, 0, 0, 1])
        assert np.allclose(box.size_lwh_m, (1 - fraction) * first.size_lwh_m + fraction * second.size_lwh_m)
        assert box.label == first.label
