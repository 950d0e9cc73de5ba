"""Labels of cells without one, and cells -> labelled voxels."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from occflow.grid import NUM_CLASSES, VoxelGrid
from occflow.logs.protocol import UNLABELLED
from occflow.occupancy.cells import Cells

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
        tree = cKDTree(cells.centres_m[donors], balanced_tree=False, compact_nodes=False)
        distance, nearest = tree.query(cells.centres_m[lacking], distance_upper_bound=radius_m)
        found = np.isfinite(distance)
        labels[lacking[found]] = cells.labels[donors[nearest[found]]]
        weights[lacking[found]] = BORROWED_WEIGHT * cells.counts[lacking[found]]
    return labels, weights


def voxelise(grid: VoxelGrid, points_m: np.ndarray, labels: np.ndarray, weights: np.ndarray, counts: np.ndarray,
             min_points: int) -> tuple[np.ndarray, np.ndarray]:
    """Occupied voxels and their class by majority.

    Args:
        points_m: [M, 3] places, metres, grid frame.
        labels, weights: [M] the vote of each place; UNLABELLED votes for nothing.
        counts: [M] returns at each place.
        min_points: returns that make a voxel occupied.

    Returns:
        flat [N] int64, increasing, and classes [N] uint8; "others" (0) without a vote, the lower class at a tie.
    """
    indices, inside = grid.indices(points_m)
    flat, labels, weights = grid.flatten(indices[inside]), labels[inside], weights[inside]
    returns = np.bincount(flat, weights=counts[inside], minlength=grid.num_voxels)
    occupied = np.flatnonzero(returns >= min_points)
    slot = np.full(grid.num_voxels, -1, dtype=np.int64)
    slot[occupied] = np.arange(len(occupied))
    voting = (labels < NUM_CLASSES) & (slot[flat] >= 0)
    ballots = slot[flat[voting]] * NUM_CLASSES + labels[voting]
    votes = np.bincount(ballots, weights=weights[voting], minlength=len(occupied) * NUM_CLASSES)
    return occupied, votes.reshape(-1, NUM_CLASSES).argmax(axis=1).astype(np.uint8)
