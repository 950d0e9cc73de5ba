"""Baselines on worlds where the right answer is known."""

from dataclasses import replace

import numpy as np

from occflow.eval.iou import IoUCounts
from occflow.forecasting.rules import BoxMotion, annotated_motions, baselines
from occflow.geometry import planar_pose
from occflow.grid import OTHERS, VoxelGrid
from occflow.logs.protocol import UNLABELLED, Box
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.windows import Window, WindowKey

GRID = VoxelGrid((-8, -8, 0), (16, 16, 4), 1.0)
CAR, ROAD, WALL = 4, 11, 15


def world_frame(index: int, ego_x: float, car_x: float | None, yaw: float = 0.0) -> OccupancyFrame:
    """A wall patch and a road voxel fixed in the world, and a 2 x 1 x 1 car whose rear voxel is at car_x."""
    pose = planar_pose(ego_x, 0, yaw)
    volume = np.full(GRID.shape, 17, dtype=np.uint8)
    matter = [((x + 0.5, -3.5, 1.5), WALL) for x in range(-2, 4)] + [((1.5, 2.5, 0.5), ROAD)]
    boxes = ()
    if car_x is not None:
        matter += [((car_x + 0.5, 0.5, 0.5), CAR), ((car_x + 1.5, 0.5, 0.5), CAR)]
        boxes = (Box("car", CAR, planar_pose(car_x + 1.0, 0.5, 0.0, 0.5), np.array([2.0, 1.0, 1.0])),)
    points = np.array([point for point, _ in matter]) @ pose[:3, :3] - pose[:3, 3] @ pose[:3, :3]
    indices, inside = GRID.indices(points)
    for (x, y, z), keep, (_, label) in zip(indices, inside, matter):
        if keep:
            volume[x, y, z] = label
    return OccupancyFrame.from_dense(volume, pose, 0.5 * index, boxes=boxes)


def scores(window: Window) -> dict[str, float]:
    found = {}
    for one in baselines(GRID, with_boxes=True):
        counts = IoUCounts(len(window.truth))
        for index, frame in enumerate(one.forecast(window.task, 0).frames):
            counts.add(index, frame, window.truth[index])
        found[one.name] = float(counts.iou().min())
    return found


def window_of(frames: list[OccupancyFrame]) -> Window:
    return Window.of(WindowKey("scene", 0), tuple(frames[:2]), tuple(frames[2:]))


def test_unlabelled_history_is_forecast_as_others():
    pose = planar_pose(0.0, 0.0, 0.0)
    seen = OccupancyFrame(np.array([3, 4]), np.full(2, UNLABELLED, np.uint8), pose, 0.0)
    later = OccupancyFrame(np.array([3]), np.array([4], np.uint8), pose, 0.5)
    window = Window.of(WindowKey("s", 0), (seen, seen), (later,))
    for baseline in baselines(VoxelGrid((0, 0, 0), (4, 4, 4), 1.0), with_boxes=False):
        (frame,) = baseline.forecast(window.task, 0).frames
        assert frame.flat.tolist() == [3, 4] and (frame.labels == OTHERS).all()


def test_ego_motion_by_whole_voxels():
    found = scores(window_of([world_frame(i, 1.0 * i, None) for i in range(4)]))
    assert found["persistence"] == 1.0 and found["constant_velocity"] == 1.0 and found["copy"] < 0.6


def test_quarter_turn_leaves_no_holes():
    found = scores(window_of([world_frame(i, 0.0, None, yaw=i * np.pi / 2) for i in range(4)]))
    assert found["persistence"] == 1.0


def test_a_car_at_constant_velocity():
    found = scores(window_of([world_frame(i, 0.0, -4.0 + i) for i in range(5)]))
    assert found["constant_velocity"] == 1.0 and found["persistence"] < 1.0


def test_a_track_seen_once_stays():
    frames = [world_frame(0, 0.0, None), *(world_frame(i, 0.0, -4.0) for i in range(1, 4))]
    assert scores(window_of(frames))["constant_velocity"] == 1.0


def test_rows_without_boxes():
    names = [one.name for one in baselines(GRID, with_boxes=False)]
    assert names == ["copy", "persistence", "tracked_velocity"]


def test_an_annotated_object_moves_on_along_its_arc():
    """10 m/s and a quarter turn a second: in 1 s the box of the present is a quarter of a circle farther."""
    radius_m = 10.0 / (np.pi / 2)

    def on_circle(seconds: float) -> np.ndarray:
        angle = np.pi / 2 * seconds
        return planar_pose(radius_m * np.sin(angle), radius_m * (1 - np.cos(angle)), angle)

    motion = BoxMotion(np.zeros(0, int), np.stack([on_circle(-0.5), on_circle(0.0)]), np.array([-0.5, 0.0]))
    moved = motion.world_motions(np.array([0.5, 1.0])) @ on_circle(0.0)
    assert np.allclose(moved, [on_circle(0.5), on_circle(1.0)])


def test_what_is_in_a_box_moves_and_the_road_under_it_stays():
    frames = [world_frame(i, 0.0, -4.0 + i) for i in range(4)]
    (motion,) = annotated_motions(tuple(frames[:2]), GRID)
    assert (frames[1].labels[motion.slots] == CAR).all() and len(motion.slots) == 2
    reversed_box = [replace(frames[0], boxes=(turned_back(frames[0].boxes[0]),)), *frames[1:]]
    (turned,) = annotated_motions(tuple(reversed_box[:2]), GRID)  # a heading annotated the other way round is no turn
    assert np.allclose(turned.world_motions(np.array([0.5]))[0], motion.world_motions(np.array([0.5]))[0])


def turned_back(box: Box) -> Box:
    flipped = box.world_from_box.copy()
    flipped[:3, :2] *= -1
    return replace(box, world_from_box=flipped)
