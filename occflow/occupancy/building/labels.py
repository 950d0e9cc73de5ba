"""Labels of cells without one, and cells -> labelled voxels."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from occflow.grid import NUM_CLASSES, VoxelGrid
from occflow.logs.protocol import UNLABELLED
from occflow.occupancy.building.cells import Cells

BORROWED_WEIGHT = 1e-9  # a borrowed label decides only where no labelled point votes


def point_weights(cells: Cells, radius_m: float) -> tuple[np.ndarray, np.ndarray]:
    """How each entry of the static cells votes on the label of its voxel.

    Labelled points vote for their label, each with weight 1. Unlabelled ones vote, next to nothing, for the
    label of the nearest labelled cell within the radius.

    Returns:
        labels [M] uint8 (UNLABELLED: no vote) and weights [M] float64.
    """
    labels, weights = cells.labels.copy(), cells.counts.astype(np.float64)
    known = cells.labels != UNLABELLED
    labelled_cells, owner = np.unique(cells.cell_ids[known], return_index=True)
    lacking = np.flatnonzero(~known & ~np.isin(cells.cell_ids, labelled_cells))
    weights[~known] = 0.0
    if len(labelled_cells) and len(lacking) and radius_m > 0:
        donors = np.flatnonzero(known)[owner]
        tree = cKDTree(cells.places_m[donors], balanced_tree=False, compact_nodes=False)
        distance, nearest = tree.query(cells.places_m[lacking], distance_upper_bound=radius_m)
        found = np.isfinite(distance)
        labels[lacking[found]] = cells.labels[donors[nearest[found]]]
        weights[lacking[found]] = BORROWED_WEIGHT * cells.counts[lacking[found]]
    return labels, weights


def flat_voxels(grid: VoxelGrid, grid_from_lattice: np.ndarray, points_m: np.ndarray) -> np.ndarray:
    """Flat voxel index [M] int64 of points [M, 3], metres, lattice frame; -1 outside of the grid.

    VoxelGrid.indices in one affine map and by columns: most of the time of a build is spent here.
    """
    matrix = grid_from_lattice[:3, :3] / grid.voxel_size_m
    shift = (grid_from_lattice[:3, 3] - grid.origin_m) / grid.voxel_size_m
    flat = np.zeros(len(points_m), dtype=np.int64)
    inside = np.ones(len(points_m), dtype=bool)
    for row, offset, length in zip(matrix, shift, grid.shape, strict=True):
        scaled = points_m @ row + offset
        inside &= (scaled >= 0) & (scaled < length)
        flat = flat * length + scaled.astype(np.int64)
    flat[~inside] = -1
    return flat


def voxelise(num_voxels: int, flat: np.ndarray, labels: np.ndarray, weights: np.ndarray, counts: np.ndarray,
             min_points: int) -> tuple[np.ndarray, np.ndarray]:
    """Occupied voxels and their class by majority.

    Args:
        flat: [M] flat voxel index of each place, -1 outside of the grid.
        labels, weights: [M] the vote of each place; UNLABELLED votes for nothing.
        counts: [M] returns at each place.
        min_points: returns that make a voxel occupied.

    Returns:
        flat [N] int64, increasing, and classes [N] uint8; "others" (0) without a vote, the lower class at a tie.
    """
    inside = np.flatnonzero(flat >= 0)
    flat, labels, weights = flat[inside], labels[inside], weights[inside]
    returns = np.bincount(flat, weights=counts[inside], minlength=num_voxels)
    occupied = np.flatnonzero(returns >= min_points)
    slot = np.full(num_voxels, -1, dtype=np.int64)
    slot[occupied] = np.arange(len(occupied))
    slots = slot[flat]
    voting = np.flatnonzero((labels < NUM_CLASSES) & (slots >= 0))
    ballots = slots[voting] * NUM_CLASSES + labels[voting]
    votes = np.bincount(ballots, weights=weights[voting], minlength=len(occupied) * NUM_CLASSES)
    return occupied, votes.reshape(-1, NUM_CLASSES).argmax(axis=1).astype(np.uint8)
