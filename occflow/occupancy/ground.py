"""Ground between returns: a spinning sensor meets the road in rings, and what lies between two rings is road, too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import LinearNDInterpolator
from scipy.ndimage import binary_dilation, distance_transform_edt
from scipy.spatial import QhullError

from occflow.grid import FLAT_CLASSES, VoxelGrid
from occflow.occupancy.cells import Cells
from occflow.occupancy.labels import flat_voxels

BELOW_VOXELS = 1.5  # the voxel that lies so far under a place ends half a voxel or more under it


@dataclass(frozen=True)
class Ground:
    """Places [K, 3] of the ground's surface, metres, frame of the cells, and their classes [K] uint8."""

    places_m: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class _Columns:
    """Ground that was met, from above: raster of columns of `edge_m` from `low_m` [2] on.

    Args:
        met: [X, Y] bool; heights_m: [X, Y], mean of a column's returns; labels: [X, Y] uint8, the most frequent.
    """

    low_m: np.ndarray
    edge_m: float
    met: np.ndarray
    heights_m: np.ndarray
    labels: np.ndarray


def ground_between(cells: Cells, labels: np.ndarray, edge_m: float, gap_m: float) -> Ground:
    """The ground in the columns without a return that lie between columns with one.

    A column is filled if no disc of diameter `gap_m` holds it without also holding a column that was met (a
    morphological closing); its height is interpolated linearly between the columns at the rim of its hole, its class
    is that of the nearest column met.

    Args:
        labels: [M] uint8 classes of the entries of `cells`; those of flat classes are ground.
        edge_m: edge of a column.
    """
    ground, nothing = np.flatnonzero(np.isin(labels, FLAT_CLASSES)), Ground(np.zeros((0, 3)), np.zeros(0, np.uint8))
    if not len(ground) or gap_m <= 0:
        return nothing
    columns = _columns(cells.places_m[ground], labels[ground], cells.counts[ground], edge_m)
    holes = _closed(columns.met, gap_m / 2 / edge_m) & ~columns.met
    rim = columns.met & binary_dilation(holes, np.ones((3, 3), dtype=bool))
    places = np.argwhere(holes)
    try:
        heights_m = LinearNDInterpolator(np.argwhere(rim), columns.heights_m[rim])(places)
    except (QhullError, ValueError):  # three columns span a surface; fewer, or such in a row, do not
        return nothing
    nearest = distance_transform_edt(~columns.met, return_distances=False, return_indices=True)[:, holes]
    found = np.isfinite(heights_m)
    places_m = np.column_stack([(places + 0.5) * edge_m + columns.low_m, heights_m])
    return Ground(places_m[found], columns.labels[tuple(nearest)][found])


def seen_from_above(ground: Ground, grid: VoxelGrid, views: Iterable[tuple[np.ndarray, np.ndarray]]) -> Ground:
    """The ground that rays passed close over in some view, and below in none: the same at all instants.

    Args:
        views: packed masks of observed voxels (OccupancyFrame.observed), each with grid <- frame of the ground [4, 4].
    """
    over, under = np.zeros(len(ground.labels), dtype=bool), np.zeros(len(ground.labels), dtype=bool)
    for observed, grid_from_ground in views:
        mask = np.append(np.unpackbits(observed, count=grid.num_voxels).astype(bool), False)  # the last: outside
        over |= mask[flat_voxels(grid, grid_from_ground, ground.places_m)]
        lower = grid_from_ground.copy()
        lower[2, 3] -= BELOW_VOXELS * grid.voxel_size_m
        under |= mask[flat_voxels(grid, lower, ground.places_m)]
    kept = over & ~under
    return Ground(ground.places_m[kept], ground.labels[kept])


def _columns(places_m: np.ndarray, labels: np.ndarray, counts: np.ndarray, edge_m: float) -> _Columns:
    low_m = np.floor(places_m[:, :2].min(axis=0) / edge_m) * edge_m
    index = ((places_m[:, :2] - low_m) / edge_m).astype(np.int64)
    shape = tuple(index.max(axis=0) + 1)
    flat, size = np.ravel_multi_index(tuple(index.T), shape), shape[0] * shape[1]
    weights = np.bincount(flat, weights=counts, minlength=size)
    heights_m = np.bincount(flat, weights=counts * places_m[:, 2], minlength=size) / np.maximum(weights, 1)
    votes = np.stack([np.bincount(flat, weights=counts * (labels == label), minlength=size) for label in FLAT_CLASSES])
    major = np.array(FLAT_CLASSES, dtype=np.uint8)[votes.argmax(axis=0)]
    return _Columns(low_m, edge_m, (weights > 0).reshape(shape), heights_m.reshape(shape), major.reshape(shape))


def _closed(mask: np.ndarray, radius: float) -> np.ndarray:
    """Morphological closing [X, Y] by a disc of a radius in columns; beyond the raster nothing was met."""
    border = int(np.ceil(radius)) + 1
    grown = distance_transform_edt(~np.pad(mask, border)) <= radius
    return (distance_transform_edt(grown) > radius)[border:-border, border:-border]
