"""What lines real streets: guard rails, fences, hedges, undergrowth, woods, banks, and what stands in yards."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from occflow.simulation.draws import log_uniform
from occflow.simulation.furnishing import FENCES, RAILS, FineBuilder
from occflow.simulation.ground import Patch
from occflow.simulation.locality import Locality

RAIL_M = 0.35  # from the kerb to a guard rail; people walk further in
RAIL_GAP_M = 3.0  # about the middle of a street, where people cross
STRETCH_M = (4.0, 14.0)  # of a fence
RAIL_STRETCH_M = 12.0
CLEAR_M = 4.0  # about the middle of a parked vehicle nothing grows
ASIDE_M = 1.3  # from the middle of a vehicle before a house, to its sides
WOODS_M = (4.0, 14.0)  # how deep woods are made: beams go no further
WOODS_STRETCH_M = 8.0
STUFF_M = 3.5  # half the length of what stands in yards
TREES = (0.01, 0.08)  # of woods, a square metre
LOW_M = (0.2, 1.1)  # plants on verges


@dataclass(frozen=True)
class Side:
    """One side of a block: `out_m` from its centre, half as long as `along_m`; `yaw` points to the street."""

    centre: tuple[float, float]
    out_m: float
    along_m: float
    yaw: float

    def at(self, along: float, out: float) -> tuple[float, float]:
        """A place `along` the side and `out` metres beyond it."""
        cos, sin, out = np.cos(self.yaw), np.sin(self.yaw), self.out_m + out
        return self.centre[0] + cos * out - sin * along, self.centre[1] + sin * out + cos * along

    def strip(self, deep_m: float) -> tuple[float, ...]:
        """West, south, east, north of the side's outermost metres."""
        corners = np.array([self.at(-self.along_m, -0.5), self.at(self.along_m, -deep_m)])
        return (*corners.min(axis=0), *corners.max(axis=0))

    def free(self, drives: np.ndarray, along: float, length: float) -> bool:
        """Whether no vehicle is parked, at places [P, 2], where a stretch of the side is to be lined."""
        offset = drives - self.at(along + length / 2, -CLEAR_M)
        aside = np.abs(offset @ (-np.sin(self.yaw), np.cos(self.yaw)))
        out = np.abs(offset @ (np.cos(self.yaw), np.sin(self.yaw)))
        return not ((aside < length / 2 + ASIDE_M) & (out < 2 * CLEAR_M)).any()


def banked(patch: Patch, locality: Locality, rng: np.random.Generator) -> Patch:
    """A block that maybe lies higher than its streets; no bank takes more than a third of it."""
    if rng.random() >= locality.banks:
        return patch
    room = min(patch.east - patch.west, patch.north - patch.south) / 3
    slope, foot = rng.uniform(*locality.slopes), min(rng.uniform(0.5, 12.0), room / 2)
    high = min(locality.bank_m * rng.uniform(0.3, 1.0), (room - foot) * slope)
    return replace(patch, bank_m=high, slope=slope, foot_m=foot)


def add_fences(builder: FineBuilder, side: Side, park: bool, drives: np.ndarray, locality: Locality) -> None:
    """Fences and walls of one kind, noise barriers or hedges along the sidewalk, with gaps."""
    rng, along = builder.rng, -side.along_m + 1
    if rng.random() < (0.5 if park else 0.35):
        return
    draw, kind, out = rng.random(), str(rng.choice(FENCES)), -rng.uniform(0.3, 2.0)
    thick, top, gaps = rng.uniform(0.1, 0.45), rng.uniform(0.5, 2.2), rng.uniform(0.0, 0.4)
    if draw < locality.screens:
        kind, thick, top, gaps = "wall", rng.uniform(0.12, 0.3), rng.uniform(2.0, 4.5), 0.05
    hedge = draw > 0.7
    while along < side.along_m - 4:
        length = min(rng.uniform(*STRETCH_M), side.along_m - 1 - along)
        if rng.random() > gaps and side.free(drives, along, length):
            x, y = side.at(along + length / 2, out)
            if hedge:
                builder.hedge(x, y, 0.4 + 2 * thick, length, 0.8 * top, side.yaw)
            else:
                builder.fence(x, y, thick, length, top, side.yaw, kind)
        along += length + (rng.uniform(1.0, 4.0) if rng.random() < 2 * gaps else 0.0)


def add_rails(builder: FineBuilder, side: Side, kerb_m: float, reach_m: float, share: float) -> None:
    """Maybe guard rails or parapets at the kerb of a street, but for where people cross."""
    if builder.rng.random() < share:
        kind = str(builder.rng.choice(RAILS, p=(0.7, 0.15, 0.15)))
        for low, high in ((-reach_m, -RAIL_GAP_M), (RAIL_GAP_M, reach_m)):
            for start in np.arange(low, high - 1, RAIL_STRETCH_M):
                length = min(RAIL_STRETCH_M, high - start)
                builder.rail(*side.at(start + length / 2, kerb_m - RAIL_M), length, side.yaw, kind)


def add_undergrowth(builder: FineBuilder, side: Side, kerb_m: float, drives: np.ndarray, locality: Locality) -> None:
    """Maybe bushes and undergrowth in a strip behind the sidewalk, with gaps, and low plants on the verge."""
    rng = builder.rng
    if rng.random() < locality.lined:
        along, wide, gap = -side.along_m + 1, log_uniform(rng, 0.6, 5.0), rng.uniform(0.0, 8.0)
        wide = min(wide, 0.6 * side.out_m)
        while along < side.along_m - 2:
            length = min(rng.uniform(2.0, 20.0), side.along_m - along)
            if side.free(drives, along, length):
                builder.thicket(*side.at(along + length / 2, -0.3 - wide / 2), wide, length, side.yaw,
                                locality.undergrowth_m, rng.uniform(0.5, 1.2))
            along += length + rng.uniform(0, 1) * gap
    if locality.verge_m >= 1.5 and rng.random() < locality.lined:
        for along in np.arange(-side.along_m, side.along_m - 4, rng.uniform(5.0, 15.0)):
            if abs(along + 1.5) > RAIL_GAP_M + 1.5:
                builder.thicket(*side.at(along + 1.5, kerb_m - locality.verge_m / 2), locality.verge_m - 1.0, 3.0,
                                side.yaw, LOW_M, 1.2)


def add_party_lines(builder: FineBuilder, side: Side, drives: np.ndarray, locality: Locality) -> None:
    """Maybe hedges, fences and undergrowth between neighbours, from the sidewalk inwards."""
    rng = builder.rng
    along, longest = -side.along_m + 1 + rng.uniform(0, 15), min(16.0, 0.8 * side.out_m)
    while along < side.along_m - 1:
        kind, long = rng.random(), rng.uniform(0.3, 1.0) * longest
        out, top = rng.uniform(0.5, 4.0), rng.uniform(0.7, 2.0)
        if rng.random() < locality.lined and side.free(drives, along - 0.4, 0.8):
            place, yaw = side.at(along, -out - long / 2), side.yaw + np.pi / 2
            if kind < 0.4:
                builder.thicket(*place, long, rng.uniform(0.5, 2.0), side.yaw, locality.undergrowth_m, 1.2)
            elif kind < 0.6:
                builder.hedge(*place, rng.uniform(0.5, 1.2), long, 0.8 * top, yaw)
            else:
                builder.fence(*place, rng.uniform(0.08, 0.35), long, top, yaw, str(rng.choice(FENCES)))
        along += rng.uniform(6.0, 25.0)


def add_wilderness(builder: FineBuilder, side: Side, locality: Locality) -> None:
    """A meadow with bushes, and behind it undergrowth and the edge of woods."""
    rng = builder.rng
    meadow = rng.uniform(0.3, min(20.0, 0.4 * side.out_m))
    deep = min(rng.uniform(*WOODS_M), 0.9 * side.out_m - meadow)
    low, high = locality.undergrowth_m
    for along in np.arange(-side.along_m, side.along_m, WOODS_STRETCH_M):
        length = min(WOODS_STRETCH_M, side.along_m - along)
        if rng.random() < 0.85:
            builder.thicket(*side.at(along + length / 2, -meadow - deep / 2), deep, length, side.yaw, (low, high),
                            rng.uniform(0.15, 0.6))
        if meadow > 3 and length > 4 and rng.random() < 0.25:
            builder.thicket(*side.at(along + length / 2, -rng.uniform(2.0, meadow)), *rng.uniform(1.0, 4.0, 2),
                            side.yaw, (low, 0.7 * high), 0.8)
    if rng.random() < 0.75:
        for _ in range(rng.poisson(rng.uniform(*TREES) * 2 * side.along_m * deep)):
            builder.tree(*side.at(rng.uniform(-1, 1) * side.along_m, -meadow - rng.uniform(0, 1) * deep),
                         rng.uniform(0.7, 1.8))


def fill_yard(builder: FineBuilder, sides: tuple[float, ...], drives: np.ndarray, locality: Locality) -> None:
    """Thickets, and sheds, goods, bins and walls anywhere in a block, but for where vehicles are parked."""
    rng, (west, south, east, north) = builder.rng, sides
    area = (east - west) * (north - south) / 100
    for per_area, grows in ((locality.overgrown, True), (locality.stuff, False)):
        for _ in range(rng.poisson(per_area * min(area, 60.0))):
            place, yaw = np.array([rng.uniform(west, east), rng.uniform(south, north)]), rng.uniform(0, np.pi)
            length, width = log_uniform(rng, 0.8, 9.0), log_uniform(rng, 0.8, 3.5)
            half = np.hypot(length, width) / 2 if grows else STUFF_M
            inner = np.minimum(place - (west, south), (east, north) - place).min() > half
            if not inner or (np.linalg.norm(drives - place, axis=1) < CLEAR_M + half).any():
                continue
            if grows:
                builder.thicket(*place, length, width, yaw, locality.undergrowth_m, rng.uniform(0.5, 1.5))
            else:
                builder.thing(*place, float(rng.choice((0.0, np.pi / 2))) + rng.normal(0, 0.05))
