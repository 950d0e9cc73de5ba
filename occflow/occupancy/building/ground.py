"""Ground between returns: a spinning sensor meets the road in rings, and what lies between two rings is road, too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import LinearNDInterpolator
from scipy.ndimage import binary_dilation, distance_transform_edt
from scipy.spatial import QhullError

from occflow.grid import FLAT_CLASSES, VoxelGrid
from occflow.occupancy.building.cells import Cells
from occflow.occupancy.building.labels import flat_voxels

TILE = 2048  # columns along the edge of the pieces that are looked at in one go; most scenes are one piece
KEY_BITS = 31  # of the number of a column along y
BELOW_VOXELS = 1.5  # the voxel that lies so far under a place ends half a voxel or more under it


@dataclass(frozen=True)
class Ground:
    """Places [K, 3] of the ground's surface, metres, frame of the cells, and their classes [K] uint8."""

    places_m: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class _Columns:
    """Ground that was met, from above, by columns of `edge_m` from `low_m` [2] on.

    Args:
        index: [C, 2] int64 columns with a return, in the order of x, then y; none below 0.
        heights_m: [C], mean of a column's returns; labels: [C] uint8, the most frequent.
    """

    low_m: np.ndarray
    edge_m: float
    index: np.ndarray
    heights_m: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class _Holes:
    """What is to be filled.

    Args:
        index: [H, 2] int64 columns without a return between such with one, in the order of x, then y.
        nearest: [H] int64, number of the nearest column with a return.
        rim: [C] bool, which columns with a return touch a hole.
    """

    index: np.ndarray
    nearest: np.ndarray
    rim: np.ndarray


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
    holes = _holes(columns.index, gap_m / 2 / edge_m)
    try:
        heights_m = LinearNDInterpolator(columns.index[holes.rim], columns.heights_m[holes.rim])(holes.index)
    except (QhullError, ValueError):  # three columns span a surface; fewer, or such in a row, do not
        return nothing
    found = np.isfinite(heights_m)
    places_m = np.column_stack([(holes.index + 0.5) * edge_m + columns.low_m, heights_m])
    return Ground(places_m[found], columns.labels[holes.nearest][found])


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
    distinct, column = _distinct(index)
    weights = np.bincount(column, weights=counts)
    heights_m = np.bincount(column, weights=counts * places_m[:, 2]) / weights
    votes = np.stack([np.bincount(column, weights=counts * (labels == label)) for label in FLAT_CLASSES])
    major = np.array(FLAT_CLASSES, dtype=np.uint8)[votes.argmax(axis=0)]
    return _Columns(low_m, edge_m, distinct, heights_m, major)


def _distinct(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct ones [C, 2], in the order of x, then y, of columns [N, 2] from 0 on, and which of them each is."""
    keys, which = np.unique(index[:, 0] << KEY_BITS | index[:, 1], return_inverse=True)
    return np.column_stack([keys >> KEY_BITS, keys & (1 << KEY_BITS) - 1]), which


def _holes(met: np.ndarray, radius: float) -> _Holes:
    """The columns that a closing by a disc of a radius in columns adds to those that were met [C, 2].

    Tile by tile, so that memory grows with what was met and not with the rectangle around a drive of many kilometres.
    """
    rim, holes, nearest = np.zeros(len(met), dtype=bool), [np.zeros((0, 2), np.int64)], [np.zeros(0, np.int64)]
    reach = 2 * int(np.ceil(radius)) + 2  # what is farther from a tile has no say in it
    for low in _tiles_about(met):
        about = _within(met, low - reach, low + TILE + reach)
        if not len(about):
            continue
        corner = met[about].min(axis=0)
        place = tuple((met[about] - corner).T)
        mask = np.zeros(met[about].max(axis=0) - corner + 1, dtype=bool)
        mask[place] = True
        filled = _closed(mask, radius) & ~mask
        rim[about] |= binary_dilation(filled, np.ones((3, 3), dtype=bool))[place] & _inside(met[about], low, low + TILE)
        index = np.argwhere(filled)
        index = index[_inside(index + corner, low, low + TILE)]
        number = np.zeros(mask.shape, dtype=np.int64)
        number[place] = about
        found = distance_transform_edt(~mask, return_distances=False, return_indices=True)[:, index[:, 0], index[:, 1]]
        holes.append(index + corner)
        nearest.append(number[tuple(found)])
    index, owner = np.concatenate(holes), np.concatenate(nearest)
    order = np.lexsort((index[:, 1], index[:, 0]))
    return _Holes(index[order], owner[order], rim)


def _tiles_about(met: np.ndarray) -> np.ndarray:
    """Lower corners [T, 2] of the tiles that columns [C, 2] lie in, and of those beside them within their rectangle."""
    steps = np.array(list(np.ndindex(3, 3))) - 1
    tiles = (_distinct(met // TILE)[0][:, None] + steps).reshape(-1, 2)
    return _distinct(tiles[_inside(tiles, 0, met.max(axis=0) // TILE + 1)])[0] * TILE


def _within(met: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Numbers of the columns [C, 2], in the order of x, from `low` to below `high` [2]."""
    first, last = np.searchsorted(met[:, 0], (low[0], high[0]))
    return first + np.flatnonzero(_inside(met[first:last], low, high))


def _inside(index: np.ndarray, low: np.ndarray | int, high: np.ndarray) -> np.ndarray:
    """Which of the columns [N, 2] lie from `low` to below `high` [2]."""
    return ((index >= low) & (index < high)).all(axis=1)


def _closed(mask: np.ndarray, radius: float) -> np.ndarray:
    """Morphological closing [X, Y] by a disc of a radius in columns; beyond the raster nothing was met."""
    border = int(np.ceil(radius)) + 1
    grown = distance_transform_edt(~np.pad(mask, border)) <= radius
    return (distance_transform_edt(grown) > radius)[border:-border, border:-border]
