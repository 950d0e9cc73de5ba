"""Hills: what was simulated on a plane lies on them as it lay there, and a plane stays as it was, to the last bit."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from occflow.geometry import invert, is_rigid, planar_pose, points_in_box, transform
from occflow.logs.nuscenes import NuScenesLog
from occflow.simulation import drive
from occflow.simulation.drive import simulate_log
from occflow.simulation.nuscenes_writer import lidar_mount
from occflow.simulation.settings import SimulationSettings
from occflow.simulation.terrain import STEEPEST, Terrain

STEP_M = 1e-4


def drawn(seed: int) -> Terrain:
    return Terrain.drawn(np.random.default_rng(seed))


def slopes(terrain: Terrain, places: np.ndarray) -> np.ndarray:
    """[N, 2] by differences."""
    steps = np.array([[STEP_M, 0], [0, STEP_M]])
    return np.stack([(terrain.height_m(places + step) - terrain.height_m(places - step)) / (2 * STEP_M)
                     for step in steps], axis=1)


def test_many_poses_lie_on_the_hills_as_each_of_them():
    flat = np.stack([planar_pose(x, y, yaw, 0.5) for x, y, yaw in np.random.default_rng(0).uniform(-90, 90, (30, 3))])
    for terrain in (drawn(3), Terrain.flat()):
        assert np.allclose(terrain.poses(flat), [terrain.pose(pose) for pose in flat], rtol=0, atol=1e-12)
        assert terrain.poses(flat[:0]).shape == (0, 4, 4)


@given(seed=st.integers(0, 2**31), x=st.floats(-300, 300), y=st.floats(-300, 300), yaw=st.floats(-4, 4))
def test_poses_stand_on_the_hills_as_the_ground_is_tilted(seed, x, y, yaw):
    terrain, flat = drawn(seed), planar_pose(x, y, yaw, 0.7)
    pose, place = terrain.pose(flat), np.array([[x, y]])
    assert is_rigid(pose, 1e-9) and np.allclose(pose[:3, 3], [x, y, 0.7 + terrain.height_m(place)[0]])
    slope = slopes(terrain, place)[0]
    assert np.allclose(pose[:3, 2], np.array([*-slope, 1.0]) / np.sqrt(1 + slope @ slope), atol=1e-6)
    turned = np.arctan2(pose[1, 0], pose[0, 0]) - yaw  # a hill does not change where anybody heads, but by its square
    assert abs((turned + np.pi) % (2 * np.pi) - np.pi) < STEEPEST**2


def test_streets_never_climb_more_than_streets_do():
    places = np.random.default_rng(0).uniform(-400, 400, (2000, 2))
    steepest = [np.linalg.norm(slopes(drawn(seed), places), axis=1).max() for seed in range(40)]
    assert max(steepest) <= STEEPEST + 1e-6 and min(steepest) < 0.02 < 0.05 < max(steepest)


@given(seed=st.integers(0, 2**31))
def test_what_a_sensor_sees_lies_where_the_hills_are(seed):
    """Returns of the flat road, as the lifted sensor has them, lie on the hill's surface in the world."""
    rng, terrain = np.random.default_rng(seed), drawn(seed)
    ego, mount = planar_pose(*rng.uniform(-200, 200, 2), rng.uniform(-4, 4)), lidar_mount(1.9)
    world = np.column_stack([ego[:2, 3] + rng.uniform(-50, 50, (200, 2)), rng.choice([0.0, 0.0, 1.5, 6.0], 200)])
    flat, lifted = ego @ mount, terrain.pose(ego) @ mount
    seen = terrain.seen(transform(invert(flat), world).astype(np.float32), flat, lifted)
    found = transform(lifted, seen)
    assert seen.dtype == np.float32 and np.allclose(found[:, :2], world[:, :2], atol=1e-3)
    assert np.allclose(found[:, 2], world[:, 2] + terrain.height_m(world), atol=1e-3)
    assert np.allclose(terrain.lifted(world), found, atol=1e-3)


def test_the_ego_frame_that_is_told_is_a_little_off():
    errors = np.stack([drawn(seed).error for seed in range(300)])
    assert all(is_rigid(error, 1e-9) for error in errors) and np.allclose(errors[:, :2, 3], 0)
    tilts = np.degrees(np.arccos(errors[:, 2, 2]))
    assert 0.3 < np.median(tilts) < 1.0 and 0.1 < errors[:, 2, 3].std() < 0.2


def test_a_plane_changes_nothing_bit_for_bit():
    terrain, rng = Terrain.flat(), np.random.default_rng(0)
    points = rng.normal(0, 30, (1000, 3))
    assert np.array_equal(terrain.lifted(points), points) and not terrain.height_m(points).any()
    for seed in range(20):
        ego = planar_pose(*np.random.default_rng(seed).normal(0, 100, 4))
        sensor = ego @ lidar_mount(1.84)
        assert np.array_equal(terrain.pose(ego), ego) and np.array_equal(terrain.pose(ego) @ terrain.error, ego)
        assert terrain.seen(points.astype(np.float32), sensor, sensor).tobytes() == points.astype(np.float32).tobytes()
    assert np.array_equal(invert(terrain.error) @ lidar_mount(1.84), lidar_mount(1.84))


@pytest.fixture(scope="module")
def hilly(tmp_path_factory) -> NuScenesLog:
    """Scenes that are all on hills, as steep as they come, seen at once."""
    values = {"train_scenes": 2, "val_scenes": 0, "duration_s": 2.0, "keyframe_hz": 2, "sweep_hz": 2, "beams": 32,
              "azimuths": 300, "max_range_m": 60.0, "lowest_beam_deg": -30.0, "highest_beam_deg": 10.0,
              "mount_height_m": 1.84, "varied": True, "range_noise_m": 0.02, "dropout": 0.05, "vehicles": 60,
              "parked_share": 0.3, "pedestrians": 10, "motion_during_revolution": False, "exact_occupancy": False}
    root = tmp_path_factory.mktemp("hills") / "log"

    def steep(settings: SimulationSettings, rng: np.random.Generator) -> tuple[SimulationSettings, Terrain]:
        terrain = Terrain.drawn(rng)
        slope = np.abs(terrain.heights_m) @ np.linalg.norm(terrain.waves, axis=1)
        return replace(settings), Terrain(terrain.waves, terrain.phases, terrain.heights_m * STEEPEST / slope,
                                          terrain.error)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drive, "of_its_own", steep)
        simulate_log(root, "v1.0-hills", values, seed=6, workers=1)
    return NuScenesLog(root, "v1.0-hills")


def test_boxes_hold_the_returns_of_their_objects(hilly):
    """Through the reader; without the hills, 99 of 100 do."""
    inside, cars, lowest, highest = 0, 0, np.inf, -np.inf
    for scene in hilly.scenes():
        boxes = {frame.token: frame.boxes for frame in hilly.keyframes(scene)}
        for sweep in hilly.sweeps(scene):
            near = np.linalg.norm(sweep.points_sensor, axis=1) < 50  # boxes are annotated up to 60 m
            points = transform(sweep.world_from_sensor, sweep.points_sensor[(sweep.labels == 4) & near])
            covered = np.zeros(len(points), dtype=bool)
            for box in boxes[sweep.keyframe]:
                covered |= points_in_box(points, box.world_from_box, box.size_lwh_m, 0.15)
            inside, cars = inside + int(covered.sum()), cars + len(points)
            lowest, highest = min(lowest, points[:, 2].min()), max(highest, points[:, 2].max())
    assert cars > 500 and inside / cars > 0.99 and highest - lowest > 3.0


def test_the_road_before_the_car_lies_on_its_ground(hilly):
    """Returns of the road near the ego lie at its feet, but for what its frame is off."""
    for scene in hilly.scenes():
        for sweep in hilly.sweeps(scene):
            ego = transform(invert(sweep.world_from_ego) @ sweep.world_from_sensor, sweep.points_sensor)
            road = ego[(sweep.labels == 11) & (np.linalg.norm(ego[:, :2], axis=1) < 8)]
            assert len(road) > 20 and np.abs(np.median(road[:, 2])) < 0.6
            flat = road[:, :2] @ np.linalg.lstsq(np.column_stack([road[:, :2], np.ones(len(road))]), road[:, 2],
                                                 rcond=None)[0][:2]
            assert np.abs(road[:, 2] - flat - np.median(road[:, 2] - flat)).max() < 0.35  # kerbs, noise, curvature
