"""The ground: a smooth relief that carries roads, sidewalks and gardens, each at its own height above it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occflow.simulation.boxes import CATEGORIES, Triangles

CELL_M = 0.5  # of the raster; every edge of a patch lies on it
TILE_M = 6.0  # longest edge of a triangle's legs: within 1 cm of the relief
SLOPE_TILE_M = 1.5  # the same on banks, whose corners are rounded by it
SKIRT_M = 0.6  # kerbs reach this far down
ROAD = CATEGORIES.index("flat.driveable_surface")
MAX_SLOPE = 0.04  # of the relief


@dataclass(frozen=True)
class Patch:
    """A rectangle of one surface, x and y from and to, metres, `rise_m` above the relief; with a bank it goes up by
    `slope` (a share) from `foot_m` within its edges on, until it is `bank_m` higher."""

    west: float
    south: float
    east: float
    north: float
    category: str
    rise_m: float
    bank_m: float = 0.0
    slope: float = 1.0
    foot_m: float = 0.0

    @property
    def run_m(self) -> float:
        """From the edges to where a bank ends."""
        return self.foot_m + self.bank_m / self.slope

    def rises_m(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Heights above the relief at places in the patch."""
        inside = np.minimum(np.minimum(x - self.west, self.east - x), np.minimum(y - self.south, self.north - y))
        return self.rise_m + np.clip((inside - self.foot_m) * self.slope, 0.0, self.bank_m)

    def lines(self, low: float, high: float) -> np.ndarray:
        """Where the surface from `low` to `high` is cut into triangles: TILE_M apart at most, SLOPE_TILE_M on banks."""
        if not self.bank_m:
            return np.linspace(low, high, 1 + int(np.ceil((high - low) / TILE_M)))
        ends = (low, low + self.foot_m, low + self.run_m, high - self.run_m, high - self.foot_m, high)
        cuts = [np.linspace(a, b, 1 + max(1, int(np.ceil((b - a) / tile)))) for a, b, tile in zip(
            ends, ends[1:], (TILE_M, SLOPE_TILE_M, TILE_M, SLOPE_TILE_M, TILE_M)) if b > a]
        return np.unique(np.concatenate(cuts))


def random_relief(rng: np.random.Generator) -> np.ndarray:
    """Waves [K, 4]: wave vector (radians a metre), phase, amplitude (metres); together no steeper than MAX_SLOPE."""
    lengths, headings = rng.uniform(140, 320, 3), rng.uniform(0, 2 * np.pi, 3)
    numbers, slopes = 2 * np.pi / lengths, rng.dirichlet(np.ones(3)) * MAX_SLOPE * rng.uniform(0.1, 1.0)
    return np.stack([numbers * np.cos(headings), numbers * np.sin(headings), rng.uniform(0, 2 * np.pi, 3),
                     slopes / numbers], axis=1)


class Ground:
    """Relief and patches; a later patch lies over an earlier one.

    Args:
        waves: [K, 4] of `random_relief`.
        patches: the first one covers the whole town and begins at (0, 0).
    """

    def __init__(self, waves: np.ndarray, patches: list[Patch]) -> None:
        self.waves, self.patches = waves, patches
        shape = (round(patches[0].east / CELL_M), round(patches[0].north / CELL_M))
        self.categories, self.rises_m = np.zeros(shape, dtype=np.uint8), np.zeros(shape, dtype=np.float32)
        for patch in patches:
            cells = tuple(slice(max(0, round(low / CELL_M)), round(high / CELL_M))
                          for low, high in ((patch.west, patch.east), (patch.south, patch.north)))
            self.categories[cells], self.rises_m[cells] = CATEGORIES.index(patch.category), patch.rise_m
            if patch.bank_m:
                x, y = ((np.arange(cut.start, cut.stop) + 0.5) * CELL_M for cut in cells)
                self.rises_m[cells] = patch.rises_m(*np.meshgrid(x, y, indexing="ij"))

    def __deepcopy__(self, memo: dict) -> Ground:
        return self  # never changes

    def relief(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Height of the bare relief, metres."""
        return sum(amplitude * np.sin(along * x + across * y + phase) for along, across, phase, amplitude in self.waves)

    def cells(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Raster cells of places in the world; the raster's edge goes on outside."""
        return tuple(np.clip((np.asarray(value) / CELL_M).astype(np.int64), 0, size - 1)
                     for value, size in zip((x, y), self.categories.shape))

    def height(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Height of what lies on the relief: road, sidewalk or garden, metres."""
        return self.relief(x, y) + self.rises_m[self.cells(x, y)]

    def poses(self, x: np.ndarray, y: np.ndarray, yaw: np.ndarray, upright: np.ndarray) -> np.ndarray:
        """Poses [N, 4, 4] of things that stand on the ground, tilted with it or upright [N]."""
        along, across, phase, amplitude = self.waves.T[:, :, None]
        slope = amplitude * np.cos(along * x + across * y + phase)
        normal = np.stack([-(along * slope).sum(axis=0), -(across * slope).sum(axis=0), np.ones(len(x))], axis=1)
        normal[upright, :2] = 0.0
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        a, b, c = normal.T
        cos, sin = np.cos(yaw), np.sin(yaw)
        left = np.stack([-c * sin, c * cos, a * sin - b * cos], axis=1)  # normal x ahead
        left /= np.linalg.norm(left, axis=1, keepdims=True)
        d, e, f = left.T
        poses = np.tile(np.eye(4), (len(x), 1, 1))
        poses[:, :3, 0] = np.stack([e * c - f * b, f * a - d * c, d * b - e * a], axis=1)  # left x normal
        poses[:, :3, 1], poses[:, :3, 2] = left, normal
        poses[:, :3, 3] = np.stack([x, y, self.height(x, y)], axis=1)
        return poses

    def triangles(self) -> Triangles:
        """The patches' surfaces, and the kerbs at their edges."""
        return Triangles.joined([self._patch_triangles(patch) for patch in self.patches])

    def _patch_triangles(self, patch: Patch) -> Triangles:
        x, y = np.meshgrid(patch.lines(patch.west, patch.east), patch.lines(patch.south, patch.north), indexing="ij")
        rise = patch.rises_m(x, y) if patch.bank_m else patch.rise_m
        top = np.stack([x, y, self.relief(x, y) + rise], axis=-1).reshape(-1, 3)
        index = np.arange(x.size).reshape(x.shape)
        quads = [np.stack([index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]], axis=-1).reshape(-1, 4)]
        rim = np.concatenate([index[:, 0], index[-1, 1:], index[-2::-1, -1], index[0, -2::-1]])
        below = len(top) + np.arange(len(rim))
        quads.append(np.stack([rim[:-1], below[:-1], below[1:], rim[1:]], axis=-1))
        quads = np.concatenate(quads)
        faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.uint32)
        vertices = np.concatenate([top, top[rim] - [0.0, 0.0, SKIRT_M]]).astype(np.float32)
        return Triangles(vertices, faces, np.full(len(faces), CATEGORIES.index(patch.category)),
                         np.full(len(faces), -1))
