"""Sweeps of a scene -> matter: what stands still in the world, and every annotated object in its own box frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occflow.errors import InputError
from occflow.geometry import invert, is_rigid, transform
from occflow.grid import CLASS_NAMES, FLAT_CLASSES, MOVABLE_CLASSES
from occflow.logs.protocol import UNLABELLED, Box, DrivingLog, Sweep
from occflow.occupancy.cells import CellCounter, Cells
from occflow.occupancy.settings import OccupancySettings

STRAY = 254  # label of a point of a movable class that lies in no box; never leaves this module
WORLD_BITS = 18  # coordinates of the world lattice: 50 km each way at 0.4 m
OBJECT_BITS = 12  # of a box lattice: 800 m each way at 0.4 m, and half a million objects

# Classes that stay where they are: a point of one of them inside a box is ground under or a wall beside the object.
SURROUNDINGS = (*FLAT_CLASSES, CLASS_NAMES.index("manmade"), CLASS_NAMES.index("vegetation"))


@dataclass(frozen=True)
class SceneMatter:
    """Everything that the sweeps of a scene met.

    Args:
        anchor_m: [3] world position of the static lattice's origin, metres (world coordinates can be large).
        static: cells of the world, relative to the anchor; labels UNLABELLED where no labelled point fell.
        objects: cells in box frames; the group is the number of the track, the label the box's.
        tracks: number of a track by its name.
    """

    anchor_m: np.ndarray
    static: Cells
    objects: Cells
    tracks: dict[str, int]


def accumulate(log: DrivingLog, scene: str, voxel_size_m: float, settings: OccupancySettings) -> SceneMatter:
    """Stream the sweeps of a scene into cells.

    Raises:
        InputError: no sweeps, or a pose that is not rigid.
    """
    cell_size_m = voxel_size_m / settings.cells_per_voxel
    static, objects = CellCounter(cell_size_m, WORLD_BITS), CellCounter(cell_size_m, OBJECT_BITS)
    tracks: dict[str, int] = {}
    anchor_m = None
    for sweep in log.sweeps(scene):
        if not (is_rigid(sweep.world_from_sensor) and is_rigid(sweep.world_from_ego)):
            raise InputError(f"{sweep.path}: pose of the sweep is not finite and rigid; repair the log")
        if anchor_m is None:
            anchor_m = sweep.world_from_ego[:3, 3].copy()
        points, labels = _usable_points(sweep, settings)
        boxes = log.boxes_at(scene, sweep.stamp_s)
        numbers = np.array([tracks.setdefault(box.track, len(tracks)) for box in boxes], dtype=np.int64)
        owners, local = assign_to_boxes(points, boxes, settings.box_margin_m)
        stays, moves = _part(labels, owners, local, boxes, settings)
        labels[stays & (owners < 0) & np.isin(labels, MOVABLE_CLASSES)] = STRAY
        static.add(points[stays] - anchor_m, labels[stays])
        if moves.any():
            box_labels = np.array([box.label for box in boxes], dtype=np.uint8)
            objects.add(local[moves], box_labels[owners[moves]], numbers[owners[moves]])
    if anchor_m is None:
        raise InputError(f"{log.name}: scene {scene} has no sweeps; leave it out of the log")
    return SceneMatter(anchor_m, _without_strays(static.cells()), objects.cells(), tracks)


def assign_to_boxes(points: np.ndarray, boxes: list[Box], margin_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Which enlarged box each world point lies in; the smallest where boxes overlap.

    Returns:
        owners [N] int64, index into `boxes` or -1; local [N, 3] coordinates in the owner's frame (0 without one).
    """
    owners = np.full(len(points), -1, dtype=np.int64)
    local = np.zeros((len(points), 3))
    if not boxes:
        return owners, local
    order = np.argsort(points[:, 0])
    x = points[order, 0]
    for index in sorted(range(len(boxes)), key=lambda i: -float(np.prod(boxes[i].size_lwh_m))):
        pose, half = boxes[index].world_from_box, boxes[index].size_lwh_m / 2 + margin_m
        reach = np.abs(pose[:3, :3]) @ half  # half extents [3] along the world's axes
        near = order[np.searchsorted(x, pose[0, 3] - reach[0]):np.searchsorted(x, pose[0, 3] + reach[0])]
        near = near[np.abs(points[near, 1] - pose[1, 3]) <= reach[1]]
        inside_frame = transform(invert(pose), points[near])
        inside = (np.abs(inside_frame) <= half).all(axis=1)
        owners[near[inside]] = index
        local[near[inside]] = inside_frame[inside]
    return owners, local


def _usable_points(sweep: Sweep, settings: OccupancySettings) -> tuple[np.ndarray, np.ndarray]:
    """World points [N, 3] within range and not of the own vehicle, with labels [N] uint8."""
    labels = sweep.labels
    if labels is None:
        labels = np.full(len(sweep.points_sensor), UNLABELLED, dtype=np.uint8)
    points = np.ascontiguousarray(sweep.points_sensor.T, dtype=np.float64)  # [3, N]: columns are fast
    ego_from_sensor = invert(sweep.world_from_ego) @ sweep.world_from_sensor
    x, y = ego_from_sensor[:2, :3] @ points + ego_from_sensor[:2, 3:]
    x_from, y_from, x_to, y_to = settings.ego_box_m
    own = (x >= x_from) & (x <= x_to) & (y >= y_from) & (y <= y_to)
    kept = np.flatnonzero(~own & (np.einsum("ij,ij->j", points, points) <= settings.max_range_m ** 2))
    return transform(sweep.world_from_sensor, points[:, kept].T), labels[kept]


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


def _without_strays(cells: Cells) -> Cells:
    """Drop stray points, and whole cells whose labelled points are mostly stray (unannotated movers)."""
    _, cell = np.unique(cells.cell_ids, return_inverse=True)
    balance = np.where(cells.labels == STRAY, cells.counts, np.where(cells.labels == UNLABELLED, 0, -cells.counts))
    strayed = np.bincount(cell, weights=balance, minlength=1) > 0
    return cells.where((cells.labels != STRAY) & ~strayed[cell])
