"""What lines streets: it is there where a place has it, it keeps off roads and walkways; the plain place has none."""

from dataclasses import replace

import numpy as np
import pytest

from occflow.geometry import invert
from occflow.simulation.boxes import CATEGORIES, Boxes, BoxList
from occflow.simulation.furnishing import FineBuilder
from occflow.simulation.ground import ROAD, Ground, Patch
from occflow.simulation.lidar import GRASS, LEAVES, Lidar, Returns, softened, uneven_m
from occflow.simulation.locality import PLAIN, Locality, Profile, drawn
from occflow.simulation.roadside import RAIL_M, Side, add_fences, banked
from occflow.simulation.settings import SimulationSettings
from occflow.simulation.streets import Lane
from occflow.simulation.town import SIDEWALK_M, Town, build_town

BARE = Locality(profiles=(Profile(1, False, 1.0, 0.0, 10.0),), green=0.0, clutter=0.1, built=0.0, parks=0.0, fine=True,
                grass_m=0.1, paved=0.0)
RICH = replace(BARE, clutter=1.5, built=0.6, wild=0.3, lined=0.8, overgrown=0.8, stuff=0.4, rails=0.7,
               banks=0.5, bank_m=4.0, screens=0.2, setbacks_m=(3.0, 12.0), verge_m=2.0)
MANMADE = CATEGORIES.index("static.manmade")
PLAIN_BOXES, PLAIN_NEXT = 3148, 701871406  # of generator state 0: how many, and what it draws next


def town(place: Locality, seed: int = 1) -> Town:
    return build_town(np.random.default_rng(seed), place)


def low(boxes: Boxes, ground: Ground) -> Boxes:
    """Leaves and what people made that begins less than two metres above the ground."""
    bottoms = boxes.centres[:, 2] - boxes.sizes[:, 2] / 2 - ground.height(*boxes.centres[:, :2].T)
    return boxes.where((bottoms < 2.0) & np.isin(boxes.categories, (LEAVES, MANMADE)))


def leaves_m2(boxes: Boxes) -> float:
    return float(boxes.sizes[boxes.categories == LEAVES, :2].prod(axis=1).sum())


def test_the_plain_place_draws_what_it_has_always_drawn():
    rng = np.random.default_rng(0)
    plain = build_town(rng, PLAIN)
    assert (len(plain.boxes.sizes), int(rng.integers(10**9))) == (PLAIN_BOXES, PLAIN_NEXT)
    assert not any(patch.bank_m for patch in plain.ground.patches)
    for name in ("through", "rough_m", "pathless", "wild", "lined", "overgrown", "stuff", "rails", "screens", "banks"):
        assert getattr(PLAIN, name) == 0


def test_places_differ_in_what_lines_their_streets():
    places = [place for place in (drawn(np.random.default_rng((seed, 0, 3))) for seed in range(200)) if place.fine]
    for name, least, most in (("wild", 0.05, 0.6), ("lined", 0.15, 0.8), ("rails", 0.02, 0.4), ("banks", 0.02, 0.3),
                              ("overgrown", 0.4, 2.5), ("through", 0.05, 0.5), ("kerb_m", 0.06, 0.17),
                              ("rough_m", 0.01, 0.1), ("paving_m", 0.005, 0.03),
                              ("grass_m", 0.02, 0.3), ("foliage_m", 0.04, 0.3)):
        values = [getattr(place, name) for place in places]
        assert min(values) < least and max(values) > most


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_guard_rails_stand_at_the_kerb_but_for_where_people_cross(share):
    built, streets = town(replace(BARE, rails=share)), town(BARE).streets
    half = streets.lines[0][0].half_m + RAIL_M
    x, y = built.boxes.centres[:, :2].T
    long = (built.boxes.categories == MANMADE) & (built.boxes.sizes[:, 1] > 6)
    at_kerb = long & np.isclose(np.minimum(*(np.abs(np.abs(value[:, None] - [line.at_m for line in lines]) - half).min(
        axis=1) for value, lines in zip((x, y), streets.lines))), 0.0, atol=1e-6)
    assert at_kerb.any() == bool(share)
    for i, j, axis in sorted(streets.links)[:8]:
        middle = np.mean(streets.ends(Lane(*streets.neighbour(i, j, axis), axis, 0)), axis=0)
        near = np.abs(built.boxes.centres[at_kerb, :2] - middle)
        reach = built.boxes.sizes[at_kerb, 1] / 2
        assert not ((near[:, axis] - reach < 1.0) & (near[:, 1 - axis] < half + 2)).any()


@pytest.mark.parametrize("name, value", [("wild", 1.0), ("lined", 1.0), ("overgrown", 1.0)])
def test_undergrowth_grows_where_it_is_asked_for(name, value):
    assert leaves_m2(town(replace(BARE, **{name: value})).boxes) > leaves_m2(town(BARE).boxes) + 2000


def test_yards_hold_stuff():
    more = (town(replace(BARE, stuff=1.0)).boxes.categories == MANMADE).sum()
    assert more > (town(BARE).boxes.categories == MANMADE).sum() + 300


@pytest.mark.parametrize("seed", range(3))
def test_nothing_stands_on_roads_and_in_the_way_of_people(seed):
    built = town(RICH, seed)
    boxes, streets = low(built.boxes, built.ground), built.streets
    x, y = boxes.centres[:, :2].T
    for dx, dy in ((0.5, 0.5), (-0.5, 0.5), (0.5, -0.5), (-0.5, -0.5)):  # leaves may hang over the kerb
        on_road = (built.ground.categories[built.ground.cells(x + dx, y + dy)] == ROAD)
        x, y, boxes = x[on_road], y[on_road], boxes.where(on_road)
    assert not len(x)
    boxes = low(built.boxes, built.ground)
    for i, j, axis in sorted(streets.links):
        ends = np.sort([streets.node(i, j)[axis], streets.node(*streets.neighbour(i, j, axis))[axis]])
        at, along = boxes.centres[:, 1 - axis], boxes.centres[:, axis]
        line = streets.street(i, j, axis)
        for aside in (-1, 1):
            way = line.at_m + aside * (line.half_m + streets.verge_m + 2.0)
            assert not ((np.abs(at - way) < 0.6) & (along > ends[0] + 15) & (along < ends[1] - 15)).any()


@pytest.mark.parametrize("kind", ["wall", "pickets", "rails", "wire"])
def test_beams_go_through_fences_but_not_through_walls(kind):
    """Seen straight on, from 10 m."""
    patch = Patch(0.0, 0.0, 60.0, 60.0, "flat.terrain", 0.0)
    builder = FineBuilder(Ground(np.zeros((1, 4)), [patch]), np.random.default_rng(3))
    builder.fence(30.0, 30.0, 0.2, 14.0, 2.0, 0.0, kind)
    hits, beams = seen(builder.boxes(), np.linspace(-6, 6, 41), np.linspace(0.2, 1.8, 33))
    assert (hits / beams == 1) if kind == "wall" else 0.05 < hits / beams < 0.7


def seen(boxes: Boxes, aside: np.ndarray, heights: np.ndarray) -> tuple[int, int]:
    """Of level rays along x at y = 30 m + aside, heights: how many meet a box; and how many there are."""
    met = np.zeros((len(aside), len(heights)), bool)
    for centre, size in zip(boxes.centres, boxes.sizes):
        met |= ((np.abs(30.0 + aside - centre[1]) <= size[1] / 2)[:, None]
                & (np.abs(heights - centre[2]) <= size[2] / 2)[None])
    return int(met.sum()), met.size


def test_no_fence_before_a_parked_car():
    patch = Patch(0.0, 0.0, 60.0, 60.0, "flat.terrain", 0.0)
    side = Side((30.0, 30.0), 25.0, 25.0, 0.0)
    car = np.array([side.at(4.0, -3.7)])
    found = 0
    for seed in range(30):
        builder = FineBuilder(Ground(np.zeros((1, 4)), [patch]), np.random.default_rng(seed))
        add_fences(builder, side, False, car, BARE)
        boxes = builder.boxes()
        found += len(boxes.sizes)
        assert not (np.abs(boxes.centres[:, 1] - car[0, 1]) - boxes.sizes[:, 1] / 2 < 0.9).any()
    assert found > 100


def test_banks_go_up_from_the_street_and_carry_what_stands_on_them():
    flat = Patch(0.0, 0.0, 120.0, 90.0, "flat.terrain", 0.2)
    rng = np.random.default_rng(0)
    patch = banked(flat, replace(BARE, banks=1.0, bank_m=5.0), rng)
    assert banked(flat, BARE, rng) == flat
    assert 0 < patch.bank_m <= 5 and patch.run_m <= 30 + 1e-9
    ground = Ground(np.zeros((1, 4)), [flat, patch])
    assert np.isclose(ground.height(60.0, 45.0), 0.2 + patch.bank_m) and np.isclose(ground.height(60.0, 0.1), 0.2)
    x, y = rng.uniform(0, 120, 500), rng.uniform(0, 90, 500)
    assert np.abs(ground.height(x, y) - patch.rises_m(x, y)).max() < 0.75 * patch.slope
    surface = ground.triangles()
    top = surface.vertices[surface.vertices[:, 2] > 0.15]
    assert np.isclose(top[:, 2].max(), 0.2 + patch.bank_m) and (np.diff(patch.lines(0.0, 120.0)) > 0).all()
    builder = FineBuilder(ground, rng)
    builder.thicket(60.0, 45.0, 4.0, 4.0, 0.0, (1.0, 2.0))
    assert builder.boxes().centres[:, 2].min() > 0.2 + patch.bank_m


@pytest.mark.parametrize("through, behind", [(0.0, 0.0), (0.6, 0.36), (1.0, 1.0)])
def test_beams_go_through_leaves(through, behind):
    """A hedge of two surfaces 5 m before a wall: the share of the beams that the wall returns."""
    items = BoxList()
    items.add("static.vegetation", 0.0, 10.0, 40.0, 1.0, -5.0, 5.0)
    items.add("static.manmade", 0.0, 15.0, 60.0, 1.0, -8.0, 8.0)
    settings = SimulationSettings(1, 0, 5.0, 2, 20, 16, -8.0, 8.0, 720, 80.0, 0.0, 0.0, 1.84, 0, 0.0, 0, False, False,
                                  False)
    returns = Lidar(items.boxes().triangles(), settings, through).sweep(
        [BoxList().boxes()], np.eye(4), np.eye(4), np.random.default_rng(0))
    ahead = np.abs(returns.points[:, 0]) < 0.8 * returns.points[:, 1]
    wall = returns.categories[ahead] == MANMADE
    assert abs(wall.mean() - behind) < 0.05
    assert np.allclose(returns.points[ahead][wall][:, 1], 14.5, atol=1e-3)


def test_open_ground_is_uneven_and_the_same_from_everywhere():
    place = replace(BARE, rough_m=0.1, tufts_m=1.5, grass_m=1e-9)
    rng = np.random.default_rng(0)
    spots = rng.uniform(0, 300, (5000, 3)) * (1, 1, 0)
    assert 0.07 < uneven_m(spots[:, :2].astype(np.float32), place).std() < 0.13
    found = []
    for yaw, shift in ((0.0, (100.0, 120.0, 2.0)), (2.0, (180.0, 90.0, 1.5))):
        pose = np.eye(4)
        pose[:2, :2], pose[:3, 3] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]], shift
        points = (spots @ invert(pose)[:3, :3].T + invert(pose)[:3, 3]).astype(np.float32)
        returns = Returns(points, np.zeros(5000, np.uint8), np.full(5000, GRASS, np.uint8), np.full(5000, -1))
        raised = softened(returns, place, rng, pose).points
        assert np.array_equal(raised[:, :2], points[:, :2])
        found.append(raised[:, 2] + shift[2])
    assert np.abs(found[0] - found[1]).max() < 0.01 and np.abs(found[0]).max() > 0.15
    road = replace(returns, categories=np.full(5000, ROAD, np.uint8))
    assert np.array_equal(softened(road, place, rng, pose).points, road.points)
    worn = softened(road, replace(place, paving_m=0.03), rng, pose).points - road.points
    assert 0.02 < worn[:, 2].std() < 0.04 and not worn[:, :2].any()


def test_sidewalks_of_some_places_are_bare_ground_and_kerbs_differ():
    built = town(replace(BARE, pathless=1.0, kerb_m=0.05, lost_links=0.0))
    assert np.isclose(np.unique(built.ground.rises_m), [0.0, 0.05, 0.08], atol=1e-6).all()
    i, j, axis = sorted(built.streets.links)[5]
    lane = Lane(*built.streets.neighbour(i, j, axis), axis, 0)
    place = np.mean(built.streets.ends(lane), axis=0)
    place[1 - axis] = built.streets.street(i, j, axis).at_m + built.streets.street(i, j, axis).half_m + SIDEWALK_M / 2
    cell = built.ground.cells(*place)
    assert np.isclose(built.ground.rises_m[cell], 0.05) and built.ground.categories[cell] == GRASS
