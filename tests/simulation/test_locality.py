"""Places of their own: towns of other streets and other traffic hold what holds in the plain one."""

import numpy as np
import pytest

from occflow.simulation.boxes import CATEGORIES, KINDS, PARKED, SHAPES, TRAILERS, VARIED_DRIVEN, VARIED_PARKED
from occflow.simulation.ground import ROAD
from occflow.simulation.lidar import DEEPEST_M, Returns, softened
from occflow.simulation.locality import CHARACTERS, PLAIN, Locality, drawn
from occflow.simulation.populate import populate
from occflow.simulation.settings import SimulationSettings
from occflow.simulation.streets import DIRECTIONS, Lane, random_streets
from occflow.simulation.town import SIDEWALK_M, build_town
from occflow.simulation.traffic import Traffic, touching

SETTINGS = SimulationSettings(1, 0, 15.0, 2, 4, 16, -30.0, 10.0, 180, 60.0, 0.02, 0.05, 1.84, 90, 0.3, 30, False, True,
                              False)
PLACES = [drawn(np.random.default_rng((seed, 0, 3))) for seed in range(200)]


@pytest.fixture(scope="module")
def drives() -> list[list[Traffic]]:
    """Three busy places, each stepped on for six seconds, where lanes are changed often."""
    found = []
    for number, seed in enumerate(np.flatnonzero([place.fine for place in PLACES])[:3]):
        place = Locality(**{**vars(PLACES[seed]), "changes_hz": 0.3})
        rng = np.random.default_rng(number)  # of the traffic alone: what lines the streets does not change it
        found.append((populate(build_town(np.random.default_rng(number), place), SETTINGS, rng), rng))
    return found


@pytest.fixture(scope="module")
def driven(drives) -> list[list[dict]]:
    """Of every place and tick: places [N, 3], speeds [N], touching pairs, lanes of the drivers."""
    records = []
    for traffic, rng in drives:
        rows = []
        for _ in range(60):
            traffic.step(rng)
            rows.append({"places": traffic.places(), "before": traffic.places(-0.1), "touching": touching(traffic),
                         "speeds": np.array([agent.arrived_m_per_s for agent in traffic.agents]),
                         "lanes": [traffic.agents[index].route.lane for index in traffic.drivers]})
        records.append(rows)
    return records


def test_the_plain_place_is_kept_by_some_and_the_others_differ():
    assert 0.04 < np.mean([place is PLAIN for place in PLACES]) < 0.25
    limits = [place.fastest_m_per_s for place in PLACES if place is not PLAIN]
    assert min(limits) < 8 and max(limits) > 22 and np.isinf(PLAIN.fastest_m_per_s)
    for place in PLACES:
        assert np.isclose(sum(profile.share for profile in place.profiles), 1)
        assert np.isclose(sum(place.storey_shares), 1)


@pytest.mark.parametrize("name", CHARACTERS)
def test_blocks_have_room_for_houses(name):
    """Between the broadest streets, with their verges and sidewalks, remain twenty metres."""
    kind = CHARACTERS[name]
    assert sum(kind.share for kind in CHARACTERS.values()) == pytest.approx(1)
    half = 3.5 * kind.lanes[1] + 2.5 + 3.0
    assert kind.gaps_m[0] - 2 * (half + kind.verges_m[1] + SIDEWALK_M) > 20


@pytest.mark.parametrize("seed", range(8))
def test_turns_end_in_lanes_across_strips_and_verges(seed):
    streets = random_streets(np.random.default_rng(seed), PLACES[seed])
    for i, j, axis in streets.links:
        for lane in range(streets.street(i, j, axis).lanes):
            here = Lane(*streets.neighbour(i, j, axis), axis, lane)
            start, end = streets.ends(here)
            assert (end - start) @ DIRECTIONS[axis] > 15
            for turn in streets.turns(here):
                points = streets.crossing(here, turn)
                assert np.allclose(points[-1], streets.ends(streets.following(here, turn))[0])


def test_vehicles_keep_to_the_road_and_apart(drives, driven):
    for (traffic, _), rows in zip(drives, driven):
        for row in rows[::10]:
            x, y, _ = row["places"][traffic.drivers].T
            assert (traffic.ground.categories[traffic.ground.cells(x, y)] == ROAD).all()
        pairs = sum(len(row["touching"]) for row in rows)
        assert pairs / (len(rows) * len(traffic.agents)) < 0.002


def test_everybody_moves_as_fast_as_it_is_said(drives, driven):
    """Trailers, too; who changes lanes does not jump."""
    changes = standing = 0
    for (traffic, _), rows in zip(drives, driven):
        for one, other in zip(rows, rows[1:]):
            moved = np.linalg.norm(other["places"][:, :2] - one["places"][:, :2], axis=1)
            assert (np.abs(moved - 0.1 * other["speeds"]) < 0.1 + 0.02 * other["speeds"]).all()
            changes += sum(a != b and (a.i, a.j, a.direction) == (b.i, b.j, b.direction)
                           for a, b in zip(one["lanes"], other["lanes"]))
        parked = [index for index, agent in enumerate(traffic.agents) if not agent.moves]
        assert not rows[-1]["speeds"][parked].any()
        standing += len(parked)
    assert changes > 0 and standing > 0


def test_trailers_follow_their_vehicles(drives):
    towing = [agent for traffic, _ in drives for agent in traffic.agents if agent.tows is not None]
    assert towing
    for agent in towing:
        gap = agent.distance_m - agent.tows.distance_m - (agent.size_m[0] + agent.tows.size_m[0]) / 2
        apart = np.linalg.norm(np.subtract(agent.place()[:2], agent.tows.place()[:2]))
        assert 0 < gap < 1 and apart > 0.6 * (agent.distance_m - agent.tows.distance_m)
        assert agent.rear_m < agent.tows.rear_m + 1e-9 and agent.tows.category == "vehicle.trailer"


def test_kinds_are_kinds():
    for shares in (VARIED_DRIVEN, VARIED_PARKED, PARKED):
        assert set(shares) <= set(KINDS) and np.isclose(sum(shares.values()), 1, atol=0.05)
    assert {kind for tows in TRAILERS.values() for kind, _ in tows} <= set(KINDS)
    assert {kind.shape for kind in KINDS.values()} <= set(SHAPES)


def test_grass_stands_up_and_leaves_are_deep():
    rng, place = np.random.default_rng(0), Locality(grass_m=0.2, foliage_m=0.3)
    names = np.array(["flat.terrain", "static.vegetation", "flat.driveable_surface"])
    categories = np.array([CATEGORIES.index(name) for name in names])[rng.integers(3, size=3000)].astype(np.uint8)
    points = rng.normal(0, 20, (3000, 3)).astype(np.float32)
    returns = Returns(points, np.zeros(3000, np.uint8), categories, np.full(3000, -1))
    found = softened(returns, place, rng).points
    grass, leaves, road = (categories == CATEGORIES.index(name) for name in names)
    assert np.array_equal(found[road], points[road]) and np.array_equal(found[grass, :2], points[grass, :2])
    raised = found[grass, 2] - points[grass, 2]
    assert raised.min() > -1e-5 and 0.15 < raised.max() < 0.2 + 1e-5
    deeper = np.linalg.norm(found[leaves], axis=1) - np.linalg.norm(points[leaves], axis=1)
    assert deeper.min() > -1e-4 and 0.2 < deeper.mean() < 0.35 and deeper.max() < DEEPEST_M + 1e-4
    assert softened(returns, PLAIN, rng) is returns
