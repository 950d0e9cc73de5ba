"""Points of a revolution are put where the moving sensor met them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from occflow.geometry import invert, planar_pose, transform
from occflow.logs.protocol import Sweep
from occflow.occupancy.building.returns import in_turn, scene_returns
from occflow.occupancy.settings import OccupancySettings

REVOLUTION_S, SPEED_M_PER_S = 0.05, 20.0
SETTINGS = OccupancySettings(revolution_s=REVOLUTION_S, ego_box_m=(0.0, 0.0, 0.0, 0.0))


def sensor_at(time_s: float) -> np.ndarray:
    return planar_pose(SPEED_M_PER_S * time_s, 0.0, 0.0)


def seen(stamp_s: float, posts: np.ndarray) -> Sweep:
    """Posts [N, 3] of the world, each in the sensor's frame of its own firing: clockwise from -90 degrees."""
    points = []
    for post in posts:
        late_s = -REVOLUTION_S / 2
        for _ in range(20):  # when it is met depends on where the sensor is then
            x, y, _ = transform(invert(sensor_at(stamp_s + late_s)), post[None])[0]
            late_s = -REVOLUTION_S * (1 - np.mod(-np.pi / 2 - np.arctan2(y, x), 2 * np.pi) / (2 * np.pi))
        points.append(transform(invert(sensor_at(stamp_s + late_s)), post[None])[0])
    pose = sensor_at(stamp_s)
    return Sweep(stamp_s, np.array(points, dtype=np.float32), None, pose, pose, None, Path("scan"))


def test_points_met_on_the_way_come_to_where_they_are():
    posts = np.array([[12.0, 5, 1], [-9, 4, 1], [-7, -6, 0], [15, -3, 0]])
    sweeps = [seen(time_s, posts) for time_s in (0.0, 0.1, 0.2)]
    log = SimpleNamespace(name="posts", sweeps=lambda scene: iter(sweeps))
    corrected = list(scene_returns(log, "street", SETTINGS))
    for returns in corrected:
        assert np.allclose(returns.points(), posts, atol=1e-4)
        assert ((-REVOLUTION_S <= returns.late_s) & (returns.late_s <= 0)).all()
    (raw, *_) = scene_returns(log, "street", OccupancySettings(ego_box_m=SETTINGS.ego_box_m))
    assert np.abs(raw.points() - posts).max() > 0.5 and in_turn(raw) == [raw]
    parts = in_turn(corrected[1])
    assert sum(len(part.labels) for part in parts) == len(posts)
    assert all(0.05 <= part.stamp_s <= 0.1 for part in parts)
