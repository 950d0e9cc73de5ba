"""The static world: a grid of streets with kerbs, sidewalks, gardens, buildings, trees and poles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occflow.simulation.boxes import Boxes, BoxList

LANE_M = 3.5  # two lanes a direction
LANE_OFFSETS_M = (0.5 * LANE_M, 1.5 * LANE_M)  # to the right of the street's centre line
PARKING_OFFSET_M = 2 * LANE_M + 1.1
ROAD_HALF_M = 2 * LANE_M + 2.2  # lanes and a parking strip
SIDEWALK_M = 3.0
KERB_M = 0.15
TOWN_BLOCKS = 2  # blocks built in each direction from the centre


@dataclass(frozen=True)
class Town:
    """Streets along x and y every `spacing_m`; intersection (i, j) lies at (i, j) * spacing_m."""

    spacing_m: float
    boxes: Boxes


def build_town(rng: np.random.Generator) -> Town:
    """A town of its own for every generator state."""
    spacing, items = float(rng.uniform(72, 96)), BoxList()
    extent = (2 * TOWN_BLOCKS + 2) * spacing
    items.add("flat.driveable_surface", 0, 0, extent, extent, -0.5, 0.0)
    half = spacing / 2 - ROAD_HALF_M
    for i in range(-TOWN_BLOCKS, TOWN_BLOCKS):
        for j in range(-TOWN_BLOCKS, TOWN_BLOCKS):
            _add_block(items, (i + 0.5) * spacing, (j + 0.5) * spacing, half, rng)
    return Town(spacing, items.boxes())


def _add_block(items: BoxList, x: float, y: float, half: float, rng: np.random.Generator) -> None:
    inner = half - SIDEWALK_M
    items.add("flat.sidewalk", x, y, 2 * half, 2 * half, -0.5, KERB_M)
    ground = "flat.terrain" if rng.random() < 0.7 else "flat.other"
    items.add(ground, x, y, 2 * inner, 2 * inner, -0.5, KERB_M + 0.03)
    for side in range(4):
        yaw = side * np.pi / 2
        _add_houses(items, x, y, inner, yaw, rng)
        _add_street_furniture(items, x, y, half, yaw, rng)


def _at(x: float, y: float, along: float, out: float, yaw: float) -> tuple[float, float]:
    """A place on one side of a block: `along` it and `out` from the block's centre."""
    return x + np.cos(yaw) * out - np.sin(yaw) * along, y + np.sin(yaw) * out + np.cos(yaw) * along


def _add_houses(items: BoxList, x: float, y: float, inner: float, yaw: float, rng: np.random.Generator) -> None:
    along = -inner + rng.uniform(0, 4)
    setback = rng.uniform(0.5, 5.0)
    while along < inner - 10:
        width, depth = rng.uniform(8, 20), rng.uniform(8, 12)
        width = min(width, inner - along)
        if rng.random() < 0.85:
            out = inner - setback - depth / 2 - rng.uniform(0, 1.5)
            place = _at(x, y, along + width / 2, out, yaw)
            items.add("static.manmade", *place, depth, width - 0.5, 0.0, rng.uniform(3.5, 14), yaw)
        elif rng.random() < 0.6:
            place = _at(x, y, along + width / 2, inner - 1.0, yaw)
            items.add("static.vegetation", *place, 1.2, width - 2, 0.0, rng.uniform(0.8, 1.8), yaw)
        along += width + rng.choice([0.0, 2.0, 6.0])


def _add_street_furniture(items: BoxList, x: float, y: float, half: float, yaw: float,
                          rng: np.random.Generator) -> None:
    spacing, trees = rng.uniform(8, 16), rng.random() < 0.75
    for along in np.arange(-half + 5, half - 4, spacing):
        place = _at(x, y, along + rng.uniform(-1, 1), half - 0.8, yaw)
        if trees and rng.random() < 0.8:
            crown, trunk = rng.uniform(1.8, 3.2), rng.uniform(1.8, 2.6)
            items.add("static.vegetation", *place, 0.35, 0.35, 0.0, trunk + 0.2, yaw)
            items.add("static.vegetation", *place, crown, crown, trunk, trunk + crown, rng.uniform(0, np.pi))
        elif rng.random() < 0.4:
            items.add("static.manmade", *place, 0.25, 0.25, 0.0, 6.0, yaw)
