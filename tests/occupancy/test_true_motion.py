"""Boxes followed through the truth, on worlds where the answer is known."""

from dataclasses import replace

import numpy as np

from occflow.geometry import planar_pose
from occflow.grid import VoxelGrid
from occflow.logs.protocol import Box
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.motion import clusters
from occflow.occupancy.true_motion import boxes_of_bodies, true_world_motions, voxels_of_boxes

GRID = VoxelGrid((-8, -8, 0), (16, 16, 4), 1.0)
CAR, PEDESTRIAN, TRUCK, ROAD, BARRIER = 4, 7, 10, 11, 1


def box(track: str, x: float, y: float, yaw: float = 0.0, length: float = 3.0, label: int = CAR) -> Box:
    return Box(track, label, planar_pose(x, y, yaw, 0.5), np.array([length, 1.0, 1.0]))


def row_of_voxels(*objects: tuple[int, int, int, int]) -> OccupancyFrame:
    """Objects of one voxel's width (label, first x, y, length) on the ground; the grid lies at the world's origin."""
    volume = np.full(GRID.shape, 17, dtype=np.uint8)
    for label, x, y, length in objects:
        volume[x + 8:x + 8 + length, y + 8, 0] = label
    return OccupancyFrame.from_dense(volume, np.eye(4))


def bodies_of(frame: OccupancyFrame) -> list[np.ndarray]:
    return [one.slots for one in clusters(frame, GRID)]


def test_a_body_is_of_the_box_that_holds_most_of_it():
    frame = row_of_voxels((CAR, -3, 0, 3), (CAR, 4, 2, 2))
    boxes = (box("far", 0.0, -6.5), box("there", -1.5, 0.5), box("touching", 1.0, 0.5), box("second", 5.0, 2.5))
    assert boxes_of_bodies(frame, GRID, bodies_of(frame), boxes) == [1, 3]


def test_a_body_that_no_box_holds_half_of_has_none():
    frame = row_of_voxels((CAR, -3, 0, 5))  # x from -3 to 2
    two, three = box("two", -2.0, 0.5, length=2.0), box("three", -1.5, 0.5, length=3.0)
    assert boxes_of_bodies(frame, GRID, bodies_of(frame), (two,)) == [None]
    assert boxes_of_bodies(frame, GRID, bodies_of(frame), (two, three)) == [1]


def test_only_boxes_of_what_may_move_are_taken_whatever_the_voxels_class():
    frame = row_of_voxels((CAR, -3, 0, 3))
    assert boxes_of_bodies(frame, GRID, bodies_of(frame), (box("barrier", -1.5, 0.5, label=BARRIER),)) == [None]
    assert boxes_of_bodies(frame, GRID, bodies_of(frame), (box("truck", -1.5, 0.5, label=TRUCK),)) == [0]


def test_bodies_of_one_box_and_empty_ones():
    frame = row_of_voxels((TRUCK, -5, 0, 2), (TRUCK, -1, 0, 2))
    long = box("truck", -2.0, 0.5, length=6.0, label=TRUCK)
    assert boxes_of_bodies(frame, GRID, [*bodies_of(frame), np.zeros(0, np.int64)], (long,)) == [0, 0, None]
    assert boxes_of_bodies(frame, GRID, [], (long,)) == []
    assert boxes_of_bodies(frame, GRID, bodies_of(frame), ()) == [None, None]


def test_voxels_are_of_one_box_and_the_road_of_none():
    frame = row_of_voxels((CAR, -3, 0, 3), (ROAD, 0, 0, 2))
    first, second = voxels_of_boxes(frame, GRID, (box("a", -1.5, 0.5), box("b", -0.5, 0.5, length=5.0)))
    assert len(first) == 3 and len(second) == 0


def test_what_a_motion_moves_is_where_the_box_then_is():
    now, later = box("a", 1.0, 2.0, 0.3), box("a", 3.0, 2.5, 0.7)
    motions = true_world_motions((now,), [(later,), (box("b", 0, 0), now)])
    assert motions.shape == (1, 2, 4, 4) and np.allclose(motions[0, 0] @ now.world_from_box, later.world_from_box)
    assert np.allclose(motions[0, 1], np.eye(4))


def test_what_is_not_annotated_then_is_nan():
    motions = true_world_motions((box("a", 0, 0), box("b", 1, 0)), [(), (box("a", 1, 0),)])
    assert np.isnan(motions[0, 0]).all() and np.isnan(motions[1]).all() and np.isfinite(motions[0, 1]).all()
    assert true_world_motions((), [()]).shape == (0, 1, 4, 4)


def test_a_heading_annotated_the_other_way_round_is_no_turn():
    """From left to right, turning left all the while; the annotation is the wrong way round from the second on."""
    straight = [box("a", float(x), 0.0, 0.1 * x) for x in range(4)]
    flipped = straight[:2] + [replace(one, world_from_box=one.world_from_box @ planar_pose(0, 0, np.pi))
                              for one in straight[2:]]
    motions = true_world_motions((flipped[0],), [(one,) for one in flipped[1:]])[0]
    assert np.allclose(motions[:, :3, 3], [one.world_from_box[:3, 3] - motion[:3, :3] @ [0, 0, 0.5]
                                           for one, motion in zip(straight[1:], motions)])
    turns = np.arctan2(motions[:, 1, 0], motions[:, 0, 0])
    assert np.allclose(turns, [0.1, 0.1, 0.2])  # what it turned while its annotation did is not known


def test_a_slow_turn_of_more_than_45_degrees_is_one():
    turning = [box("a", 0.0, 0.0, 0.5 * number) for number in range(4)]
    motions = true_world_motions((turning[0],), [(one,) for one in turning[1:]])[0]
    assert np.allclose(np.arctan2(motions[:, 1, 0], motions[:, 0, 0]), [0.5, 1.0, 1.5])
