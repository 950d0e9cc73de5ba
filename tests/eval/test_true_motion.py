"""The reference of true motion, on worlds where the answer is known."""

from dataclasses import replace

import numpy as np

from occflow.eval.distribution import sampled_futures
from occflow.eval.evaluate import Reference, evaluate
from occflow.eval.true_motion import TRUE_MOTION, TrueMotion
from occflow.forecasting.rules import RULES, Baseline
from occflow.geometry import planar_pose
from occflow.grid import VoxelGrid
from occflow.logs.protocol import UNLABELLED, Box
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.windows import Window, WindowKey

GRID = VoxelGrid((-8, -8, 0), (16, 16, 4), 1.0)
CAR, ROAD = 4, 11
KEY = WindowKey("scene", 0)
STARTING_M = (-6, -6, -6, -3, 2)  # rear of a car that stands in the history and drives off, 5 m in the last frame


def street(index: int, car_x: int | None, boxed: bool = True) -> OccupancyFrame:
    """A road voxel and a car of 3 voxels from car_x on, in an ego grid at the world's origin."""
    volume = np.full(GRID.shape, 17, dtype=np.uint8)
    volume[2:14, 8, 0] = ROAD
    boxes = ()
    if car_x is not None:
        volume[car_x + 8:car_x + 11, 8, 1] = CAR
        boxes = (Box("car", CAR, planar_pose(car_x + 1.5, 0.5, 0.0, 1.5), np.array([3.0, 1.0, 1.0])),)
    return OccupancyFrame.from_dense(volume, np.eye(4), 0.5 * index, boxes=boxes if boxed else ())


class Drive:
    """A source of one window, 2 + 3 frames, whose store knows the boxes even where the seen frames have none."""

    history = 2

    def __init__(self, frames: list[OccupancyFrame], seen: list[OccupancyFrame] | None = None) -> None:
        self.frames, self.seen, self.store, self.grid = frames, seen or frames[:2], self, GRID

    def frame(self, scene: str, number: int) -> OccupancyFrame:
        return self.frames[number]

    def read(self, key: WindowKey) -> Window:
        return Window.of(key, tuple(self.seen), tuple(self.frames[2:]), self.frames[1].boxes)


def ious(source: Drive, *rows) -> dict[str, np.ndarray]:
    return {one.name: one.total().movable_iou() for one in evaluate(source, [KEY], rows, 0)}


def test_a_car_that_drives_off_is_where_it_truly_is():
    source = Drive([street(*one) for one in enumerate(STARTING_M)])
    found = ious(source, TrueMotion(source), Baseline("constant", GRID, RULES["constant_velocity"]))
    assert found[TRUE_MOTION].tolist() == [1.0, 1.0, 1.0] and found["constant"].tolist()[1:] == [0.0, 0.0]


def test_it_is_told_the_boxes_where_perceived_frames_have_none():
    frames = [street(*one) for one in enumerate(STARTING_M)]
    seen = [replace(frame, boxes=()) for frame in frames[:2]]
    bare = [replace(frame, labels=np.full_like(frame.labels, UNLABELLED)) for frame in seen]
    assert ious(source := Drive(frames, seen), TrueMotion(source))[TRUE_MOTION].tolist() == [1.0, 1.0, 1.0]
    unnamed = TrueMotion(source := Drive(frames, bare)).of_window(source.read(KEY)).frames[2]
    assert set(unnamed.labels) == {0} and np.isin(GRID.flatten(np.array([[10, 8, 1]])), unnamed.flat).all()


def test_what_is_annotated_no_more_stays_where_it_was_last():
    frames = [street(0, -6), street(1, -6), street(2, -6, boxed=False), street(3, -3), street(4, -3, boxed=False)]
    source = Drive(frames)
    assert ious(source, TrueMotion(source))[TRUE_MOTION].tolist() == [1.0, 1.0, 1.0]


def test_what_comes_into_view_is_not_foreseen():
    source = Drive([street(0, None), street(1, None), *(street(index, -6) for index in range(2, 5))])
    assert ious(source, TrueMotion(source))[TRUE_MOTION].tolist() == [0.0, 0.0, 0.0]


def test_a_reference_is_no_forecaster_and_its_samples_are_one():
    source = Drive([street(*one) for one in enumerate(STARTING_M)])
    assert isinstance(TrueMotion(source), Reference) and not hasattr(TrueMotion(source), "forecast")
    first, *others = sampled_futures(TrueMotion(source), source.read(KEY), 3, 0)
    assert len(others) == 2 and all(other is first for other in others)
    assert not isinstance(Baseline("copy", GRID, RULES["copy"]), Reference)
