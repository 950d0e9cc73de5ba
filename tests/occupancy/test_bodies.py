"""Bodies and their motions, on worlds where the answer is known: boxes of points that move rigidly, seen as voxels."""

import tracemalloc

import numpy as np
import pytest

from occflow.geometry import invert, planar_pose, transform
from occflow.grid import VoxelGrid
from occflow.occupancy import alignment, tracks
from occflow.occupancy.bodies import Body, tracked_bodies, world_motions
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.motion import advanced_bodies, clusters

GRID = VoxelGrid((-40, -40, -1), (100, 100, 8), 0.8)
CAR, PERSON, TRUCK, ROAD = 4, 7, 10, 11
SIZES_M = {CAR: (4.5, 1.9, 1.6), TRUCK: (8.0, 2.5, 3.2), PERSON: (0.6, 0.6, 1.7)}
STEP_S = 0.5


def seen(stamp_s: float, things: list[tuple[int, float, float, float]],
         ego: np.ndarray | None = None) -> OccupancyFrame:
    """Boxes (label, x, y, heading) on the ground of the world, and a road voxel, in the grid of an ego."""
    ego = np.eye(4) if ego is None else ego
    volume = np.full(GRID.shape, 17, dtype=np.uint8)
    volume[0, 0, 0] = ROAD
    for label, x, y, heading in things:
        axes = [np.linspace(-size / 2, size / 2, 2 + int(size / 0.2)) for size in SIZES_M[label]]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        points = transform(invert(ego) @ planar_pose(x, y, heading, SIZES_M[label][2] / 2 + 0.05), points)
        indices, inside = GRID.indices(points)
        volume[tuple(indices[inside].T)] = label
    return OccupancyFrame.from_dense(volume, ego, stamp_s)


def driven(label: int, start: np.ndarray, speed: float, turn: float, seconds: float) -> tuple[int, float, float, float]:
    """The box after some seconds on an arc from a pose [4, 4]."""
    body = Body(np.zeros(0), label, start, np.array([speed, 0.0]), turn, 1.0, np.zeros((0, 3)))
    x, y, heading = (pose := body.poses(np.array([seconds]))[0])[0, 3], pose[1, 3], np.arctan2(pose[1, 0], pose[0, 0])
    return label, x, y, heading


def history_of(label: int, start: np.ndarray, speed: float, turn: float, ego_speed: float, ego_turn: float,
               others=()) -> tuple[OccupancyFrame, ...]:
    """Three frames; `start` is the present's pose."""
    frames = []
    for seconds in (-2 * STEP_S, -STEP_S, 0.0):
        _, x, y, heading = driven(CAR, np.eye(4), ego_speed, ego_turn, seconds)
        frames.append(seen(seconds, [driven(label, start, speed, turn, seconds), *others], planar_pose(x, y, heading)))
    return tuple(frames)


def velocity(body: Body) -> np.ndarray:
    return (body.world_from_body[:3, :2] @ body.velocity_m_per_s)[:2]


def test_a_car_that_drives_is_tracked_to_a_fraction_of_a_voxel():
    """A voxel a second is 0.8 m/s: what one frame's rounding makes. At random phases: edges that lie exactly on those
    of voxels may look like anything, one in a hundred is parted."""
    rng, errors, turns, confidences = np.random.default_rng(0), [], [], []
    for _ in range(60):
        heading, speed = rng.uniform(-np.pi, np.pi), rng.uniform(3, 12)
        pose = planar_pose(10 + rng.uniform(-1, 1), rng.uniform(-1, 1), heading)
        bodies = tracked_bodies(history_of(CAR, pose, speed, 0.0, rng.uniform(0, 10), rng.uniform(-0.3, 0.3)), GRID)
        body = max(bodies, key=lambda one: len(one.slots))
        errors.append(np.linalg.norm(velocity(body) - speed * np.array([np.cos(heading), np.sin(heading)])))
        turns.append(abs(body.yaw_rate_rad_per_s))
        confidences.append(body.confidence)
        assert body.centres_m.shape == (3, 3) and np.isfinite(body.centres_m).all()
    assert np.median(errors) < 0.35 and np.quantile(errors, 0.9) < 0.8 and max(errors) < 2
    assert np.quantile(turns, 0.9) < 0.45 and np.quantile(confidences, 0.1) > 0.3 and max(confidences) <= 1


def test_turns_are_seen_and_not_imagined():
    rng, errors = np.random.default_rng(1), {0.0: [], 0.5: [], -0.5: []}
    for turn, found in errors.items():
        for _ in range(25):
            history = history_of(CAR, planar_pose(8 + rng.uniform(), rng.uniform(), rng.uniform(-np.pi, np.pi)), 5.0,
                                 turn, rng.uniform(0, 8), 0.0)
            body, = tracked_bodies(history, GRID)
            found.append(body.yaw_rate_rad_per_s - turn)
    assert all(np.median(np.abs(found)) < 0.2 for found in errors.values())
    assert np.mean(np.abs(errors[0.0])) < 0.05


def test_what_stands_stands():
    """At random phases of the voxels; edges that lie exactly on theirs may look like anything."""
    rng, moving = np.random.default_rng(0), 0
    for number in range(60):
        pose = planar_pose(9 + rng.uniform(-1, 1), 3 + rng.uniform(-1, 1), rng.uniform(-np.pi, np.pi))
        history = history_of([CAR, TRUCK][number % 2], pose, 0.0, 0.0, rng.uniform(0, 12), rng.uniform(-0.4, 0.4))
        body, = tracked_bodies(history, GRID)
        moving += bool(body.velocity_m_per_s.any())
        assert np.linalg.norm(velocity(body)) < 0.5
        if not body.velocity_m_per_s.any():
            assert body.yaw_rate_rad_per_s == 0 and (world_motions([body], np.array([1.0]))[0, 0] == np.eye(4)).all()
    assert moving <= 6


def test_a_heading_is_that_of_the_motion_else_of_the_longest_side():
    moving, = tracked_bodies(history_of(CAR, planar_pose(5, 5, 2.0), 6.0, 0.0, 3.0, 0.0), GRID)
    assert np.arctan2(moving.world_from_body[1, 0], moving.world_from_body[0, 0]) == pytest.approx(2.0, abs=0.1)
    standing, = tracked_bodies(history_of(TRUCK, planar_pose(5, 5, 2.0), 0.0, 0.0, 3.0, 0.1), GRID)
    heading = np.arctan2(standing.world_from_body[1, 0], standing.world_from_body[0, 0])
    assert abs((heading - 2.0 + np.pi / 2) % np.pi - np.pi / 2) < 0.1


def test_people_walk():
    walker, = tracked_bodies(history_of(PERSON, planar_pose(6.3, 2.1, 0.4), 1.5, 0.0, 5.0, 0.1), GRID)
    assert np.linalg.norm(velocity(walker) - 1.5 * np.array([np.cos(0.4), np.sin(0.4)])) < 0.6


def test_a_car_that_passes_a_parked_one_is_told_from_it():
    """Both are one cluster in every frame."""
    history = history_of(CAR, planar_pose(2.2, 2.4, 0.0), 5.0, 0.0, 4.0, 0.0, others=[(CAR, 1.0, 0.1, 0.0)])
    bodies = tracked_bodies(history, GRID)
    speeds = sorted(body.velocity_m_per_s[0] for body in bodies)
    assert len(bodies) == 2 and speeds[0] < 0.5 and speeds[1] == pytest.approx(5.0, abs=1.2)
    places = np.concatenate([body.slots for body in bodies])
    assert len(np.unique(places)) == len(places) == (history[-1].labels == CAR).sum()


def test_means_of_columns_and_their_neighbours_are_the_same_sparse_and_dense(monkeypatch):
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (1, 30), (13, 7), (24, 31)):
        xy = np.argwhere(rng.random(shape) < 0.7) - 2
        near = (np.abs(xy[:, None] - xy[None]) <= 1).all(axis=2)
        for most in (1024, 0):
            monkeypatch.setattr(tracks, "MANY_COLUMNS", most)
            assert np.allclose(tracks._means(xy) @ np.eye(len(xy)), near / near.sum(axis=1, keepdims=True))


def test_hypotheses_are_as_similar_however_many_are_compared_at_a_time(monkeypatch):
    history = history_of(CAR, planar_pose(2.2, 2.4, 0.0), 5.0, 0.0, 4.0, 0.0, others=[(TRUCK, 20.0, 8.0, 0.4)])
    shapes = alignment.Shapes.of(clusters(history[-1], GRID), history[-1], GRID)
    maps = alignment.HeightMaps(history, GRID, np.unique(shapes.labels))
    compared, rng = alignment.Alignment(history, GRID, shapes, maps), np.random.default_rng(0)
    bodies, shifts_m = rng.integers(0, 2, 40), rng.uniform(-3, 3, (40, 2))
    at_once = compared.similarity(bodies, 1, shifts_m)
    assert (at_once > 0.3).any() and len(compared.similarity(bodies[:0], 1, shifts_m[:0])) == 0
    for most in (1, 100, 1000):
        monkeypatch.setattr(alignment, "COLUMNS_AT_ONCE", most)
        assert np.array_equal(compared.similarity(bodies, 1, shifts_m), at_once)


def test_two_parked_cars_that_touch_are_not_parted_by_noise():
    history = history_of(CAR, planar_pose(6.0, 2.4, 0.0), 0.0, 0.0, 6.0, 0.2, others=[(CAR, 6.5, 0.1, 0.0)])
    assert all(np.linalg.norm(velocity(body)) < 0.3 for body in tracked_bodies(history, GRID))


def test_a_queue_keeps_its_order():
    def queue(seconds: float) -> OccupancyFrame:
        return seen(seconds, [(CAR, -20 + 8 * number + 7 * seconds, 3.0, 0.0) for number in range(5)])
    bodies = tracked_bodies((queue(-1.0), queue(-0.5), queue(0.0)), GRID)
    assert len(bodies) == 5 and all(np.allclose(velocity(body), [7, 0], atol=0.8) for body in bodies)


def test_a_velocity_that_jumps_is_not_believed():
    """A wrong match, or an object that comes out of hiding: it stays where it is."""
    for track in ((-8, -7, -1), (-8, -2, -6)):
        body, = tracked_bodies(tuple(seen(STEP_S * index, [(CAR, x, 0, 0)]) for index, x in enumerate(track)), GRID)
        assert not body.velocity_m_per_s.any() or body.confidence < 0.4


def test_a_newcomer_stands_and_nobody_is_sure_of_it():
    body, = tracked_bodies((seen(0, []), seen(0.5, []), seen(1, [(CAR, 0, 0, 0)])), GRID)
    assert not body.velocity_m_per_s.any() and body.confidence == 0
    assert np.isnan(body.centres_m[:2]).all() and np.isfinite(body.centres_m[2]).all()


def test_one_frame_tells_of_no_motion():
    body, = tracked_bodies((seen(0, [(TRUCK, 3, 4, 0.5)]),), GRID)
    assert not body.velocity_m_per_s.any() and body.confidence == 0 and body.centres_m.shape == (1, 3)


def test_two_frames_and_uneven_stamps():
    for stamps in ((-0.5, 0.0), (-1.1, -0.4, 0.0), (-2.0, -1.5, -1.0, -0.5, 0.0)):
        history = tuple(seen(stamp, [(CAR, 3 + 6 * stamp, 1.3, 0)]) for stamp in stamps)
        body, = tracked_bodies(history, GRID)
        assert velocity(body) == pytest.approx([6, 0], abs=0.9) and body.centres_m.shape == (len(stamps), 3)
        assert body.centres_m[0, 0] == pytest.approx(body.centres_m[-1, 0] + 6 * stamps[0], abs=0.8)


def test_frames_of_one_instant_tell_of_no_motion():
    body, = tracked_bodies((seen(0.0, [(CAR, 3, 0, 0)]), seen(0.0, [(CAR, 3, 0, 0)])), GRID)
    assert np.isfinite(body.velocity_m_per_s).all() and not body.velocity_m_per_s.any()


def test_classes_are_not_mixed_up():
    body, = tracked_bodies((seen(0, [(TRUCK, -4, 0, 0)]), seen(0.5, [(CAR, -2, 0, 0)])), GRID)
    assert body.confidence == 0 and not body.velocity_m_per_s.any()


def test_faster_than_possible_is_no_match():
    body, = tracked_bodies((seen(0, [(CAR, -14, 0, 0)]), seen(0.5, [(CAR, 0, 0, 0)])), GRID)
    assert body.confidence == 0 and not body.velocity_m_per_s.any()


def test_a_body_that_comes_into_view_moves():
    """Its rear was outside of the grid before."""
    history = tuple(seen(stamp, [(TRUCK, 34.0 - 6 * stamp, 0.5, np.pi)]) for stamp in (-1.0, -0.5, 0.0))
    body, = tracked_bodies(history, GRID)
    assert velocity(body) == pytest.approx([-6, 0], abs=1.5)


def test_what_moves_is_moved_on_and_what_stands_is_not():
    history = history_of(CAR, planar_pose(-5, 3, 0.0), 8.0, 0.0, 4.0, 0.0, others=[(TRUCK, 10.2, -6.1, 0.3)])
    bodies = tracked_bodies(history, GRID)
    target = seen(1.0, [(CAR, 3, 3, 0.0), (TRUCK, 10.2, -6.1, 0.3)], planar_pose(4.0, 0, 0))
    moved = advanced_bodies(history[-1], GRID, [body.slots for body in bodies],
                            world_motions(bodies, np.array([1.0]))[0], target.world_from_grid, 1.0)
    ours, truth = ({*frame.flat[frame.labels != ROAD].tolist()} for frame in (moved, target))
    assert len(ours & truth) > 0.6 * len(ours | truth)


def test_empty_histories():
    assert tracked_bodies((seen(0, []), seen(0.5, [])), GRID) == []
    assert tracked_bodies((seen(0, [(CAR, 0, 0, 0)]), seen(0.5, [])), GRID) == []
    assert world_motions([], np.array([1.0, 2.0])).shape == (2, 0, 4, 4)


def test_of_thousands_of_specks_the_largest_objects_are_tracked():
    """A class volume of noise: matching all with all would take gigabytes, and minutes."""
    grid = VoxelGrid((-64, -64, 0), (128, 128, 2), 1.0)
    volume = np.full(grid.shape, 17, dtype=np.uint8)
    volume[::2, ::2, 0] = CAR  # 4096 specks
    frames = []
    for index in range(2):
        volume[:, 50:60] = 17
        volume[60 + 2 * index:64 + 2 * index, 54:56, 0] = CAR
        frames.append(OccupancyFrame.from_dense(volume, np.eye(4), 0.5 * index))
    bodies, peak = bodies_and_peak(tuple(frames), grid)
    largest, = (body for body in bodies if len(body.slots) == 8)
    assert peak < 150e6 and len(bodies) == 1000
    assert velocity(largest) == pytest.approx([4.0, 0], abs=1.0)


def test_a_street_perceived_as_one_vehicle_takes_little_memory():
    """Heights that differ from frame to frame, as of a network that was hardly trained: a large cluster which may be
    several, of 8100 columns. All pairs of them would take gigabytes."""
    grid, rng, frames = VoxelGrid((-18, -18, -1), (90, 90, 8), 0.4), np.random.default_rng(0), []
    for index in range(5):
        heights = rng.integers(1, 6, (15, 15)).repeat(6, 0).repeat(6, 1)
        volume = np.where(np.arange(8) < heights[..., None], CAR, 17).astype(np.uint8)
        frames.append(OccupancyFrame.from_dense(volume, planar_pose(2.0 * index, 0, 0.02 * index), STEP_S * index))
    bodies, peak = bodies_and_peak(tuple(frames), grid)
    assert peak < 150e6 and sum(len(body.slots) for body in bodies) == len(frames[-1].flat)


def test_layers_perceived_as_vehicles_take_little_memory():
    """Every layer of the grid a body that may have been any other one: half a gigabyte, were all compared at once."""
    grid, rng, frames = VoxelGrid((-20, -20, -1), (100, 100, 16), 0.4), np.random.default_rng(0), []
    for index in range(5):
        full = rng.random(grid.shape) < rng.uniform(0.4, 1, grid.shape[2])
        volume = np.where(full, np.array([CAR, TRUCK])[np.arange(16) % 2], 17).astype(np.uint8)
        frames.append(OccupancyFrame.from_dense(volume, planar_pose(2.0 * index, 0, 0.02 * index), STEP_S * index))
    bodies, peak = bodies_and_peak(tuple(frames), grid)
    assert peak < 200e6 and len(bodies) > 16


def bodies_and_peak(history: tuple[OccupancyFrame, ...], grid: VoxelGrid) -> tuple[list[Body], int]:
    """The bodies, and the most bytes that finding them took."""
    tracemalloc.start()
    try:
        return tracked_bodies(history, grid), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
