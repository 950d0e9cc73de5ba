"""What stands on the ground: trees, bushes, hedges, poles, houses, each of a few boxes; or, finer, of many."""

from __future__ import annotations

import numpy as np

from occflow.simulation.boxes import Boxes, BoxList
from occflow.simulation.ground import Ground

FENCES = ("wall", "pickets", "rails", "wire")
RAILS = ("guard rail", "railing", "parapet")
FOUNDATION_M = 0.8  # what stands on a slope goes this far into it


class Builder:
    """Places upright boxes on the ground."""

    def __init__(self, ground: Ground, rng: np.random.Generator) -> None:
        self.ground, self.rng, self.items = ground, rng, BoxList()

    def stand(self, category: str, x: float, y: float, length: float, width: float, top: float, yaw: float = 0.0,
              bottom: float = -FOUNDATION_M) -> None:
        """A box with bottom and top above the ground at its centre."""
        height = float(self.ground.height(x, y))
        self.items.add(category, x, y, length, width, height + bottom, height + top, yaw)

    def boxes(self) -> Boxes:
        """All that was placed."""
        return self.items.boxes()

    def tree(self, x: float, y: float, scale: float = 1.0) -> None:
        """A trunk and a crown of three boxes."""
        rng = self.rng
        crown, trunk, thick = rng.uniform(2.0, 3.6) * scale, rng.uniform(1.9, 2.8) * scale, rng.uniform(0.25, 0.45)
        self.stand("static.vegetation", x, y, thick, thick, trunk + 0.3, rng.uniform(0, np.pi))
        for size, bottom, top in ((1.0, 0.15, 0.75), (0.75, 0.0, 1.0), (0.6, 0.6, 1.25)):
            dx, dy = rng.uniform(-0.12, 0.12, 2) * crown
            self.stand("static.vegetation", x + dx, y + dy, size * crown, size * crown * rng.uniform(0.8, 1.0),
                       trunk + top * crown, rng.uniform(0, np.pi), trunk + bottom * crown)

    def bush(self, x: float, y: float) -> None:
        """A bush."""
        self.stand("static.vegetation", x, y, *self.rng.uniform(0.8, 2.2, 2), self.rng.uniform(0.5, 1.6),
                   self.rng.uniform(0, np.pi))

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

    def hedge(self, x: float, y: float, thick: float, length: float, top: float, yaw: float) -> None:
        """A stretch of hedge, `length` at right angles to `yaw`."""
        self.stand("static.vegetation", x, y, thick, length, top, yaw)

    def fence(self, x: float, y: float, thick: float, length: float, top: float, yaw: float) -> None:
        """A stretch of fence or wall."""
        self.stand("static.manmade", x, y, thick, length, top, yaw)


class FineBuilder(Builder):
    """Many small parts: what beams meet is irregular, and some go through."""

    def stand(self, category: str, x: float, y: float, length: float, width: float, top: float, yaw: float = 0.0,
              bottom: float = -FOUNDATION_M) -> None:
        self.items.add(category, x, y, length, width, bottom, top, yaw)

    def boxes(self) -> Boxes:
        """All that was placed, on the ground."""
        boxes = self.items.boxes()
        boxes.centres[:, 2] += self.ground.height(*boxes.centres[:, :2].T)
        return boxes

    def blobs(self, x: float, y: float, bottom: float, top: float, radius: float, count: int) -> None:
        """Leaves: small boxes at random in an upright ellipsoid."""
        rng, high = self.rng, (top - bottom) / 2
        directions = rng.normal(size=(count, 3))
        directions *= (rng.uniform(0.3, 0.85, count) / np.linalg.norm(directions, axis=1))[:, None]
        for dx, dy, dz in directions:
            size = rng.uniform(0.35, 0.85) * radius
            tall = rng.uniform(0.3, 0.7) * high
            at = bottom + high * (1 + dz)
            self.stand("static.vegetation", x + dx * radius, y + dy * radius, size, size * rng.uniform(0.6, 1.3),
                       at + tall / 2, rng.uniform(0, np.pi), max(bottom, at - tall / 2))

    def tree(self, x: float, y: float, scale: float = 1.0) -> None:
        """A trunk below a round, a slim or a conic crown; some crowns reach nearly to the ground."""
        rng, kind = self.rng, self.rng.random()
        thick = rng.uniform(0.15, 0.5)
        if kind < 0.65:
            radius, trunk = rng.uniform(0.9, 2.8) * scale, rng.uniform(1.8, 3.6)
            top = trunk + radius * rng.uniform(1.2, 2.6)
        elif kind < 0.85:
            radius, trunk = rng.uniform(0.5, 1.0) * scale, rng.uniform(0.3, 2.0)
            top = trunk + rng.uniform(2.5, 7.0)
        else:
            radius, trunk = rng.uniform(0.9, 1.8) * scale, rng.uniform(0.2, 0.8)
            top = trunk + radius * rng.uniform(2.5, 4.0)
        self.stand("static.vegetation", x, y, thick, thick, (trunk + top) / 2, rng.uniform(0, np.pi))
        if kind < 0.85:
            self.blobs(x, y, trunk, top, radius, int(rng.integers(7, 13)))
            return
        for share in (0.0, 0.3, 0.6):
            here = radius * (1 - share) * 1.3
            self.stand("static.vegetation", x, y, here, here, trunk + (share + 0.4) * (top - trunk),
                       rng.uniform(0, np.pi), trunk + share * (top - trunk))

    def bush(self, x: float, y: float) -> None:
        radius = self.rng.uniform(0.3, 1.3)
        self.blobs(x, y, -0.1, radius * self.rng.uniform(0.8, 2.0), radius, int(self.rng.integers(3, 6)))

    def hedge(self, x: float, y: float, thick: float, length: float, top: float, yaw: float) -> None:
        """As the plain one, uneven in height and width from metre to metre."""
        rng, aside = self.rng, np.array([-np.sin(yaw), np.cos(yaw)])
        pieces = max(1, round(length / rng.uniform(1.0, 2.5)))
        top = top * rng.uniform(0.8, 2.0)
        for share in (np.arange(pieces) + 0.5) / pieces - 0.5:
            px, py = np.array([x, y]) + aside * share * length
            self.stand("static.vegetation", px, py, thick * rng.uniform(0.7, 1.3), length / pieces * 1.05,
                       top * rng.uniform(0.75, 1.15), yaw + rng.uniform(-0.1, 0.1))

    def fence(self, x: float, y: float, thick: float, length: float, top: float, yaw: float, kind: str = "wall"
              ) -> None:
        """One of FENCES; beams go through all but walls."""
        rng, aside = self.rng, np.array([-np.sin(yaw), np.cos(yaw)])
        if kind == "wall":
            self.stand("static.manmade", x, y, thick, length, top, yaw)
        elif kind == "pickets":
            self._row("static.manmade", (x, y), yaw, np.arange(-length / 2, length / 2, rng.uniform(0.15, 0.5)),
                      (0.03, rng.uniform(0.05, 0.12)), 0.0, top)
            for height in (0.2 * top, 0.8 * top):
                self.stand("static.manmade", x, y, 0.05, length, height + 0.06, yaw, height)
        else:  # rails, few and broad, or wire, in many thin lines
            lines = 2 if kind == "rails" else int(rng.integers(5, 10))
            broad = rng.uniform(0.06, 0.16) if kind == "rails" else rng.uniform(0.02, 0.06)
            for height in np.linspace(0.1, 0.9, lines + 1)[1:] * top:
                self.stand("static.manmade", x, y, 0.05, length, height + broad, yaw, height)
            for share in np.linspace(-0.5, 0.5, max(2, round(length / 2.5))):
                self.stand("static.manmade", *(np.array([x, y]) + aside * share * length), 0.09, 0.09, top, yaw)

    def rail(self, x: float, y: float, length: float, yaw: float, kind: str) -> None:
        """A stretch of guard rail, railing or concrete parapet at a road, `length` at right angles to `yaw`."""
        rng = self.rng
        if kind == "parapet":
            self.stand("static.manmade", x, y, 0.55, length, 0.35, yaw)
            self.stand("static.manmade", x, y, 0.25, length, rng.uniform(0.8, 1.1), yaw)
            return
        for bottom, top in ((0.45, 0.77),) if kind == "guard rail" else ((0.4, 0.46), (0.7, 0.76), (1.0, 1.08)):
            self.stand("static.manmade", x, y, 0.1, length, top, yaw, bottom)
        self._row("static.manmade", (x, y), yaw, np.arange(-length / 2, length / 2, 2.0), (0.12, 0.1), 0.0,
                  0.75 if kind == "guard rail" else 1.05)

    def thicket(self, x: float, y: float, length: float, width: float, yaw: float, heights_m: tuple[float, float],
                dense: float = 0.6) -> None:
        """Undergrowth on a rectangle: `dense` clumps of leaves on a square metre, of the heights of the place, in waves
        of some metres, some of them overhanging."""
        rng, count = self.rng, int(self.rng.poisson(dense * length * width))
        along, across = (rng.uniform(-0.5, 0.5, (count, 2)) * (length, width)).T
        low, high = np.log(heights_m)
        wave = np.sin(along * rng.uniform(0.3, 1.5) + across * rng.uniform(0.3, 1.5) + rng.uniform(0, 2 * np.pi))
        share = np.clip(rng.uniform(0.1, 0.6) + 0.3 * wave + rng.normal(0, 0.15, count), 0, 1)
        top = np.exp(low + (high - low) * share)
        bottom = np.where(rng.random(count) < 0.35, rng.uniform(0.2, 0.7, count) * top, -0.3)
        size = np.minimum(rng.uniform(0.3, 1.3, (2, count)), 0.3 + top)
        cos, sin = np.cos(yaw), np.sin(yaw)
        self.items.extend("static.vegetation", np.column_stack([
            x + cos * along - sin * across, y + sin * along + cos * across, *size, bottom, top,
            rng.uniform(0, np.pi, count)]))

    def _row(self, category: str, middle: tuple[float, float], yaw: float, along: np.ndarray,
             sizes: tuple[float, float], bottom: float, top: float) -> None:
        """Upright pieces at places `along` a line at right angles to `yaw`."""
        count = np.ones(len(along))
        self.items.extend(category, np.column_stack([
            middle[0] - np.sin(yaw) * along, middle[1] + np.cos(yaw) * along, sizes[0] * count, sizes[1] * count,
            bottom * count, top * count, yaw * count]))

    def thing(self, x: float, y: float, yaw: float) -> None:
        """What stands in yards: a shed, stacked goods, bins, a low wall or bed, stairs, a container, a trellis."""
        rng, kind = self.rng, self.rng.random()
        if kind < 0.2:
            long, wide, high = rng.uniform(1.5, 4.5), rng.uniform(1.5, 3.5), rng.uniform(1.8, 2.8)
            self.stand("static.manmade", x, y, long, wide, high, yaw)
            self.stand("static.manmade", x, y, long + 0.4, 0.6 * wide, high + rng.uniform(0.2, 0.8), yaw, high - 0.1)
        elif kind < 0.5:
            for _ in range(int(rng.integers(2, 6))):
                dx, dy = rng.uniform(-1.2, 1.2, 2)
                self.stand("static.manmade", x + dx, y + dy, *rng.uniform(0.4, 1.6, 2), rng.uniform(0.4, 2.0), yaw)
        elif kind < 0.65:
            self._row("static.other", (x, y), yaw, 0.8 * np.arange(int(rng.integers(1, 5))), (0.7, 0.6), -0.3,
                      rng.uniform(0.9, 1.3))
        elif kind < 0.8:
            self.stand("static.manmade", x, y, rng.uniform(0.2, 1.5), rng.uniform(2.0, 8.0), rng.uniform(0.3, 1.0), yaw)
        elif kind < 0.88:
            for step in range(4):
                self.stand("static.manmade", x + 0.3 * step * np.cos(yaw), y + 0.3 * step * np.sin(yaw), 0.32, 1.4,
                           0.18 * (step + 1), yaw)
        elif kind < 0.92:
            self.stand("static.manmade", x, y, 6.0, 2.4, 2.6, yaw)
        else:
            self.fence(x, y, 0.1, rng.uniform(1.5, 4.0), rng.uniform(1.5, 2.2), yaw, "wire")
            self.thicket(x, y, 0.6, rng.uniform(1.5, 4.0), yaw, (0.5, 2.0), 2.0)

    def pole(self, x: float, y: float, yaw: float) -> None:
        """A lamp, a traffic light, a sign, a bin, a cabinet, a bench, bollards, a hydrant or a shelter."""
        rng, out, kind = self.rng, np.array([np.cos(yaw), np.sin(yaw)]), self.rng.random()
        side, here = np.array([-out[1], out[0]]), np.array([x, y])
        if kind < 0.3:
            high, reach, thick = rng.uniform(3.5, 10.0), rng.uniform(0.3, 2.5), rng.uniform(0.12, 0.35)
            self.stand("static.manmade", x, y, thick, thick, high)
            self.stand("static.manmade", *(here - 0.45 * reach * out), reach, 0.15, high, yaw, high - 0.2)
        elif kind < 0.4:
            self.stand("static.manmade", x, y, 0.18, 0.18, 3.4)
            self.stand("static.manmade", x, y, 0.35, 0.4, 3.6, yaw, 2.5)
        elif kind < 0.6:
            high, board = rng.uniform(1.8, 4.5), rng.uniform(0.4, 1.4)
            self.stand("static.manmade", x, y, 0.08, 0.08, high)
            self.stand("static.manmade", x, y, 0.06, board, high, yaw + rng.uniform(0, np.pi), high - 0.7 * board)
        elif kind < 0.7:
            self.stand("static.other", x, y, *rng.uniform(0.3, 0.9, 2), rng.uniform(0.7, 1.4), yaw)
        elif kind < 0.8:
            self.stand("static.other", *(here + 0.2 * out), rng.uniform(0.4, 0.7), rng.uniform(0.8, 1.9),
                       rng.uniform(0.9, 1.8), yaw)
        elif kind < 0.86:
            self.stand("static.other", *(here + 0.1 * out), 0.5, 1.8, 0.5, yaw, 0.35)
            self.stand("static.other", *(here + 0.3 * out), 0.1, 1.8, 0.95, yaw)
        elif kind < 0.93:
            for step in range(int(rng.integers(1, 5))):
                self.stand("static.other", *(here + 1.3 * step * side), 0.15, 0.15, rng.uniform(0.6, 1.1), yaw)
        elif kind < 0.97:
            self.stand("static.other", x, y, 0.3, 0.3, 0.8, yaw)
        else:
            self.stand("static.manmade", *(here + 0.1 * out), 0.1, 3.6, 2.4, yaw)
            self.stand("static.manmade", *(here - 0.3 * out), 0.9, 3.8, 2.6, yaw, 2.45)

    def house(self, x: float, y: float, depth: float, width: float, height: float, yaw: float) -> None:
        """A body with bays, balconies and steps at its front, under a flat, a set-back or a pitched roof."""
        rng, out, side = self.rng, np.array([np.cos(yaw), np.sin(yaw)]), np.array([-np.sin(yaw), np.cos(yaw)])
        here = np.array([x, y])
        self.stand("static.manmade", x, y, depth, width, height, yaw)
        for at in np.arange(-width / 2 + 2, width / 2 - 1.5, rng.uniform(3.0, 6.0)):
            front, kind, storey = here + at * side + depth / 2 * out, rng.random(), 3.0
            if kind < 0.2:
                self.stand("static.manmade", *front, rng.uniform(0.6, 1.4), 2.2, height * rng.uniform(0.6, 1.0), yaw)
            elif kind < 0.4:
                for floor in np.arange(storey, height - 1, storey):
                    self.stand("static.manmade", *front, 2.0, 2.6, floor + 1.0, yaw, floor - 0.1)
            elif kind < 0.5:
                self.stand("static.manmade", *front, 1.6, 1.5, 0.5, yaw)
        roof = rng.random()
        if roof < 0.45:
            rise = rng.uniform(1.5, 4.0)
            for share in (0.75, 0.5, 0.25):
                self.stand("static.manmade", x, y, depth * share, width, height + rise * (1 - share), yaw,
                           height + rise * (0.7 - share))
        elif roof < 0.7:
            self.stand("static.manmade", x, y, rng.uniform(0.4, 0.8) * depth, rng.uniform(0.5, 0.95) * width,
                       height + rng.uniform(1.5, 3.5), yaw, height - 0.1)
