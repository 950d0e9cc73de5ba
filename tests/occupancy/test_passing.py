"""What rays went past, by images of ranges; and what is there at a keyframe, by what was met and passed about then."""

from __future__ import annotations

import numpy as np
import pytest

from occflow.logs.protocol import Keyframe
from occflow.occupancy.building.cells import CellCounter
from occflow.occupancy.building.passing import PassingFinder, RangeImage
from occflow.occupancy.building.returns import Returns

SENSOR_M = np.array([0.0, 0.0, 2.0])


def sphere(radius_m: float, step_deg: float = 0.5) -> np.ndarray:
    """Ends [3, N] of rays to all sides, from 30 degrees below the horizon to 10 above."""
    azimuth, elevation = np.radians(np.meshgrid(np.arange(0, 360, step_deg), np.arange(-30, 10, step_deg)))
    way = np.stack([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    return SENSOR_M[:, None] + radius_m * way.reshape(3, -1)


def test_rays_go_past_what_is_nearer_than_their_ends_by_a_margin():
    image = RangeImage(SENSOR_M, sphere(20.0))
    places = SENSOR_M + np.array([[10.0, 0, 0], [19.4, 0, 0], [19.8, 0, 0], [25.0, 0, 0], [0.5, 0, 0], [0, 0, 8.0]])
    assert image.went_past(places, 0.4).tolist() == [True, True, False, False, False, False]


def test_a_ray_that_grazes_has_neighbours_that_end_there():
    x, y = np.meshgrid(np.arange(-40, 40, 0.1), np.arange(-40, 40, 0.1))
    road = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)])
    image = RangeImage(SENSOR_M, road)
    level = np.hypot(*road[:2])
    on_it, above = road.T[(level > 3) & (level < 30)], road.T[(level > 3) & (level < 12)] + [0, 0, 1.0]
    assert not image.went_past(on_it, 0.4).any()
    assert image.went_past(above, 0.4).mean() > 0.95


def test_road_between_the_rings_of_a_few_beams_stays():
    beams = np.radians([-24.0, -12.0, -9.3, -6.7, -5.3, -4.0, -2.7])
    azimuth = np.radians(np.arange(0, 360, 0.6))
    radius = 2.0 / np.tan(-beams)
    road = np.stack([np.outer(np.cos(azimuth), radius).ravel(), np.outer(np.sin(azimuth), radius).ravel(),
                     np.zeros(len(beams) * len(azimuth))])
    image = RangeImage(SENSOR_M, road)
    between = np.stack([np.linspace(13, 42, 300), np.zeros(300), np.zeros(300)], axis=1)
    assert not image.went_past(between, 0.4).any()
    assert image.went_past(between[:80] + [0, 0, 1.2], 0.4).all()


def test_between_two_beams_both_tell_and_beyond_the_last_none_does():
    sparse = sphere(20.0, 0.5)
    elevation = np.degrees(np.arcsin((sparse[2] - 2.0) / 20.0))
    image = RangeImage(SENSOR_M, sparse[:, (np.abs(elevation + 0.5) < 0.3) | (np.abs(elevation + 2.5) < 0.3)])
    ways = np.radians([-0.5, -1.5, -2.5, -5.5])
    places = SENSOR_M + 10 * np.stack([np.cos(ways), np.zeros(4), np.sin(ways)], axis=1)
    assert image.went_past(places, 0.4).tolist() == [True, True, True, False]


def sweep(stamp_s: float, *met: float) -> Returns:
    """Rays to all sides as far as 30 m, but for things of 1 m, 10 m ahead and so far to the left."""
    ends = sphere(30.0)
    across, up = np.arange(-0.5, 0.6, 0.1), np.arange(1.0, 2.1, 0.1)
    things = [np.stack(np.meshgrid([10.0], y + across, up), -1).reshape(-1, 3) for y in met]
    for y in met:
        way = (ends - SENSOR_M[:, None]) / np.where(ends[0] > 1, ends[0], np.inf)  # for a metre ahead
        hidden = (np.abs(10 * way[1] - y) < 0.6) & (np.abs(10 * way[2] + 0.5) < 0.6) & (way[0] > 0)
        ends = ends[:, ~hidden]
    ends = np.concatenate([ends, *(thing.T for thing in things)], axis=1)
    near = np.flatnonzero(np.linalg.norm(ends - SENSOR_M[:, None], axis=0) < 25)
    return Returns(stamp_s, np.eye(4), SENSOR_M, ends, near, np.full(len(near), 255, np.uint8))


@pytest.mark.parametrize("met, there", [
    ([(2,), (2,), (2,), (2,), (2,)], {2}),    # it stands
    ([(-6,), (-2,), (2,), (6,), (10,)], {2}),  # it passes: nothing of it where it was or will be
    ([(2,), (2,), (2,), (), ()], {2}),        # it leaves afterwards
    ([(), (), (2,), (2,), (2,)], {2}),        # it has just come
    ([(2,), (), (), (), (2,)], set()),        # it was there, and another one will be
])
def test_a_keyframe_shows_what_was_met_and_not_passed_about_then(met, there):
    sweeps = [sweep(0.1 * number, *(float(x) for x in places)) for number, places in enumerate(met)]
    lattice = CellCounter(0.2, 18)
    for one in sweeps:
        lattice.add(one.points(), one.labels)
    cells = lattice.cells()
    finder = PassingFinder(cells, np.zeros(3), lattice, [Keyframe("k", 0.2, np.eye(4), ())], 0.25, 60.0, 0.4)
    passing = finder.find(sweeps)
    shown = passing.there(0, np.arange(len(cells.cell_ids)))
    assert set(np.unique(np.round(cells.places_m[shown, 1] / 4 + 0.5) * 4 - 2).astype(int)) == there
