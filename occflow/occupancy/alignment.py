"""Clusters of the present laid over earlier frames: where each was then, to a fraction of a voxel.

A cluster is seen from above, as the heights of its columns and of the ring of columns about it, which was free. Moved
back to where it may have been, it is compared with the heights there: what lies on the ring says as much against a
place as what the cluster lacks, so that a car is not lost in a row of cars. Heights are blurred by half a voxel, which
makes of the steps of voxels a slope that Gauss and Newton can follow.

All is in the plane of the present's grid, whose upward axis is that of the road. A *hypothesis* is a cluster, an
earlier frame, and the shift [2], metres, by which the cluster has moved since.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from occflow.geometry import invert
from occflow.grid import VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.motion import Cluster

MARGIN = 2  # columns about a map: blur, and what lies just outside
TALLEST_M = 2.4  # heights above this say no more
LEAST_SEEN = 0.25  # of a cluster lies where the earlier grid reached: otherwise the frame says nothing
UNSEEN_COST = 0.2  # of similarity, for a cluster that would have been wholly outside
COLUMNS_AT_ONCE = 1 << 19  # whose heights are in memory, of the hypotheses that are compared
STEPS = 2  # of Gauss and Newton; more change nothing
LONGEST_STEP = 0.5  # voxels
LARGEST_STEP_RAD = 0.15
DAMPING, RELATIVE_DAMPING = 0.05, 0.02  # of the normal equations, in squared heights a squared metre
HEIGHT_NOISE = 0.1  # squared, of a blurred column: what a turn has to explain to be believed
USUAL_TURN_RAD_PER_S = 0.2  # of what turns at all


@dataclass(frozen=True)
class Shapes:
    """Clusters of a frame, their voxels one after the other.

    Args:
        slots: [N] places of the voxels in the frame's arrays; voxels: [N, 3] in its grid.
        sizes: [B] voxels of each cluster; labels: [B].
        middles_m: [B, 3] centres in the frame's grid; low_m, high_m: [B, 2] first and last centres along x and y.
    """

    slots: np.ndarray
    voxels: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray
    middles_m: np.ndarray
    low_m: np.ndarray
    high_m: np.ndarray

    @classmethod
    def of(cls, clusters: list[Cluster], frame: OccupancyFrame, grid: VoxelGrid,
           other_from_grid: np.ndarray | None = None) -> Shapes:
        """Of at least one cluster; places in another frame, where its pose is given."""
        slots = np.concatenate([one.slots for one in clusters])
        sizes = np.array([len(one.slots) for one in clusters])
        voxels, first = grid.unflatten(frame.flat[slots]), np.cumsum(sizes) - sizes
        places = grid.centres(voxels)
        if other_from_grid is not None:
            places = places @ other_from_grid[:3, :3].T + other_from_grid[:3, 3]
        return cls(slots, voxels, sizes, np.array([one.label for one in clusters]),
                   np.add.reduceat(places, first) / sizes[:, None],
                   np.minimum.reduceat(places[:, :2], first), np.maximum.reduceat(places[:, :2], first))


class HeightMaps:
    """Blurred heights of the movable columns of all frames, class by class.

    Attributes:
        values: [P C X Y], voxels, flat; of columns with MARGIN about them.
        shape: (P, C, X, Y).
        labels: [C] the classes.
    """

    def __init__(self, history: tuple[OccupancyFrame, ...], grid: VoxelGrid, labels: np.ndarray) -> None:
        self.labels = labels
        self.shape = (len(history), len(labels), grid.shape[0] + 2 * MARGIN, grid.shape[1] + 2 * MARGIN)
        layers = np.full(256, -1)
        layers[labels] = np.arange(len(labels))
        keys = []
        for number, frame in enumerate(history):
            layer = layers[frame.labels]
            chosen = np.flatnonzero(layer >= 0)
            x, y, _ = grid.unflatten(frame.flat[chosen]).T
            keys.append(np.ravel_multi_index((number, layer[chosen], x + MARGIN, y + MARGIN), self.shape))
        columns, heights = np.unique(np.concatenate(keys), return_counts=True)
        heights = np.minimum(heights, max(TALLEST_M / grid.voxel_size_m, 1.0))
        around = np.array([-1, 0, 1]) * self.shape[3] + np.array([-1, 0, 1])[:, None]
        blurred = np.array([1, 2, 1]) * np.array([1, 2, 1])[:, None] / 16
        self.values = np.bincount((columns + around[..., None]).reshape(-1), (heights * blurred[..., None]).reshape(-1),
                                  int(np.prod(self.shape)))

    @cached_property
    def interior(self) -> np.ndarray:
        """Columns [2] within the margins."""
        return np.array(self.shape[2:]) - 2 * MARGIN


class Alignment:
    """What clusters of the present look like, and where their columns lie in the maps of earlier frames.

    Attributes:
        xy: [N, 2] columns in the present's grid, cluster after cluster; owner: [N] whose they are.
        own: [N] bool, whether the cluster fills it; the others are its ring.
        heights: [N] blurred, in the present.
        first, count: [B] of each cluster's columns.
    """

    def __init__(self, history: tuple[OccupancyFrame, ...], grid: VoxelGrid, shapes: Shapes,
                 maps: HeightMaps) -> None:
        self.maps, self.voxel_m = maps, grid.voxel_size_m
        _, _, rows, width = maps.shape
        number = np.repeat(np.arange(len(shapes.sizes)), shapes.sizes)
        keys = (number * rows + shapes.voxels[:, 0] + MARGIN) * width + shapes.voxels[:, 1] + MARGIN
        filled = np.unique(keys)
        around = np.unique((filled[:, None] + np.array([-1, 0, 1]) * width)[:, :, None] + np.array([-1, 0, 1]))
        self.owner, column = np.divmod(around, rows * width)
        self.own = np.isin(around, filled, assume_unique=True)
        self.count = np.bincount(self.owner, minlength=len(shapes.sizes))
        self.first = np.cumsum(self.count) - self.count
        self.xy = np.stack(np.divmod(column, width), axis=1) - MARGIN
        layer = np.searchsorted(maps.labels, shapes.labels)[self.owner]
        in_class = layer * (rows * width) + column
        self.usable = self.own | ~np.isin(in_class, in_class[self.own])  # the ring is not another cluster's
        self.plane, self.layer_start = maps.shape[1] * rows * width, layer * (rows * width)
        self.heights = maps.values[(maps.shape[0] - 1) * self.plane + in_class]
        self.weight = np.bincount(self.owner, self.heights * self.usable, len(self.count))
        places = grid.centres(np.column_stack([self.xy, np.zeros(len(self.xy))]))
        places[:, 2] = shapes.middles_m[self.owner, 2]
        self.arm_m = (places - shapes.middles_m[self.owner])[:, :2]  # from the cluster's centre
        self.places, self.turned = [], []  # in the map of each frame, were it static; metres of the present to columns
        for frame in history[:-1]:
            then = invert(frame.world_from_grid) @ history[-1].world_from_grid
            at = places @ then[:2, :3].T + then[:2, 3]
            self.places.append((at - grid.origin_m[:2]) / self.voxel_m - 0.5 + MARGIN)  # a centre is a whole number
            self.turned.append(then[:2, :2] / self.voxel_m)
        self.places, self.turned = np.array(self.places), np.array(self.turned)  # [P - 1, N, 2], [P - 1, 2, 2]

    def columns(self, bodies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Columns [M] of clusters [H], one after the other, and to which of the H each belongs."""
        count = self.count[bodies]
        which = np.repeat(np.arange(len(bodies)), count)
        return np.arange(len(which)) + np.repeat(self.first[bodies] - (np.cumsum(count) - count), count), which

    def similarity(self, bodies: np.ndarray, frame: int, shifts_m: np.ndarray) -> np.ndarray:
        """How well [H] clusters [H] agree with a frame, 0 to 1, where they have moved by shifts [H, 2] since then."""
        back = shifts_m @ self.turned[frame].T
        part = np.cumsum(self.count[bodies]) // COLUMNS_AT_ONCE
        starts = np.flatnonzero(np.diff(part, prepend=part[:1]))
        return np.concatenate([self._similarity(some, frame, their_back) for some, their_back in zip(
            np.split(bodies, starts), np.split(back, starts))])

    def _similarity(self, bodies: np.ndarray, frame: int, back: np.ndarray) -> np.ndarray:
        """The same for clusters moved back by [H, 2] columns of the frame's map."""
        columns, which = self.columns(bodies)
        places = self.places[frame][columns] - back[which]
        heights, inside = self._nearest(frame, columns, places)
        inside &= self.usable[columns]
        now = self.heights[columns]
        return self._agreement(bodies, which, now, heights, inside)[0]

    def mismatch(self, columns: np.ndarray, frame: int, shifts_m: np.ndarray) -> np.ndarray:
        """Heights [H, M] that differ between columns [M] and a frame, for shifts [H, 2]; outside, half of them."""
        places = self.places[frame][columns] - (shifts_m @ self.turned[frame].T)[:, None]
        heights, inside = self._nearest(frame, columns, places)
        now = self.heights[columns]
        return np.where(inside, np.abs(now - heights), now / 2)

    def refined(self, bodies: np.ndarray, frame: int, shifts_m: np.ndarray, turns: np.ndarray,
                seconds: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Shifts [H, 2] and turns [H], radians, near those given that agree best, by the least squared differences
        of heights; with them the similarity [H], and how much [H] of each cluster lies where the frame reached."""
        columns, which = self.columns(bodies)
        base, matrix = self.places[frame][columns], self.turned[frame]
        shifts_m, arm, now = shifts_m.copy(), self.arm_m[columns], self.heights[columns]
        prior = HEIGHT_NOISE / (USUAL_TURN_RAD_PER_S * seconds) ** 2
        for step in range(STEPS + 1):
            cos, sin = np.cos(turns)[which], np.sin(turns)[which]
            x, y = cos * arm[:, 0] + sin * arm[:, 1], cos * arm[:, 1] - sin * arm[:, 0]
            moved = np.stack([x, y], axis=1) - arm - shifts_m[which]
            heights, slopes, inside = self._between(frame, columns, base + moved @ matrix.T)
            inside &= self.usable[columns]
            if step == STEPS:
                return shifts_m, turns, *self._agreement(bodies, which, now, heights, inside)
            slopes = (slopes @ matrix) * inside[:, None]
            jacobian = [-slopes[:, 0], -slopes[:, 1], slopes[:, 0] * y - slopes[:, 1] * x]
            change = _solved(jacobian, (now - heights) * inside, which, len(bodies), prior, turns)
            length = np.linalg.norm(change[:, :2], axis=1, keepdims=True)
            shifts_m += change[:, :2] * np.minimum(1.0, LONGEST_STEP * self.voxel_m / np.maximum(length, 1e-9))
            turns = turns + np.clip(change[:, 2], -LARGEST_STEP_RAD, LARGEST_STEP_RAD)

    def _agreement(self, bodies: np.ndarray, which: np.ndarray, now: np.ndarray, then: np.ndarray,
                   counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """1 - |a - b| / (a + b) over columns that count, less what the unseen costs, and the seen share of a; [H]."""
        number = len(bodies)
        differ = np.bincount(which, np.abs(now - then) * counted, number)
        total = np.bincount(which, (now + then) * counted, number)
        seen = np.bincount(which, now * counted, number) / np.maximum(self.weight[bodies], 1e-9)
        alike = 1 - differ / np.maximum(total, 1e-9) - UNSEEN_COST * (1 - seen)
        return np.where(seen > LEAST_SEEN, np.maximum(alike, 0.0), 0.0), seen

    def _nearest(self, frame: int, columns: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Heights [...] of the frame at places [..., 2], which belong to columns, and whether they are in its grid."""
        rows, width = self.maps.shape[2:]
        x, y = (np.rint(places[..., axis]).astype(np.int32) for axis in range(2))
        inside = (x - MARGIN).view(np.uint32) < rows - 2 * MARGIN  # what is below zero is huge
        inside &= (y - MARGIN).view(np.uint32) < width - 2 * MARGIN
        x *= width
        x += y
        x *= inside
        flat = x + (frame * self.plane + self.layer_start[columns])
        return self.maps.values[flat], inside

    def _between(self, frame: int, columns: np.ndarray,
                 places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `_nearest`, linear between columns, with slopes [M, 2]."""
        rows, width = self.maps.shape[2:]
        whole = np.clip(np.floor(places), 0, [rows - 2, width - 2]).astype(np.int64)
        u, v = np.clip(places - whole, 0.0, 1.0).T
        flat = frame * self.plane + self.layer_start[columns] + whole[:, 0] * width + whole[:, 1]
        a, b, c, d = (self.maps.values[flat + step] for step in (0, width, 1, width + 1))
        inside = ((places > MARGIN - 0.5) & (places < self.maps.interior + MARGIN - 0.5)).all(axis=1)
        heights = a * (1 - u) * (1 - v) + b * u * (1 - v) + c * (1 - u) * v + d * u * v
        return heights, np.stack([(b - a) * (1 - v) + (d - c) * v, (c - a) * (1 - u) + (d - b) * u], axis=1), inside


def _solved(jacobian: list[np.ndarray], residual: np.ndarray, which: np.ndarray, number: int, turn_prior: float,
            turns: np.ndarray) -> np.ndarray:
    """Steps [H, 3] of shift and turn: damped normal equations of each hypothesis, the turn drawn to zero."""
    normal, right = np.empty((number, 3, 3)), np.empty((number, 3))
    for one in range(3):
        right[:, one] = np.bincount(which, jacobian[one] * residual, number)
        for other in range(one, 3):
            normal[:, one, other] = normal[:, other, one] = np.bincount(which, jacobian[one] * jacobian[other], number)
    damping = DAMPING + RELATIVE_DAMPING * (normal[:, 0, 0] + normal[:, 1, 1])
    normal[:, 0, 0] += damping
    normal[:, 1, 1] += damping
    normal[:, 2, 2] += turn_prior
    right[:, 2] -= turn_prior * turns
    return np.linalg.solve(normal, right[..., None])[..., 0]
