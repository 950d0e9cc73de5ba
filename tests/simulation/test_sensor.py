"""The simulated sensor: geometry of its rays, and what its motion does to the points."""

import numpy as np
from scipy.spatial.transform import Rotation

from occflow.geometry import planar_pose
from occflow.simulation.boxes import Boxes, BoxList, turned
from occflow.simulation.lidar import REVOLUTION_S, Lidar, in_sight, ray_directions
from occflow.simulation.settings import SimulationSettings


def settings(**changes) -> SimulationSettings:
    values = {"train_scenes": 1, "val_scenes": 0, "duration_s": 5.0, "keyframe_hz": 2, "sweep_hz": 20, "beams": 32,
              "lowest_beam_deg": -92 / 3, "highest_beam_deg": 32 / 3, "mount_height_m": 1.84, "varied": False,
              "azimuths": 360, "max_range_m": 80.0, "range_noise_m": 0.0, "dropout": 0.0, "vehicles": 0,
              "parked_share": 0.0, "pedestrians": 0, "motion_during_revolution": False, "exact_occupancy": False}
    return SimulationSettings(**{**values, **changes})


def room() -> Boxes:
    """A wall 20 m ahead (y of the sensor) and one 20 m behind."""
    items = BoxList()
    for y in (20.5, -20.5):
        items.add("static.manmade", 0.0, y, 100.0, 1.0, -5.0, 30.0)
    return items.boxes()


def test_beams_of_an_hdl_32e():
    elevations = np.degrees(np.arcsin(ray_directions(settings())[0, :, 2]))
    assert np.allclose(elevations, -92 / 3 + 4 / 3 * np.arange(32))


def test_a_standing_sensor_sees_straight_walls():
    lidar = Lidar(room().triangles(), settings())
    points = lidar.sweep([BoxList().boxes()], np.eye(4), np.eye(4), np.random.default_rng(0)).points
    assert len(points) > 1000 and np.allclose(np.abs(points[:, 1]), 20.0, atol=1e-3)


def test_a_driving_sensor_smears_walls_by_the_way_it_makes_in_a_revolution():
    lidar, speed = Lidar(room().triangles(), settings(motion_during_revolution=True)), 10.0

    begin = planar_pose(0.0, -speed * REVOLUTION_S, 0.0)  # ahead, along the sensor's y
    points = lidar.sweep([BoxList().boxes()] * len(lidar.movers_s), begin, np.eye(4), np.random.default_rng(0)).points
    behind = points[points[:, 1] < 0]
    first, last = behind[(behind[:, 0] < 0)], behind[(behind[:, 0] > 0)]  # clockwise: left of the rear comes first
    middle = points[(points[:, 1] > 0) & (np.abs(points[:, 0]) < 1)]
    travelled = speed * REVOLUTION_S
    assert np.isclose(np.abs(first[:, 1]).min(), 20.0 - travelled, atol=0.03)
    assert np.isclose(np.abs(last[:, 1]).max(), 20.0, atol=0.03)
    assert np.allclose(middle[:, 1], 20.0 + travelled / 2, atol=0.03)  # half a revolution before the stamp


def test_movers_are_seen_where_they_are():
    items = BoxList()
    items.add("vehicle.car", 0.0, 10.5, 4.0, 1.0, -2.0, 2.0)
    car = items.boxes()
    car = Boxes(car.centres, car.sizes, car.rotations, car.categories, np.array([7]))
    returns = Lidar(room().triangles(), settings()).sweep([car], np.eye(4), np.eye(4),
                                                          np.random.default_rng(0))
    mine = returns.owners == 7
    assert mine.any() and np.allclose(returns.points[mine][:, 1], 10.0, atol=1e-3)
    assert np.array_equal(np.unique(returns.categories[mine]), [17])


def test_what_is_out_of_sight_is_met_by_no_ray(monkeypatch):
    rng = np.random.default_rng(5)
    for trial, moves in enumerate((False, True, True)):
        lidar = Lidar(room().triangles(), settings(motion_during_revolution=moves, max_range_m=35.0))
        count, turn = 60, rng.uniform(-0.04, 0.04)
        boxes = Boxes(rng.uniform((-50, -50, -3), (50, 50, 3), (count, 3)), rng.uniform(0.1, 6.0, (count, 3)),
                      turned(rng.uniform(0, 7, count)), np.full(count, 17), np.arange(count))
        begin = planar_pose(*rng.uniform(-1, 1, 2), turn)
        begin[:3, :3] = Rotation.from_euler("xyz", rng.normal(0, 0.05, 3)).as_matrix() @ begin[:3, :3]
        end = begin @ planar_pose(0.1, 1.5, turn) if moves else begin
        movers = [boxes] * len(lidar.movers_s)
        returns, owners = [], set(range(count))
        for sees_all in (False, True):
            if sees_all:
                monkeypatch.setattr("occflow.simulation.lidar.in_sight",
                                    lambda boxes, *others: np.ones(len(boxes.sizes), dtype=bool))
            returns.append(lidar.sweep(movers, begin, end, np.random.default_rng(trial)))
        monkeypatch.undo()
        for name in ("points", "beams", "categories", "owners"):
            assert np.array_equal(getattr(returns[0], name), getattr(returns[1], name))
        poses = lidar._poses(begin, end)
        quarter = in_sight(boxes, poses[:90], lidar.azimuths[:90], 35.0)
        assert 0 < len(set(returns[0].owners) & owners) and 0 < quarter.sum() < count / 2


def test_rays_end_where_the_sensor_sees_no_farther():
    far, near = (Lidar(room().triangles(), settings(max_range_m=range_m)) for range_m in (80.0, 25.0))
    everywhere, about = (lidar.sweep([BoxList().boxes()], np.eye(4), np.eye(4), np.random.default_rng(0)).points
                         for lidar in (far, near))
    ranges = np.linalg.norm(everywhere, axis=1)
    assert len(about) < len(everywhere) and np.linalg.norm(about, axis=1).max() < 25.0
    assert np.array_equal(everywhere[ranges < 25.0 - 1e-4], about[np.linalg.norm(about, axis=1) < 25.0 - 1e-4])
