"""How the agents of a simulated town behave."""

import copy

import numpy as np
import pytest

from occflow.simulation.agents import MAX_ACCELERATION, nearest_along, places_along
from occflow.simulation.boxes import KINDS, SHAPES
from occflow.simulation.ground import MAX_SLOPE, ROAD
from occflow.simulation.populate import populate
from occflow.simulation.settings import SimulationSettings
from occflow.simulation.streets import Lane, random_streets
from occflow.simulation.town import KERB_M, build_town
from occflow.simulation.traffic import LOOKS_M, LOOKS_S, MAX_BRAKING, OUTLINE_SHARES, TICK_S, touching

SETTINGS = SimulationSettings(1, 0, 15.0, 2, 4, 16, -30.0, 10.0, 180, 60.0, 0.02, 0.05, 1.84, 90, 0.3, 30, False, False,
                              False)


def traffic_of(seed: int):
    town, rng = build_town(np.random.default_rng(seed)), np.random.default_rng(seed + 100)
    return populate(town, SETTINGS, rng), rng


@pytest.fixture(scope="module")
def driven() -> tuple[list, np.ndarray]:
    """Snapshots of two towns, one a second for twelve seconds, and the ego's speed [2, 120] at every tick."""
    snapshots, speeds = [], []
    for seed in range(2):
        traffic, rng = traffic_of(seed)
        for tick in range(120):
            if tick % 10 == 0:
                snapshots.append(copy.deepcopy(traffic))
            traffic.step(rng)
            speeds.append(traffic.ego.speed_m_per_s)
    return snapshots, np.reshape(speeds, (2, 120))


@pytest.fixture
def drives(driven) -> list:
    return driven[0]


def test_vehicles_drive(drives):
    travelled = [drives[11].agents[i].distance_m - drives[0].agents[i].distance_m for i in drives[0].drivers]
    assert np.median(travelled) > 15.0


def test_agents_hardly_ever_touch(drives):
    pairs = sum(len(touching(traffic)) for traffic in drives)
    assert pairs / sum(len(traffic.agents) for traffic in drives) < 0.002
    assert not any(0 in pair for traffic in drives for pair in touching(traffic))


def test_vehicles_keep_to_the_road(drives):
    for traffic in drives:
        x, y, _ = traffic.places()[traffic.drivers].T
        assert (traffic.ground.categories[traffic.ground.cells(x, y)] == ROAD).all()


def test_the_ego_drives_gently(driven):
    accelerations = np.diff(driven[1]) / TICK_S
    assert accelerations.max() <= MAX_ACCELERATION + 1e-9 and accelerations.min() >= -MAX_BRAKING - 1e-9
    assert np.percentile(accelerations, 2) > -3.5


def test_people_walk_on_what_is_below_them(drives):
    over_road = 0
    for traffic in drives:
        poses = traffic.poses()[traffic.walkers]
        x, y, z = poses[:, :3, 3].T
        above = z - traffic.ground.relief(x, y)
        road = traffic.ground.categories[traffic.ground.cells(x, y)] == ROAD
        assert np.allclose(above[road], 0.0, atol=1e-6) and (above[~road] > KERB_M - 1e-6).all()
        over_road += int(road.sum())
    assert over_road > 0  # some cross


def test_decisions_are_made_when_the_time_comes(drives):
    present, futures = drives[0], []
    places = present.places().copy()
    for seed in (0, 0, 1):
        branch, rng = copy.deepcopy(present), np.random.default_rng(seed)
        for _ in range(30):
            branch.step(rng)
        futures.append(branch)
    assert np.array_equal(futures[0].places(), futures[1].places())
    turns = [[tuple(branch.agents[i].route.turns_taken) for i in branch.drivers] for branch in futures]
    assert turns[0] == turns[1] and turns[0] != turns[2]
    assert np.array_equal(present.places(), places)  # the copies left the present alone


def test_slopes_are_gentle_and_poses_are_rigid(drives):
    steepest = 0.0
    for traffic in drives:
        poses = traffic.poses()
        assert np.allclose(poses[:, :3, :3] @ poses[:, :3, :3].transpose(0, 2, 1), np.eye(3), atol=1e-9)
        steepest = max(steepest, np.abs(poses[:, 2, 0]).max())
    assert 0.001 < steepest <= MAX_SLOPE


@pytest.mark.parametrize("seed", range(5))
def test_turns_are_smooth_and_end_in_a_lane(seed):
    streets = random_streets(np.random.default_rng(seed))
    for i, j, axis in streets.links:
        for lane in range(streets.street(i, j, axis).lanes):
            here = Lane(*streets.neighbour(i, j, axis), axis, lane)
            assert streets.turns(here)  # nobody is ever stuck at a dead end
            for turn in streets.turns(here):
                points = streets.crossing(here, turn)
                assert np.allclose(points[-1], streets.ends(streets.following(here, turn))[0])
                steps = np.diff(points, axis=0)
                steps = steps[np.linalg.norm(steps, axis=1) > 1e-9]
                headings = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
                assert np.abs(np.diff(headings)).max(initial=0.0) < 0.2


def test_bodies_fill_their_boxes():
    for kind in KINDS.values():
        x, y, length, width, bottom, top = np.array(SHAPES[kind.shape]).T
        assert np.isclose(top.max(), 1.0) and np.isclose(bottom.min(), 0.0)
        assert (np.abs(x) + length / 2 <= 0.501).all() and (np.abs(y) + width / 2 <= 0.501).all()


def test_places_along_many_paths_are_those_along_each(drives):
    rng = np.random.default_rng(3)
    for traffic in drives:
        paths = [agent.path for agent in traffic.agents if agent.moves]
        lengths_m = np.array([path.end_m for path in paths])
        distances_m = np.where(rng.random(len(paths)) < 0.2, rng.choice([-3.0, 0.0, 1.0], len(paths)) * lengths_m,
                               rng.uniform(-20, lengths_m + 20))
        one_by_one = [path.at(at) for path, at in zip(paths, distances_m)]
        assert np.allclose(places_along(paths, distances_m), one_by_one, rtol=0, atol=1e-9)
        ahead_m = distances_m[:, None] + np.arange(0.0, 50.0, 2.0)
        points, headings = nearest_along(paths, ahead_m)
        for path, at, place, heading in zip(paths, ahead_m, points, headings):
            assert np.array_equal(place, path.points[path.indices(at)])
            assert np.array_equal(heading, path.headings[path.indices(at)])
    assert places_along([], np.zeros(0)).shape == (0, 3)


def test_movers_at_several_instants_are_those_of_each(drives):
    instants_s = np.array([-0.05, 0.0, 0.03])
    together = drives[5].moving_boxes(instants_s)
    for boxes, seconds in zip(together, instants_s):
        alone = drives[5].moving.at(drives[5].poses(float(seconds), drives[5].movers))
        assert np.allclose(boxes.centres, alone.centres, rtol=0, atol=1e-9)
        assert np.allclose(boxes.rotations, alone.rotations, rtol=0, atol=1e-9)


def test_drivers_look_at_all_that_is_within_sight(drives):
    for traffic in drives:
        places, speeds = traffic.places(), np.array([agent.speed_m_per_s for agent in traffic.agents])
        fronts = places[traffic.drivers, :2] + 1.0
        points, driver, point = traffic._within_sight(places, speeds, fronts)
        reach = np.minimum(traffic.ahead_m[-1], LOOKS_M + LOOKS_S * speeds[traffic.drivers])
        near = (points[None, :, 0] - fronts[:, :1])**2 + (points[None, :, 1] - fronts[:, 1:])**2 < reach[:, None]**2
        assert len(points) == len(OUTLINE_SHARES) * len(traffic.agents) and near.any()
        assert np.array_equal(np.stack(np.nonzero(near)), np.stack([driver, point]))
