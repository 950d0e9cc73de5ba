"""The static world: streets, blocks with kerbs and sidewalks, houses, fences, hedges, trees, poles, parks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occflow.simulation.boxes import Boxes, BoxList
from occflow.simulation.ground import Ground, Patch, random_relief
from occflow.simulation.streets import CORNER_M, LINES, Streets, random_streets

SIDEWALK_M = 4.0
KERB_M, GARDEN_M = 0.15, 0.18  # above the road
FOUNDATION_M = 0.8  # what stands on a slope goes this far into it
FURNITURE_M = 0.6  # from the kerb to trees and poles
FREE_CROSSING_M = 2.0  # about the middle of a street nothing stands in the way of people who cross


@dataclass(frozen=True)
class Town:
    """Where one can drive, what lies on the ground, and what stands on it."""

    streets: Streets
    ground: Ground
    boxes: Boxes

    def __deepcopy__(self, memo: dict) -> Town:
        return self  # never changes


class _Builder:
    """Places upright boxes on the ground."""

    def __init__(self, ground: Ground, rng: np.random.Generator) -> None:
        self.ground, self.rng, self.items = ground, rng, BoxList()

    def stand(self, category: str, x: float, y: float, length: float, width: float, top: float, yaw: float = 0.0,
              bottom: float = -FOUNDATION_M) -> None:
        """A box with bottom and top above the ground at its centre."""
        height = float(self.ground.height(x, y))
        self.items.add(category, x, y, length, width, height + bottom, height + top, yaw)

    def tree(self, x: float, y: float, scale: float = 1.0) -> None:
        """A trunk and a crown of three boxes."""
        rng = self.rng
        crown, trunk, thick = rng.uniform(2.0, 3.6) * scale, rng.uniform(1.9, 2.8) * scale, rng.uniform(0.25, 0.45)
        self.stand("static.vegetation", x, y, thick, thick, trunk + 0.3, rng.uniform(0, np.pi))
        for size, bottom, top in ((1.0, 0.15, 0.75), (0.75, 0.0, 1.0), (0.6, 0.6, 1.25)):
            dx, dy = rng.uniform(-0.12, 0.12, 2) * crown
            self.stand("static.vegetation", x + dx, y + dy, size * crown, size * crown * rng.uniform(0.8, 1.0),
                       trunk + top * crown, rng.uniform(0, np.pi), trunk + bottom * crown)

    def pole(self, x: float, y: float, yaw: float) -> None:
        """A lamp, a sign or a bin; `yaw` points away from the street."""
        kind, out = self.rng.random(), np.array([np.cos(yaw), np.sin(yaw)])
        if kind < 0.5:
            self.stand("static.manmade", x, y, 0.22, 0.22, 6.5)
            self.stand("static.manmade", *(np.array([x, y]) - 0.9 * out), 2.0, 0.15, 6.5, yaw, 6.3)
        elif kind < 0.8:
            self.stand("static.manmade", x, y, 0.1, 0.1, 2.8)
            self.stand("static.manmade", x, y, 0.06, 0.7, 2.8, yaw + self.rng.uniform(0, np.pi), 2.1)
        else:
            self.stand("static.other", x, y, 0.5, 0.5, 1.1, yaw)

    def house(self, x: float, y: float, depth: float, width: float, height: float, yaw: float) -> None:
        """A body, maybe an upper floor set back, maybe a wing."""
        rng = self.rng
        self.stand("static.manmade", x, y, depth, width, height, yaw)
        if rng.random() < 0.5:
            self.stand("static.manmade", x, y, rng.uniform(0.4, 0.8) * depth, rng.uniform(0.5, 0.95) * width,
                       height + rng.uniform(1.5, 3.5), yaw, height - 0.1)
        if rng.random() < 0.35:
            back, side = 0.5 * depth + 1.5, rng.uniform(-0.25, 0.25) * width
            self.stand("static.manmade", x - np.cos(yaw) * back - np.sin(yaw) * side,
                       y - np.sin(yaw) * back + np.cos(yaw) * side, 5.0, 0.45 * width, 0.6 * height, yaw)


def build_town(rng: np.random.Generator) -> Town:
    """A town of its own for every generator state."""
    streets = random_streets(rng)
    patches, gardens = [Patch(0.0, 0.0, *streets.extent_m, "flat.driveable_surface", 0.0)], []
    spans = [[_span(streets, axis, k) for k in range(-1, LINES)] for axis in (0, 1)]
    for west, east in spans[0]:
        for south, north in spans[1]:
            patches += _sidewalks(west, south, east, north)
            inner = (west + SIDEWALK_M, south + SIDEWALK_M, east - SIDEWALK_M, north - SIDEWALK_M)
            category = "flat.terrain" if rng.random() < 0.75 else "flat.other"
            gardens.append(Patch(*inner, category, GARDEN_M))
    patches += gardens
    parks = _closed_streets(streets, spans)
    for patch in parks:
        patches += [Patch(*patch, "flat.sidewalk", KERB_M), Patch(*_shrunk(patch), "flat.terrain", GARDEN_M)]
    builder = _Builder(Ground(random_relief(rng), patches), rng)
    for garden in gardens:
        _fill_block(builder, (garden.west, garden.south, garden.east, garden.north))
    for patch in parks:
        _plant(builder, _shrunk(patch), 0.02)
    return Town(streets, builder.ground, builder.items.boxes())


def _span(streets: Streets, axis: int, k: int) -> tuple[float, float]:
    """From the kerb of line k to the kerb of the next; the land's edge where there is none."""
    lines = streets.lines[axis]
    return (lines[k].at_m + lines[k].half_m if k >= 0 else 0.0,
            lines[k + 1].at_m - lines[k + 1].half_m if k + 1 < LINES else streets.extent_m[axis])


def _sidewalks(west: float, south: float, east: float, north: float) -> list[Patch]:
    """A block with its four corners cut, so that vehicles can turn."""
    cut = CORNER_M
    return [Patch(*sides, "flat.sidewalk", KERB_M) for sides in
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


def _shrunk(sides: tuple[float, ...]) -> tuple[float, ...]:
    west, south, east, north = sides
    return west + SIDEWALK_M, south + SIDEWALK_M, east - SIDEWALK_M, north - SIDEWALK_M


def _plant(builder: _Builder, sides: tuple[float, ...], trees_a_square_metre: float) -> None:
    """Trees and bushes at random."""
    west, south, east, north = sides
    if east - west < 2 or north - south < 2:
        return
    for _ in range(builder.rng.poisson(trees_a_square_metre * (east - west) * (north - south))):
        x, y = builder.rng.uniform(west, east), builder.rng.uniform(south, north)
        if builder.rng.random() < 0.7:
            builder.tree(x, y, builder.rng.uniform(0.8, 1.5))
        else:
            builder.stand("static.vegetation", x, y, *builder.rng.uniform(0.8, 2.2, 2),
                          builder.rng.uniform(0.5, 1.6), builder.rng.uniform(0, np.pi))


def _fill_block(builder: _Builder, sides: tuple[float, ...]) -> None:
    """Houses about a yard, or a park; trees and poles along the kerbs."""
    rng, (west, south, east, north) = builder.rng, sides
    centre, half = ((west + east) / 2, (south + north) / 2), ((east - west) / 2, (north - south) / 2)
    storeys, park, trees = rng.choice([4.0, 7.0, 13.0], p=(0.45, 0.35, 0.2)), rng.random() < 0.12, rng.random()
    if park:
        _plant(builder, sides, 0.012)
    for side in range(4):  # east, north, west, south
        yaw, out, along = side * np.pi / 2, half[side % 2], half[1 - side % 2]
        place = _Side(centre, out, along, yaw)
        if not park:
            _add_houses(builder, place, storeys)
        _add_boundary(builder, place, park)
        _add_furniture(builder, place, trees)


@dataclass(frozen=True)
class _Side:
    """One side of a block: `out_m` from its centre, half as long as `along_m`; `yaw` points to the street."""

    centre: tuple[float, float]
    out_m: float
    along_m: float
    yaw: float

    def at(self, along: float, out: float) -> tuple[float, float]:
        """A place `along` the side and `out` metres beyond it."""
        cos, sin, out = np.cos(self.yaw), np.sin(self.yaw), self.out_m + out
        return self.centre[0] + cos * out - sin * along, self.centre[1] + sin * out + cos * along


def _add_houses(builder: _Builder, side: _Side, storeys_m: float) -> None:
    rng, along, setback = builder.rng, -side.along_m + builder.rng.uniform(0, 5), builder.rng.uniform(0.5, 7.0)
    while along < side.along_m - 8:
        width, depth = min(rng.uniform(7, 22), side.along_m - along), min(rng.uniform(7, 13), 0.8 * side.out_m)
        if rng.random() < 0.8:
            back = setback + depth / 2 + rng.uniform(0, 2.0)
            builder.house(*side.at(along + width / 2, -back), depth, width - 0.5, storeys_m * rng.uniform(0.7, 1.3),
                          side.yaw)
        elif rng.random() < 0.5:
            builder.tree(*side.at(along + width / 2, -setback - 3), rng.uniform(0.9, 1.6))
        along += width + rng.choice([0.0, 1.5, 4.0, 9.0])


def _add_boundary(builder: _Builder, side: _Side, park: bool) -> None:
    """Fences, walls or hedges along the sidewalk, with gaps."""
    rng, along = builder.rng, -side.along_m + 1
    if rng.random() < (0.3 if park else 0.5):
        return
    category, thick, top = (("static.manmade", 0.12, rng.uniform(0.9, 1.6)), ("static.manmade", 0.3, 1.0),
                            ("static.vegetation", 0.8, rng.uniform(0.8, 1.8)))[rng.integers(3)]
    while along < side.along_m - 4:
        length = min(rng.uniform(4, 14), side.along_m - 1 - along)
        if rng.random() < 0.7:
            builder.stand(category, *side.at(along + length / 2, -0.6), thick, length, top, side.yaw)
        along += length + rng.uniform(1.0, 4.0)


def _add_furniture(builder: _Builder, side: _Side, trees: float) -> None:
    rng, reach = builder.rng, side.along_m + SIDEWALK_M - CORNER_M - 1
    for along in np.arange(-reach, reach, rng.uniform(7, 15)):
        along += rng.uniform(-1, 1)
        if abs(along) < FREE_CROSSING_M or along < -reach:
            continue
        x, y = side.at(along, SIDEWALK_M - FURNITURE_M)
        if rng.random() < 0.7 * trees:
            builder.tree(x, y)
        elif rng.random() < 0.5:
            builder.pole(x, y, side.yaw + np.pi)
