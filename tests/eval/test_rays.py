"""Rays against walls at known distances, and the walk against a slow one."""

from pathlib import Path

import numpy as np
import pytest

from occflow.eval.ray_scores import RayCounts, RayScores, chamfer_m2
from occflow.eval.rays import LogRays, Rays, measured_rays, ray_walk
from occflow.forecasting.forecast import Forecast
from occflow.geometry import planar_pose
from occflow.grid import FREE, VoxelGrid
from occflow.logs.protocol import UNLABELLED, Box, Sweep
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.windows import Window, WindowKey

GRID = VoxelGrid((0.0, -4.0, -4.0), (40, 16, 16), 0.5)
CAR, WALL = 4, 15


def wall(x_m: float, label: int = WALL) -> OccupancyFrame:
    """A wall of one voxel's thickness whose front is at x."""
    volume = np.full(GRID.shape, FREE, dtype=np.uint8)
    volume[int(round(x_m / GRID.voxel_size_m))] = label
    return OccupancyFrame.from_dense(volume, np.eye(4), token="now")


def forward_rays(depth_m: float, count: int = 5, label: int = WALL, foreground: np.ndarray | None = None) -> Rays:
    """Parallel to x from the same origin: the first voxel that they meet is that of the wall's middle."""
    return Rays(np.array([0.0, 0.1, 0.1]), np.tile([1.0, 0.0, 0.0], (count, 1)), np.full(count, depth_m),
                np.full(count, label, np.uint8), foreground)


def counted(forecast: OccupancyFrame, rays: Rays) -> RayCounts:
    counts = RayCounts()
    counts.add(forecast, ray_walk(rays, GRID), GRID)
    return counts


def test_a_wall_at_a_known_distance_has_the_known_errors():
    means = counted(wall(12.0), forward_rays(10.0)).means  # met half way through its voxel: at 12.25 m
    assert means.mean("l1_m") == pytest.approx(2.25, abs=1e-6)
    assert means.mean("absrel") == pytest.approx(0.225, abs=1e-6)
    assert means.mean("near_chamfer_m2") == pytest.approx(2.25 ** 2, abs=1e-6)


def test_a_ray_that_hits_nothing_ends_at_the_border():
    assert counted(wall(12.0), forward_rays(25.0)).means.counts == {}  # measured outside of the grid
    empty = OccupancyFrame(np.zeros(0, np.int64), np.zeros(0, np.uint8), np.eye(4), 0.0)
    means = counted(empty, forward_rays(8.0)).means
    assert means.mean("l1_m") == pytest.approx(12.0, abs=1e-6) and means.mean("absrel") == pytest.approx(1.5, abs=1e-6)
    assert means.mean("chamfer_m2") == pytest.approx(144.0, abs=1e-4) and np.isnan(means.mean("near_chamfer_m2"))


def test_ray_iou_needs_class_and_depth():
    assert counted(wall(10.0), forward_rays(8.75)).ray_iou() == pytest.approx([0, 1, 1])  # 1.5 m off
    assert counted(wall(10.0), forward_rays(7.25)).ray_iou() == pytest.approx([0, 0, 1])  # 3 m off
    assert counted(wall(10.0, CAR), forward_rays(10.25)).ray_iou() == pytest.approx([0, 0, 0])
    unknown = counted(wall(10.0), forward_rays(10.25, label=FREE))
    assert np.isnan(unknown.ray_iou()).all() and unknown.means.mean("l1_m") == pytest.approx(0, abs=1e-6)


def test_ray_iou_of_two_classes_by_hand():
    """Of 4 wall rays and 1 car ray the forecast calls all wall: wall 4 / 5, car 0 / 1."""
    labels = np.array([WALL] * 4 + [CAR], np.uint8)
    plain = forward_rays(10.25)
    counts = counted(wall(10.0), Rays(plain.origin_m, plain.directions, plain.depths_m, labels, None))
    assert counts.ray_iou() == pytest.approx([0.4] * 3)


def test_foreground_and_background_apart():
    rays = forward_rays(10.25, foreground=np.array([True, True, False, False, False]))
    rays.depths_m[:2] = 6.25
    means = counted(wall(10.0), rays).means
    assert means.mean("foreground_l1_m") == pytest.approx(4.0, abs=1e-6)
    assert means.mean("background_l1_m") == pytest.approx(0.0, abs=1e-6)
    assert means.mean("l1_m") == pytest.approx(1.6, abs=1e-6)


def random_rays(count: int, seed: int) -> Rays:
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return Rays(np.array([7.3, -1.7, 0.9]), directions, rng.uniform(3, 15, count), np.full(count, WALL, np.uint8), None)


@pytest.mark.parametrize("seed", range(3))
def test_the_walk_meets_the_first_voxel_that_small_steps_meet(seed):
    rays, step_m = random_rays(60, seed), 1e-3
    volume = np.random.default_rng(seed).random(GRID.shape) < 0.05
    walk = ray_walk(rays, GRID)
    hits = walk.first_hits(np.flatnonzero(volume.reshape(-1)), GRID.num_voxels)
    for direction, hit in zip(walk.rays.directions, hits):
        places = walk.rays.origin_m + direction * np.arange(0, 30, step_m)[:, None]
        voxels, inside = GRID.indices(places)
        met = GRID.flatten(voxels[inside])[volume[tuple(voxels[inside].T)]]
        if hit >= 0 and (not len(met) or met[0] != walk.flat[hit]):  # small steps may jump over a corner, no more
            later = GRID.flatten(voxels[inside])
            assert walk.flat[hit] not in later or len(met)
            continue
        assert (hit >= 0) == (len(met) > 0)


def test_the_ways_through_voxels_cover_the_ray():
    walk = ray_walk(random_rays(200, 7), GRID)
    for i in range(len(walk.leave_m)):
        flat = walk.flat[walk.starts[i]:walk.starts[i + 1]]
        steps = np.abs(np.diff(GRID.unflatten(flat), axis=0)).sum(axis=1)
        assert (steps >= 1).all() and (steps <= 3).all() and (steps == 1).mean() > 0.9  # through faces, few edges
        assert (np.diff(walk.depths_m[walk.starts[i]:walk.starts[i + 1]]) > 0).all()


def test_rays_from_outside_and_past_the_grid():
    rays = Rays(np.array([-10.0, 0.1, 0.1]), np.array([[1.0, 0, 0], [-1.0, 0, 0], [0, 0, 1.0]]), np.full(3, 22.25),
                np.full(3, WALL, np.uint8), None)
    walk = ray_walk(rays, GRID)
    assert len(walk.leave_m) == 1 and walk.leave_m[0] == pytest.approx(30.0)
    assert walk.depths_of(walk.first_hits(wall(12.0).flat, GRID.num_voxels)) == pytest.approx([22.25])
    none = ray_walk(Rays(np.array([0, 99.0, 0]), rays.directions, rays.depths_m, rays.labels, None), GRID)
    assert len(none.leave_m) == 0 and len(none.flat) == 0


def test_chamfer_by_hand():
    assert chamfer_m2(np.array([[0.0, 0, 0]]), np.array([[1.0, 0, 0], [3.0, 0, 0]])) == pytest.approx((1 + 5) / 2)


class OneSweepLog:
    """A scene with one keyframe: a return of a box ahead, one of the own car, one that nobody labelled."""

    def scenes(self) -> list[str]:
        return ["s"]

    def sweeps(self, scene: str):
        points = np.array([[10.0, 0, 0], [1.0, 0, 0], [12.2, 1.2, 0.2], [np.nan, 0, 0]], np.float32)
        pose = planar_pose(0.0, 0.1, 0.0, 0.1)
        yield Sweep(0.0, points, None, pose, np.eye(4), None, Path("between"))
        yield Sweep(0.5, points, np.array([CAR, CAR, UNLABELLED, CAR], np.uint8), pose, np.eye(4), "now", Path("now"))


def test_rays_of_a_log():
    frame = wall(12.0)
    box = Box("car", CAR, planar_pose(10.0, 0.1, 0.0, 0.1), np.array([1.0, 1.0, 1.0]))
    frame = OccupancyFrame(frame.flat, frame.labels, frame.world_from_grid, 0.0, "now", (box,))
    rays = LogRays(OneSweepLog(), GRID).rays("s", frame)
    assert rays.depths_m == pytest.approx([10.0, np.linalg.norm([12.2, 1.2, 0.2])])
    assert list(rays.labels) == [CAR, WALL] and list(rays.foreground) == [True, False]
    assert LogRays(OneSweepLog(), GRID).rays("s", wall(3.0)) is not None
    assert LogRays(OneSweepLog(), GRID).rays("elsewhere", frame) is None
    sweep = list(OneSweepLog().sweeps("s"))[1]
    assert measured_rays(sweep, wall(12.0), GRID, every=2).foreground is None


def test_the_truth_is_a_row_of_its_own():
    scores = RayScores(GRID, lambda scene, frame: forward_rays(10.25))
    window = Window.of(WindowKey("s", 0), (wall(10.0),), (wall(10.0), wall(10.0)))
    scores.watch(window, {"late": Forecast((wall(12.5), wall(10.0)))})
    found = {row["name"]: row for row in scores.report()["rows"]}
    assert found["truth"]["l1_m"] == 0.0 and found["late"]["l1_m"] == 1.25  # mean over frames: 2.5 m and 0 m
    assert found["late"]["ray_iou"] == pytest.approx([1 / 3, 1 / 3, 1], abs=1e-6)


def test_shards_of_rays_add_up_exactly():
    frames = [wall(x) for x in (9.0, 10.0, 11.5)]
    whole, one, two = RayCounts(), RayCounts(), RayCounts()
    for number, frame in enumerate(frames):
        walk = ray_walk(random_rays(50, number), GRID)
        for counts in (whole, (one, two)[number % 2]):
            counts.add(frame, walk, GRID)
    one.merge(two)
    assert one.means.sums == whole.means.sums and one.means.counts == whole.means.counts
    assert (one.agreed == whole.agreed).all() and (one.ray_iou() == whole.ray_iou())[~np.isnan(whole.ray_iou())].all()
