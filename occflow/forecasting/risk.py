"""How probably a planned path strikes something: the share of sampled futures in which its footprint meets matter.

In every future, at every instant of the path, the voxels are looked up that the footprint covers in the frame nearest
in time, in that frame's own grid, wherever that lies: all geometry goes through grid poses. What stands on the ground
counts, and what has no class; the ground itself (occflow.grid.FLAT_CLASSES) and what is lower or higher than the
vehicle does not. docs/risk.md says what the figures mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from occflow.errors import InputError
from occflow.forecasting.planned_path import Footprint, PlannedPath
from occflow.forecasting.shares import JEFFREYS, jeffreys_interval, posterior_mean
from occflow.geometry import invert, transform
from occflow.grid import CLASS_NAMES, FLAT_CLASSES, FREE, IS_MOVABLE, OTHERS, VoxelGrid
from occflow.occupancy.frame import Frames, OccupancyFrame

LEVEL = 0.95  # of intervals
EARLIEST_S = 1e-3  # rounding of stamps
NOTHING = FREE  # no cause of a strike

IS_OBSTACLE = np.ones(256, dtype=bool)  # by label: what has none (a log without classes) is one
IS_OBSTACLE[[*FLAT_CLASSES, FREE]] = False


@dataclass(frozen=True)
class Strikes:
    """By one kind of obstacle.

    Args:
        struck: [K, T] bool, futures in which the footprint is struck at an instant.
        judged: [T] bool, instants of which the futures say something.
        level: of the intervals.
    """

    struck: np.ndarray
    judged: np.ndarray
    level: float

    @property
    def futures(self) -> int:
        return len(self.struck)

    @property
    def probability(self) -> np.ndarray:
        """[T] of being struck at an instant, whatever was before; nan where nothing is known."""
        return np.where(self.judged, self.struck.mean(axis=0), np.nan)

    @property
    def interval(self) -> np.ndarray:
        """[T, 2] of `probability` (shares.jeffreys_interval); nan where nothing is known."""
        return np.where(self.judged[:, None], jeffreys_interval(self.struck.sum(axis=0), self.futures, self.level),
                        np.nan)

    @property
    def until(self) -> np.ndarray:
        """[T] of having been struck at an instant or before, as far as is known; nan until something is."""
        known = np.logical_or.accumulate(self.judged)
        return np.where(known, np.logical_or.accumulate(self.struck, axis=1).mean(axis=0), np.nan)

    @property
    def first(self) -> np.ndarray:
        """[T] of being struck at an instant for the first time; they add up to `whole`."""
        first = self.first_index
        return np.bincount(first[first >= 0], minlength=self.struck.shape[1]) / self.futures

    @property
    def first_index(self) -> np.ndarray:
        """[K] the instant of a future's first strike; -1 without one."""
        return np.where(self.struck.any(axis=1), self.struck.argmax(axis=1), -1)

    @property
    def hits(self) -> int:
        """Futures in which the path is struck at all."""
        return int(self.struck.any(axis=1).sum())

    @property
    def whole(self) -> float:
        """Of being struck anywhere on the path, where it is known; nan where nothing is."""
        return self.hits / self.futures if self.judged.any() else float("nan")

    @property
    def whole_interval(self) -> np.ndarray:
        """[2] of `whole`."""
        return jeffreys_interval(self.hits, self.futures if self.judged.any() else 0, self.level)

    def smoothed(self, prior: tuple[float, float] = JEFFREYS) -> float:
        """`whole` as the mean of a posterior, (hits + a) / (K + a + b): never 0 or 1; nan where nothing is known."""
        return float(posterior_mean(self.hits, self.futures, prior)) if self.judged.any() else float("nan")


@dataclass(frozen=True)
class StruckVoxels:
    """What the footprint meets at one instant.

    Args:
        flat: [N] voxels of that frame's grid, increasing; labels: [N] the class that most futures give each.
        probability: [N] share of the futures that have an obstacle there.
        world_from_grid: pose [4, 4] of the grid.
    """

    flat: np.ndarray
    labels: np.ndarray
    probability: np.ndarray
    world_from_grid: np.ndarray


@dataclass(frozen=True)
class Risk:
    """What K sampled futures say of a path of T instants.

    Args:
        path, footprint: what was asked.
        any: by whatever stands or moves; movable, standing: by one of these. A future may count with both.
        causes: share of the futures, by the class of what is struck first (most of a voxel decides); they add up to
            `any.whole`.
        voxels: of each instant.
        frames: [T] which frame of the futures an instant was held against, -1: the present, -2: none.
        outside: [T] share of the footprint outside of the grid, of which nothing is forecast; 1 beyond the horizon.
        unseen: [T] share of the footprint that no frame of the history has observed; nan where that is not known.
    """

    path: PlannedPath
    footprint: Footprint
    any: Strikes
    movable: Strikes
    standing: Strikes
    causes: dict[str, float]
    voxels: tuple[StruckVoxels, ...]
    frames: np.ndarray
    outside: np.ndarray
    unseen: np.ndarray

    @property
    def probability(self) -> float:
        """Of a strike anywhere on the path."""
        return self.any.whole

    @property
    def interval(self) -> tuple[float, float]:
        """Of `probability`."""
        low, high = self.any.whole_interval
        return float(low), float(high)

    @property
    def complete(self) -> bool:
        """Whether the whole path lies in what is forecast; else `probability` is of a part of it."""
        return bool(self.any.judged.all() and (self.outside == 0).all())

    @property
    def line(self) -> str:
        """In one line."""
        if not self.any.judged.any():
            return "strike: unknown, the path lies outside of the forecast"
        low, high = self.interval
        causes = ", ".join(f"{name} {share:.0%}" for name, share in self.causes.items())
        told = [f"strike: {self.probability:.0%} ({low:.0%} to {high:.0%} of {self.any.futures} futures)"]
        told += [f"by {causes}"] if causes else []
        if not self.complete:
            told.append(f"{self.outside.mean():.0%} of the path lies outside of the forecast")
        if np.nan_to_num(self.unseen).any():
            told.append(f"up to {np.nanmax(self.unseen):.0%} of the footprint never observed")
        return "; ".join(told)


def path_risk(path: PlannedPath, futures: Sequence[Frames], grid: VoxelGrid, footprint: Footprint | None = None,
              history: Sequence[OccupancyFrame] = (), level: float = LEVEL) -> Risk:
    """The risk of a path in K >= 1 sampled futures of one task.

    Args:
        futures: F frames each, at the same instants and grid poses.
        grid: of all frames.
        history: the observed frames, the last being the present: it stands for the first half of a frame's time, and
            they tell what was ever observed. Without it the first instants may be unknown, and so is `unseen`.

    Raises:
        InputError: no future, futures of different tasks, or no level.
    """
    footprint = footprint or Footprint()
    _refuse_others(futures, level)
    kept = [[history[-1]] * len(futures)] if len(history) else []
    instants = [*kept, *(list(frames) for frames in zip(*futures))]
    nearest = _nearest(path.stamps_s, np.array([frames[0].stamp_s for frames in instants]))
    main = np.full((len(futures), len(path.stamps_s)), NOTHING, dtype=np.uint8)
    movable, standing = (np.zeros(main.shape, dtype=bool) for _ in range(2))
    judged, outside, voxels = nearest >= 0, np.ones(main.shape[1]), []
    unseen = np.full(main.shape[1], np.nan)
    for index, (pose, which) in enumerate(zip(path.world_from_vehicle, nearest)):
        frames = instants[which] if which >= 0 else instants[0][:0]
        world_from_grid = instants[max(which, 0)][0].world_from_grid
        cells = covered(footprint, invert(pose) @ world_from_grid, grid)
        unseen[index] = _unseen(cells, world_from_grid, grid, history)
        if which >= 0:
            outside[index] = cells.outside
        judged[index] &= outside[index] < 1
        flat, shares = cells.touching(footprint.least_share)
        own = _own_place(flat, path, pose, footprint, world_from_grid, grid)
        labels = _labels_at(frames, flat)  # [K or 0, M]
        found = IS_OBSTACLE[labels] & (IS_MOVABLE[labels] | ~own)
        voxels.append(_voxels(flat, labels, found, world_from_grid))
        if len(labels) and len(flat):
            movable[:, index], standing[:, index] = ((found & kind).any(axis=1) for kind in (
                IS_MOVABLE[labels], ~IS_MOVABLE[labels]))
            most = np.where(found, shares, -1.0).argmax(axis=1)[:, None]
            main[:, index] = np.where(found.any(axis=1), np.take_along_axis(labels, most, axis=1)[:, 0], NOTHING)
    strikes = [Strikes(struck, judged, level) for struck in (movable | standing, movable, standing)]
    return Risk(path, footprint, *strikes, _causes(strikes[0], main), tuple(voxels),
                np.where(nearest >= 0, nearest - len(kept), -2), outside, unseen)


@dataclass(frozen=True)
class Cells:
    """Voxels [M] that a footprint covers a part of.

    Args:
        index: [M, 3] in the grid, or outside of it.
        flat: [M] where `inside`; shares: [M] of the largest part of a voxel that it could cover, in (0, 1].
    """

    index: np.ndarray
    flat: np.ndarray
    inside: np.ndarray
    shares: np.ndarray

    @property
    def outside(self) -> float:
        """Share of the footprint that is outside of the grid."""
        total = self.shares.sum()
        return float(self.shares[~self.inside].sum() / total) if total else 1.0

    def touching(self, least_share: float) -> tuple[np.ndarray, np.ndarray]:
        """The voxels of the grid of which it covers enough, increasing, and their shares."""
        kept = self.inside & (self.shares >= least_share)
        return self.flat[kept], self.shares[kept]


def covered(footprint: Footprint, vehicle_from_grid: np.ndarray, grid: VoxelGrid) -> Cells:
    """The voxels that a footprint covers, whether the grid has them or not, x first and z fastest.

    The share of a voxel is that of a lattice of points on its middle plane.
    """
    corners, edge = footprint.corners_m, grid.voxel_size_m
    box = np.array([(*corner, height) for corner in corners for height in footprint.band_m])
    places = (transform(invert(vehicle_from_grid), box) - grid.origin_m) / edge
    axes = [np.arange(low, high) for low, high in zip(np.floor(places.min(axis=0)).astype(np.int64),
                                                      np.floor(places.max(axis=0)).astype(np.int64) + 1)]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    centres = transform(vehicle_from_grid, grid.centres(index))  # [M, 3], of the vehicle
    low, high = footprint.band_m
    index, centres = (values[(low <= centres[:, 2]) & (centres[:, 2] <= high)] for values in (index, centres))
    (back, right), (front, left) = corners.min(axis=0), corners.max(axis=0)
    x, y = centres[:, 0], centres[:, 1]
    depth = np.minimum(np.minimum(x - back, front - x), np.minimum(y - right, left - y))  # of a centre inside the edge
    shares = (depth > 0).astype(np.float64)
    cut = np.abs(depth) < edge / np.sqrt(2)  # the others lie inside or outside with all that they have
    offsets = _lattice(footprint.points_a_voxel(edge), edge) @ vehicle_from_grid[:3, :3].T
    x, y = (centres[cut, axis, None] + offsets[:, axis] for axis in (0, 1))  # [cut, P]
    shares[cut] = ((back <= x) & (x <= front) & (right <= y) & (y <= left)).mean(axis=1)
    kept = shares > 0
    index, shares = index[kept], np.minimum(shares[kept] / footprint.most_of_a_voxel(edge), 1.0)
    inside = ((index >= 0) & (index < grid.shape)).all(axis=1)
    return Cells(index, grid.flatten(index), inside, shares)


def _lattice(points: int, edge: float) -> np.ndarray:
    """Points [P, 3] on the middle plane of a voxel, about its centre."""
    steps = ((np.arange(points) + 0.5) / points - 0.5) * edge
    return np.stack(np.meshgrid(steps, steps, [0.0], indexing="ij"), axis=-1).reshape(-1, 3)


def _own_place(flat: np.ndarray, path: PlannedPath, pose: np.ndarray, footprint: Footprint,
               world_from_grid: np.ndarray, grid: VoxelGrid) -> np.ndarray:
    """[M] bool: voxels that the vehicle fills at the present: nothing else can stand there."""
    apart_m = np.inf if path.start is None else np.linalg.norm(path.start[:3, 3] - pose[:3, 3])
    if apart_m > 2 * np.linalg.norm(footprint.corners_m, axis=1).max():
        return np.zeros(len(flat), dtype=bool)
    own, _ = covered(footprint, invert(path.start) @ world_from_grid, grid).touching(footprint.least_share)
    return np.isin(flat, own)


def _refuse_others(futures: Sequence[Frames], level: float) -> None:
    if not len(futures) or not len(futures[0]):
        raise InputError("risk: no futures; give those of occflow.load(...).samples(task, seeds)")
    placed = {tuple((frame.stamp_s, frame.world_from_grid.tobytes()) for frame in frames) for frames in futures}
    if len(placed) > 1:
        raise InputError("risk: futures of different tasks; give those of one call of samples(task, seeds)")
    if not 0 < level < 1:
        raise InputError(f"risk: an interval of level {level!r}; use one between 0 and 1, such as 0.95")


def _nearest(stamps_s: np.ndarray, of_frames_s: np.ndarray) -> np.ndarray:
    """[T] the frame nearest in time; -1 where that is farther off than half the time between frames."""
    gaps_s = np.diff(of_frames_s)
    reach_s = (gaps_s.max() / 2 if len(gaps_s) else 0.0) + EARLIEST_S
    away_s = np.abs(stamps_s[:, None] - of_frames_s)
    return np.where(away_s.min(axis=1) <= reach_s, away_s.argmin(axis=1), -1)


def _labels_at(frames: Sequence[OccupancyFrame], flat: np.ndarray) -> np.ndarray:
    """Labels [K, M] uint8 that K frames have at voxels [M]; FREE where a frame has nothing."""
    labels = np.full((len(frames), len(flat)), FREE, dtype=np.uint8)
    for row, frame in zip(labels, frames):
        if len(frame.flat) and len(flat):
            slots = np.minimum(np.searchsorted(frame.flat, flat), len(frame.flat) - 1)
            found = frame.flat[slots] == flat
            row[found] = frame.labels[slots[found]]
    return labels


def _voxels(flat: np.ndarray, labels: np.ndarray, found: np.ndarray, world_from_grid: np.ndarray) -> StruckVoxels:
    struck = np.flatnonzero(found.any(axis=0))
    most = [np.bincount(labels[found[:, place], place]).argmax() for place in struck]
    share = found[:, struck].sum(axis=0) / max(len(labels), 1)
    return StruckVoxels(flat[struck], np.array(most, dtype=np.uint8), share, world_from_grid)


def _unseen(cells: Cells, world_from_grid: np.ndarray, grid: VoxelGrid, history: Sequence[OccupancyFrame]) -> float:
    """Share of a footprint that no frame of the history has observed, as if nothing had moved since."""
    told = [frame for frame in history if frame.observed is not None]
    total = cells.shares.sum()
    if not told or not total:
        return float("nan")
    centres, seen = transform(world_from_grid, grid.centres(cells.index)), np.zeros(len(cells.index), dtype=bool)
    for frame in told:
        index, inside = grid.indices(transform(invert(frame.world_from_grid), centres))
        flat = grid.flatten(index[inside])
        seen[inside] |= (frame.observed[flat >> 3] >> (7 - (flat & 7)) & 1).astype(bool)  # as np.packbits has them
    return float(cells.shares[~seen].sum() / total)


def _causes(strikes: Strikes, main: np.ndarray) -> dict[str, float]:
    first = strikes.first_index
    labels = main[np.flatnonzero(first >= 0), first[first >= 0]]
    labels = np.where(labels < len(CLASS_NAMES), labels, OTHERS)
    counts = np.bincount(labels, minlength=len(CLASS_NAMES))
    return {CLASS_NAMES[label]: float(counts[label] / strikes.futures) for label in np.argsort(-counts, kind="stable")
            if counts[label]}
