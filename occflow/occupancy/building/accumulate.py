"""Sweeps of a scene -> matter: what stands still in the world, and every annotated object in its own box frame."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from occflow.grid import CLASS_NAMES, FLAT_CLASSES, MOVABLE_CLASSES, NUM_CLASSES
from occflow.logs.protocol import UNLABELLED, Box
from occflow.occupancy.building.cells import CellCounter, Cells
from occflow.occupancy.building.returns import Returns
from occflow.occupancy.settings import OccupancySettings

STRAY = 254  # label of a point of a mover that lies in no box; never leaves this module
STRAY_VOXELS = 0.5  # edge of the cubes in which stray points decide about unlabelled ones
WORLD_BITS = 18  # coordinates of the world lattice: 50 km each way at 0.4 m
NO_TRACK = -1  # number of a box whose object is not named
MOVES_M_PER_S = 0.5  # a box that is slower between two sweeps stands
COLUMN_M = 1.0  # of the raster that finds the points near boxes
OBJECT_BITS = 12  # of a box lattice: 800 m each way at 0.4 m, and half a million objects

# Classes that stay where they are: a point of one of them inside a box is ground under or a wall beside the object.
SURROUNDINGS = (*FLAT_CLASSES, CLASS_NAMES.index("manmade"), CLASS_NAMES.index("vegetation"))


@dataclass(frozen=True)
class LonePoints:
    """Returns of movers at one keyframe: places [N, 3] float32, metres, frame of the static cells; labels [N] uint8."""

    places_m: np.ndarray
    labels: np.ndarray


TOLD_SHARE = 0.01  # of a scene's movers: fewer in no box are the sensor's noise at the boxes' faces, and not told
NOBODY = LonePoints(np.zeros((0, 3), np.float32), np.zeros(0, np.uint8))


class LoneMovers:
    """Labelled movers in no box: nothing carries them to other instants, so each stays at the instant that it was met.

    Those of the keyframes' own sweeps are kept; those of the sweeps between are counted, and left out.
    """

    def __init__(self) -> None:
        self._at: dict[str, list[LonePoints]] = {}
        self._met = np.zeros(NUM_CLASSES, dtype=np.int64)
        self._left_out = self._carried = 0

    def add_carried(self, count: int) -> None:
        """Count returns of movers that boxes carry."""
        self._carried += count

    def add(self, keyframe: str | None, places_m: np.ndarray, labels: np.ndarray) -> None:
        """Count returns [N, 3] with classes [N] of (a part of) one sweep; `keyframe` is its token, None between."""
        if not len(labels):
            return
        self._met += np.bincount(labels, minlength=NUM_CLASSES)
        if keyframe is None:
            self._left_out += len(labels)
        else:
            self._at.setdefault(keyframe, []).append(LonePoints(places_m.astype(np.float32), labels))

    def at(self, keyframe: str) -> LonePoints:
        """The movers of a keyframe's own sweep."""
        parts = self._at.get(keyframe, [NOBODY])
        return LonePoints(np.concatenate([part.places_m for part in parts]),
                          np.concatenate([part.labels for part in parts]))

    def warn(self, scene: str, num_unlabelled: int) -> None:
        """One warning of what a scene's frames lack, where that is more than noise.

        Args:
            num_unlabelled: returns without a label that were dropped because movers were met where they are.
        """
        if self._met.sum() <= TOLD_SHARE * (self._met.sum() + self._carried):
            return
        classes = ", ".join(f"{CLASS_NAMES[label]} {self._met[label]}"
                            for label in np.argsort(-self._met, kind="stable") if self._met[label])
        warnings.warn(f"scene {scene}: {self._met.sum()} points of movers lie in no box ({classes}): those of a "
                      f"keyframe's own sweep are in its frame only, {self._left_out} of sweeps between keyframes and "
                      f"{num_unlabelled} unlabelled ones about them are left out", stacklevel=3)


@dataclass(frozen=True)
class SceneMatter:
    """Everything that the sweeps of a scene met.

    Args:
        anchor_m: [3] world position of the static lattice's origin, metres (world coordinates can be large).
        static: cells of the world, relative to the anchor; labels UNLABELLED where no labelled point fell.
        objects: cells in box frames; the group is the number of the track, the label the box's.
        tracks: number of a track by its name.
        lone: movers in no box, at their own keyframes, relative to the anchor.
        num_about_lone: unlabelled returns that were dropped because such movers were met where they are.
    """

    anchor_m: np.ndarray
    static: Cells
    objects: Cells
    tracks: dict[str, int]
    lone: LoneMovers
    num_about_lone: int


class SceneAccumulator:
    """Takes the returns of a scene, sweep by sweep, into cells.

    Args:
        voxel_size_m: edge of the voxels that the cells will fill, metres.
        settings: how finely, and which returns belong to a box.
    """

    def __init__(self, voxel_size_m: float, settings: OccupancySettings) -> None:
        cell_size_m = voxel_size_m / settings.cells_per_voxel
        self._settings, self._stray_edge_m = settings, STRAY_VOXELS * voxel_size_m
        self._static, self._objects = CellCounter(cell_size_m, WORLD_BITS), CellCounter(cell_size_m, OBJECT_BITS)
        self._tracks: dict[str, int] = {}
        self._centres: dict[str, np.ndarray] = {}  # of the boxes [3], when they were met last
        self._stamp_s = -np.inf
        self._lone = LoneMovers()
        self._anchor_m: np.ndarray | None = None

    def add(self, returns: Returns, boxes: list[Box]) -> None:
        """Count the returns of a sweep; `boxes` are the objects at its time.

        What lies in a box without a track is left out: it cannot be told where it belongs at other times. So is what
        moves without a box, but for the sweep of a keyframe: there it is where it was met.
        """
        if self._anchor_m is None:
            self._anchor_m = returns.world_from_ego[:3, 3].copy()
        points, labels = returns.points(), returns.labels.copy()
        numbers = np.array([self._tracks.setdefault(box.track, len(self._tracks)) if box.track else NO_TRACK
                            for box in boxes], dtype=np.int64)
        owners, local = assign_to_boxes(points, boxes, self._settings.box_margin_m)
        stays, moves = _part(labels, owners, local, boxes, self._settings)
        stays &= ~self._about_movers(returns.stamp_s, points, labels, owners, boxes)
        lone = stays & (owners < 0) & (np.isin(labels, MOVABLE_CLASSES) if returns.moving is None else returns.moving)
        self._lone.add(returns.keyframe, points[lone] - self._anchor_m, labels[lone])
        labels[lone] = STRAY
        self._static.add(points[stays] - self._anchor_m, labels[stays])
        if len(boxes):
            moves &= numbers[owners] != NO_TRACK
            self._lone.add_carried(int(moves.sum()))
            box_labels = np.array([box.label for box in boxes], dtype=np.uint8)
            self._objects.add(local[moves], box_labels[owners[moves]], numbers[owners[moves]])

    def _about_movers(self, stamp_s: float, points: np.ndarray, labels: np.ndarray, owners: np.ndarray,
                      boxes: list[Box]) -> np.ndarray:
        """[N] bool: unlabelled points just outside of a moving box and above its floor, which are of nobody.

        Between keyframes boxes are interpolated: whoever brakes or turns meanwhile sticks out of his box.
        """
        reach_m, before = MOVES_M_PER_S * (stamp_s - self._stamp_s), self._centres
        self._centres = {box.track: box.world_from_box[:3, 3] for box in boxes if box.track}
        self._stamp_s = stamp_s
        moving = [box for box in boxes if box.track in before
                  and np.linalg.norm(box.world_from_box[:3, 3] - before[box.track]) > reach_m]
        about = np.zeros(len(points), dtype=bool)
        lone = np.flatnonzero((owners < 0) & (labels == UNLABELLED))
        margin_m = self._settings.box_margin_m + self._settings.mover_margin_m
        movers, local = assign_to_boxes(points[lone], moving, margin_m)
        heights = np.array([box.size_lwh_m[2] for box in moving] or [0.0])[movers]
        about[lone] = (movers >= 0) & (local[:, 2] >= self._settings.box_floor_m - heights / 2)
        return about

    @property
    def lattice(self) -> CellCounter:
        """What counts the static cells."""
        return self._static

    def matter(self) -> SceneMatter:
        """What the sweeps so far, one at least, have met."""
        static, num_dropped = _without_strays(self._static.cells(), self._stray_edge_m)
        return SceneMatter(self._anchor_m, static, self._objects.cells(), self._tracks, self._lone, num_dropped)


def assign_to_boxes(points: np.ndarray, boxes: list[Box], margin_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Which enlarged box each world point lies in; the smallest where boxes overlap.

    Returns:
        owners [N] int64, index into `boxes` or -1; local [N, 3] coordinates in the owner's frame (0 without one).
    """
    owners = np.full(len(points), -1, dtype=np.int64)
    local = np.zeros((len(points), 3))
    poses = np.array([box.world_from_box for box in boxes]).reshape(-1, 4, 4)
    halves = np.array([box.size_lwh_m for box in boxes]).reshape(-1, 3) / 2 + margin_m
    rotations = poses[:, :3, :3]
    reaches = np.einsum("nij,nj->ni", np.abs(rotations), halves)  # half extents along the world's axes
    order = _in_columns_of(poses[:, :2, 3], reaches[:, :2], points)
    order = order[np.argsort(points[order, 0])]
    large_first = np.argsort(-halves.prod(axis=1), kind="stable")
    places = np.ascontiguousarray(points[order].T)  # columns are fast
    point, box = _near_pairs(places, poses[large_first, :2, 3], reaches[large_first, :2])
    box = large_first[box]
    x, y, z = (column[point] - poses[:, axis, 3][box] for axis, column in enumerate(places))
    turned = [x * rotations[:, 0, row][box] + y * rotations[:, 1, row][box] + z * rotations[:, 2, row][box]
              for row in range(3)]
    within = [np.abs(part) <= halves[:, row][box] for row, part in enumerate(turned)]
    inside = np.flatnonzero(within[0] & within[1] & within[2])
    point, box = order[point[inside]], box[inside]
    owners[point] = box  # the last of them stays: the smallest
    local[point] = np.stack([part[inside] for part in turned], axis=1)
    return owners, local


def _near_pairs(points: np.ndarray, centres: np.ndarray, reaches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (point [K], box [K]) of points [3, N], in the order of x, within reach [B, 2] of centres [B, 2] along the
    world's axes; box after box."""
    first, last = (np.searchsorted(points[0], centres[:, 0] + sign * reaches[:, 0]) for sign in (-1, 1))
    box = np.repeat(np.arange(len(centres)), last - first)
    point = np.arange(len(box)) - np.repeat(np.cumsum(last - first) - last, last - first)
    near = np.abs(points[1, point] - centres[box, 1]) <= reaches[box, 1]
    return point[near], box[near]


def _in_columns_of(centres: np.ndarray, reaches: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Indices of the points [N, 3] in columns of COLUMN_M that boxes touch: few, so that few need to be sorted.

    Args:
        centres, reaches: [B, 2] of the boxes along the world's axes.
    """
    if not len(points) or not len(centres):
        return np.zeros(0, dtype=np.int64)
    places = np.ascontiguousarray(points[:, :2].T)  # columns are fast
    low = places.min(axis=1)
    column = ((places - low[:, None]) / COLUMN_M).astype(np.int64)
    touched = np.zeros(column.max(axis=1) + 1, dtype=bool)
    first = np.maximum((centres - reaches - low) / COLUMN_M, 0).astype(np.int64)
    last = np.clip((centres + reaches - low) / COLUMN_M + 1, 0, touched.shape).astype(np.int64)
    for (west, south), (east, north) in zip(first[(first < last).all(axis=1)], last[(first < last).all(axis=1)]):
        touched[west:east, south:north] = True
    return np.flatnonzero(touched[column[0], column[1]])


def _part(labels: np.ndarray, owners: np.ndarray, local: np.ndarray, boxes: list[Box],
          settings: OccupancySettings) -> tuple[np.ndarray, np.ndarray]:
    """Masks [N] of the points that belong to the static world and of those that belong to their box.

    Unlabelled points at the bottom of a box belong to neither: they may be the road, which must not ride along.
    """
    boxed = owners >= 0
    surroundings = np.isin(labels, SURROUNDINGS)
    heights = np.array([box.size_lwh_m[2] for box in boxes] or [0.0])[owners]
    low = (local[:, 2] < settings.box_floor_m - heights / 2) & (labels == UNLABELLED)
    return ~boxed | surroundings, boxed & ~surroundings & ~low


def _without_strays(cells: Cells, edge_m: float) -> tuple[Cells, int]:
    """Drop stray points, and whole cubes of an edge whose labelled points are mostly stray (unannotated movers).

    Returns:
        what is left, and the number of unlabelled points that were dropped.
    """
    cubes = np.floor(cells.places_m.T / edge_m).astype(np.int64) + (1 << WORLD_BITS - 1)
    cubes = (cubes[0] << WORLD_BITS | cubes[1]) << WORLD_BITS | cubes[2]
    _, cube = np.unique(cubes, return_inverse=True)
    balance = np.where(cells.labels == STRAY, cells.counts, np.where(cells.labels == UNLABELLED, 0, -cells.counts))
    strayed = np.bincount(cube, weights=balance, minlength=1) > 0
    about = strayed[cube] & (cells.labels == UNLABELLED)
    return cells.where((cells.labels != STRAY) & ~strayed[cube]), int(cells.counts[about].sum())
