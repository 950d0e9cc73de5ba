"""The static world: streets, blocks with kerbs and sidewalks, houses, fences, hedges, trees, poles, parks."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from occflow.simulation.boxes import Boxes
from occflow.simulation.furnishing import Builder, FineBuilder
from occflow.simulation.ground import CELL_M, Ground, Patch, random_relief
from occflow.simulation.locality import PLAIN, Locality
from occflow.simulation.roadside import (
    RAIL_M,
    Side,
    add_fences,
    add_party_lines,
    add_rails,
    add_undergrowth,
    add_wilderness,
    banked,
    fill_yard,
)
from occflow.simulation.streets import CORNER_M, LINES, Lane, Streets, random_streets

SIDEWALK_M = 4.0
KERB_M, GARDEN_M = PLAIN.kerb_m, 0.03  # sidewalks above the road of the plain place; gardens above sidewalks
FURNITURE_M = 0.6  # from the kerb to trees and poles
FURNISHED_M = 330.0  # of the middle of a large town
LOT_ROW_M, DRIVE_M = 8.5, 7.0  # between rows of a parking lot; length of a place before a house
GREEN_MEDIAN_M = 3.0  # strips between directions are green from this width on
FREE_CROSSING_M = 2.0  # about the middle of a street nothing stands in the way of people who cross


@dataclass(frozen=True)
class Town:
    """Where one can drive, what lies on the ground, and what stands on it; where one may park beside streets: places
    [P, 3] x, y, heading on lots and before houses."""

    streets: Streets
    ground: Ground
    boxes: Boxes
    locality: Locality = PLAIN
    lots: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))

    def __deepcopy__(self, memo: dict) -> Town:
        return self  # never changes


def build_town(rng: np.random.Generator, locality: Locality = PLAIN) -> Town:
    """A town of its own for every generator state."""
    streets = random_streets(rng, locality)
    patches, gardens = [Patch(0.0, 0.0, *streets.extent_m, "flat.driveable_surface", 0.0)], []
    spans = [[_span(streets, axis, k) for k in range(-1, LINES)] for axis in (0, 1)]
    for west, east in spans[0]:
        for south, north in spans[1]:
            kerb_m, path = locality.kerb_m, "flat.sidewalk"
            if locality.pathless and rng.random() < locality.pathless:
                path = "flat.terrain"
            if streets.verge_m:
                patches += _rims(west, south, east, north, "flat.terrain", kerb_m)
            patches += _rims(*_shrunk((west, south, east, north), streets.verge_m), path, kerb_m)
            inner = _shrunk((west, south, east, north), streets.verge_m + SIDEWALK_M)
            category = "flat.terrain" if rng.random() < 1 - locality.paved else "flat.other"
            if locality.lots and rng.random() < locality.lots:
                category = "flat.driveable_surface"
            gardens.append(Patch(*inner, category, kerb_m + GARDEN_M))
            if locality.banks and category != "flat.driveable_surface":
                gardens[-1] = banked(gardens[-1], locality, rng)
    patches += gardens
    parks = _closed_streets(streets, spans)
    for patch in parks:
        patches += [Patch(*patch, "flat.sidewalk", locality.kerb_m),
                    Patch(*_shrunk(patch, SIDEWALK_M), "flat.terrain", locality.kerb_m + GARDEN_M)]
    medians = _medians(streets)
    patches += [Patch(*sides, "flat.terrain" if green else "flat.other", locality.kerb_m) for sides, green in medians]
    builder = (FineBuilder if locality.fine else Builder)(Ground(random_relief(rng), patches), rng)
    lots, middle = [], np.array(streets.extent_m) / 2
    for garden in gardens:
        sides = (garden.west, garden.south, garden.east, garden.north)
        nearest = np.clip(middle, sides[:2], sides[2:])
        if locality.fine and np.linalg.norm(nearest - middle) > FURNISHED_M:
            continue
        if garden.category == "flat.driveable_surface":
            lots += _fill_lot(builder, sides)
        else:
            lots += _fill_block(builder, garden, locality)
    for patch in parks:
        _plant(builder, _shrunk(patch, SIDEWALK_M), 0.02 * locality.green)
    for sides, green in medians:
        if green:
            _plant_median(builder, sides, locality.green)
        if locality.rails and rng.random() < locality.rails:
            _rail_median(builder, sides)
    return Town(streets, builder.ground, builder.boxes(), locality, np.array(lots).reshape(-1, 3))


def _span(streets: Streets, axis: int, k: int) -> tuple[float, float]:
    """From the kerb of line k to the kerb of the next; the land's edge where there is none."""
    lines = streets.lines[axis]
    return (lines[k].at_m + lines[k].half_m if k >= 0 else 0.0,
            lines[k + 1].at_m - lines[k + 1].half_m if k + 1 < LINES else streets.extent_m[axis])


def _rims(west: float, south: float, east: float, north: float, category: str, rise_m: float) -> list[Patch]:
    """A block with its four corners cut, so that vehicles can turn."""
    cut = CORNER_M
    return [Patch(*sides, category, rise_m) for sides in
            ((west + cut, south, east - cut, north), (west, south + cut, west + cut, north - cut),
             (east - cut, south + cut, east, north - cut))]


def _closed_streets(streets: Streets, spans: list[list[tuple[float, float]]]) -> list[tuple[float, ...]]:
    """West, south, east, north of the places where a link is not built."""
    closed = []
    for axis in (0, 1):
        for k, (low, high) in enumerate(spans[axis], start=-1):
            for other, line in enumerate(streets.lines[1 - axis]):
                link = (k, other, 0) if axis == 0 else (other, k, 1)
                if link not in streets.links:
                    sides = (line.at_m - line.half_m - CORNER_M, line.at_m + line.half_m + CORNER_M)
                    closed.append((low, sides[0], high, sides[1]) if axis == 0 else (sides[0], low, sides[1], high))
    return closed


def _medians(streets: Streets) -> list[tuple[tuple[float, ...], bool]]:
    """West, south, east, north of the strips between directions, and whether they are green: the broad ones."""
    strips = []
    for i, j, axis in sorted(streets.links):
        line = streets.street(i, j, axis)
        (low, high), half = sorted(streets.ends(Lane(*streets.neighbour(i, j, axis), axis, 0))[k][axis]
                                    for k in (0, 1)), line.median_m / 2
        low, high = (round(value / CELL_M) * CELL_M for value in (low + 1.0, high - 1.0))
        if half:
            sides = (low, line.at_m - half, high, line.at_m + half)
            strips.append((sides if axis == 0 else (sides[1], low, sides[3], high), line.median_m >= GREEN_MEDIAN_M))
    return strips


def _plant_median(builder: Builder, sides: tuple[float, ...], green: float) -> None:
    """A row of trees and hedges, but for the middle, where people may cross."""
    west, south, east, north = sides
    along = east - west > north - south
    low, high, across = (west, east, (south + north) / 2) if along else (south, north, (west + east) / 2)
    kind = builder.rng.random()
    for at in np.arange(low + 5, high - 5, builder.rng.uniform(6, 14) / max(0.3, min(green, 2.0))):
        x, y = (at, across) if along else (across, at)
        if abs(at - (low + high) / 2) < FREE_CROSSING_M + 1:
            continue
        if kind < 0.5:
            builder.tree(x, y, builder.rng.uniform(0.7, 1.1))
        elif kind < 0.8:
            builder.hedge(x, y, 0.9, 5.0, builder.rng.uniform(0.6, 1.2), 0.0 if not along else np.pi / 2)


def _rail_median(builder: FineBuilder, sides: tuple[float, ...]) -> None:
    """A guard rail or a parapet between the directions."""
    west, south, east, north = sides
    along = east - west > north - south
    middle, yaw = ((west + east) / 2, (south + north) / 2), np.pi / 2 if along else 0.0
    add_rails(builder, Side(middle, 0.0, 0.0, yaw), RAIL_M, max(east - west, north - south) / 2, 1.0)


def _shrunk(sides: tuple[float, ...], by_m: float) -> tuple[float, ...]:
    west, south, east, north = sides
    return west + by_m, south + by_m, east - by_m, north - by_m


def _plant(builder: Builder, sides: tuple[float, ...], trees_a_square_metre: float) -> None:
    """Trees and bushes at random."""
    west, south, east, north = sides
    if east - west < 2 or north - south < 2:
        return
    for _ in range(builder.rng.poisson(trees_a_square_metre * (east - west) * (north - south))):
        x, y = builder.rng.uniform(west, east), builder.rng.uniform(south, north)
        if builder.rng.random() < 0.7:
            builder.tree(x, y, builder.rng.uniform(0.8, 1.5))
        else:
            builder.bush(x, y)


def _fill_lot(builder: Builder, sides: tuple[float, ...]) -> list[tuple[float, float, float]]:
    """A parking lot: its places (x, y, heading) in rows on both sides of aisles, with lamps and trees between them."""
    rng, (west, south, east, north) = builder.rng, sides
    wide, places, forwards = rng.uniform(2.5, 3.0), [], rng.random()
    for number, y in enumerate(np.arange(south + 5.0, north - 4.0, LOT_ROW_M)):
        for x in np.arange(west + 3.0, east - 2.0, wide):
            if rng.random() < 0.04:
                (builder.tree if rng.random() < 0.6 else builder.bush)(x, y)
            elif rng.random() < 0.02:
                builder.pole(x, y, 0.0)
            else:
                backwards = rng.random() > forwards
                places.append((x, y, (np.pi / 2 if number % 2 else -np.pi / 2) + np.pi * backwards))
    return places


def _fill_block(builder: Builder, garden: Patch, locality: Locality) -> list[tuple[float, float, float]]:
    """Houses about a yard, a park or wilderness; trees, poles, fences along the kerbs. Returns parking places before
    houses."""
    rng, sides = builder.rng, (garden.west, garden.south, garden.east, garden.north)
    west, south, east, north = sides
    centre, half = ((west + east) / 2, (south + north) / 2), ((east - west) / 2, (north - south) / 2)
    storeys, park, trees = (rng.choice(locality.storeys_m, p=locality.storey_shares), rng.random() < locality.parks,
                            rng.random())
    wild = bool(locality.wild) and rng.random() < locality.wild
    drives: list[tuple[float, float, float]] = []
    if park:
        _plant(builder, sides, 0.012 * locality.green)
    places = [Side(centre, half[side % 2], half[1 - side % 2], side * np.pi / 2) for side in range(4)]
    for place in places:  # east, north, west, south
        if not park and not wild:
            drives += _add_houses(builder, place, storeys, locality, garden.run_m if garden.bank_m else 0.0)
        if not locality.fine:
            _add_boundary(builder, place, park)
        _add_furniture(builder, place, trees, locality)
    if locality.fine:
        parked, kerb = np.array(drives).reshape(-1, 3)[:, :2], SIDEWALK_M + locality.verge_m
        for place in places:
            add_fences(builder, place, park or wild, parked, locality)
            add_rails(builder, place, kerb, place.along_m, locality.rails)
            add_undergrowth(builder, place, kerb, parked, locality)
            if wild:
                add_wilderness(builder, place, locality)
            elif not park:
                add_party_lines(builder, place, parked, locality)
        if not wild:
            fill_yard(builder, sides, parked, locality)
    return drives


def _add_houses(builder: Builder, side: Side, storeys_m: float, locality: Locality, bank_m: float
                ) -> list[tuple[float, float, float]]:
    """A row of houses and trees along a side, behind `bank_m` of a bank. Returns places (x, y, heading) before them
    that cars may park on."""
    drives: list[tuple[float, float, float]] = []
    rng, along = builder.rng, -side.along_m + builder.rng.uniform(0, 5)
    setback = rng.uniform(*locality.setbacks_m)
    if locality.fine:
        drives_share = rng.uniform(0.0, 0.8) * (setback > DRIVE_M) * (not bank_m)
        setback = max(min(setback, max(0.5, side.out_m - 10)), bank_m)
        _plant(builder, side.strip(setback), 0.01 * locality.green)
    while along < side.along_m - 8:
        width = min(rng.uniform(*locality.widths_m), side.along_m - along)
        depth = min(rng.uniform(*locality.depths_m), 0.8 * side.out_m)
        if rng.random() < locality.built:
            back = setback + depth / 2 + rng.uniform(0, 2.0)
            builder.house(*side.at(along + width / 2, -back), depth, width - 0.5, storeys_m * rng.uniform(0.7, 1.3),
                          side.yaw)
        elif rng.random() < 0.5:
            builder.tree(*side.at(along + width / 2, -setback - 3), rng.uniform(0.9, 1.6))
        if locality.fine and setback > DRIVE_M and rng.random() < drives_share:
            out = side.yaw + np.pi * int(rng.integers(2))
            drives.append((*side.at(along + rng.uniform(2, width - 2), -DRIVE_M / 2 - 0.2), out))
        along += width + rng.choice([0.0, 1.5, 4.0, 9.0])
    return drives


def _add_boundary(builder: Builder, side: Side, park: bool) -> None:
    """Fences, walls or hedges along the sidewalk, with gaps."""
    rng, along = builder.rng, -side.along_m + 1
    if rng.random() < (0.3 if park else 0.5):
        return
    category, thick, top = (("static.manmade", 0.12, rng.uniform(0.9, 1.6)), ("static.manmade", 0.3, 1.0),
                            ("static.vegetation", 0.8, rng.uniform(0.8, 1.8)))[rng.integers(3)]
    stand = builder.hedge if category == "static.vegetation" else builder.fence
    while along < side.along_m - 4:
        length = min(rng.uniform(4, 14), side.along_m - 1 - along)
        if rng.random() < 0.7:
            stand(*side.at(along + length / 2, -0.6), thick, length, top, side.yaw)
        along += length + rng.uniform(1.0, 4.0)


def _add_furniture(builder: Builder, side: Side, trees: float, locality: Locality) -> None:
    rng, kerb = builder.rng, SIDEWALK_M + locality.verge_m
    reach = side.along_m + kerb - CORNER_M - 1
    for along in np.arange(-reach, reach, rng.uniform(7, 15) / locality.clutter):
        along += rng.uniform(-1, 1)
        if abs(along) < FREE_CROSSING_M or along < -reach:
            continue
        x, y = side.at(along, kerb - FURNITURE_M)
        if rng.random() < 0.7 * trees * locality.green:
            builder.tree(x, y)
        elif rng.random() < 0.5:
            builder.pole(x, y, side.yaw + np.pi)
