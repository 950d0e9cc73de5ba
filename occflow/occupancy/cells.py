"""Points reduced to labelled cells of a fine lattice, so that the memory of a scene does not grow with its sweeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occflow.errors import InputError

LABEL_BITS = 8
KEY_BITS = 63  # of a non-negative int64
PENDING_CELLS = 2_000_000  # merged when so many cells wait: 32 MB


@dataclass(frozen=True)
class Cells:
    """Cells with matter, one entry for each label that a cell was given.

    Args:
        centres_m: [M, 3] float64, metres, frame of the lattice.
        labels: [M] uint8.
        counts: [M] int64 points.
        groups: [M] int64, increasing; within a group the cells are in the order of x.
        cell_ids: [M] int64, equal for the entries of one cell, increasing.
    """

    centres_m: np.ndarray
    labels: np.ndarray
    counts: np.ndarray
    groups: np.ndarray
    cell_ids: np.ndarray

    def where(self, mask: np.ndarray) -> Cells:
        """The entries of a mask [M]."""
        return Cells(self.centres_m[mask], self.labels[mask], self.counts[mask], self.groups[mask],
                     self.cell_ids[mask])


class CellCounter:
    """Counts points by group, cell and label.

    Args:
        cell_size_m: edge of a cell, metres.
        coordinate_bits: the lattice reaches 2**(bits - 1) cells each way; what is left of 63 bits numbers the groups.
    """

    def __init__(self, cell_size_m: float, coordinate_bits: int) -> None:
        self.cell_size_m = cell_size_m
        self._bits = coordinate_bits
        self._half = 1 << (coordinate_bits - 1)
        self._max_group = 1 << (KEY_BITS - LABEL_BITS - 3 * coordinate_bits)
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []
        self._num_pending = 0
        self._num_merged = 0

    def add(self, points_m: np.ndarray, labels: np.ndarray, groups: np.ndarray | int = 0) -> None:
        """Count points [N, 3], metres, frame of the lattice, with labels [N] uint8 and groups [N].

        Raises:
            InputError: a point beyond the lattice, or more groups than it can number.
        """
        if not len(points_m):
            return
        index = np.floor(points_m / self.cell_size_m).astype(np.int64) + self._half
        if (index < 0).any() or (index >= 2 * self._half).any():
            raise InputError(f"points lie more than {self._half * self.cell_size_m:.0f} m from where the scene or "
                             "their object begins; check the poses and boxes of the scene")
        if np.max(groups) >= self._max_group:
            raise InputError(f"more than {self._max_group} objects in one scene; cut it into shorter scenes")
        keys = np.zeros(len(points_m), dtype=np.int64) + groups
        for axis in range(3):
            keys = keys << self._bits | index[:, axis]
        keys, counts = np.unique(keys << LABEL_BITS | labels, return_counts=True)
        self._pending.append((keys, counts))
        self._num_pending += len(keys)
        if self._num_pending > PENDING_CELLS + 2 * self._num_merged:
            self._merge()

    def cells(self) -> Cells:
        """What was counted so far."""
        self._merge()
        keys, counts = self._pending[0]
        labels = (keys & ((1 << LABEL_BITS) - 1)).astype(np.uint8)
        cell_ids = keys >> LABEL_BITS
        mask = (1 << self._bits) - 1
        index = np.stack([cell_ids >> 2 * self._bits & mask, cell_ids >> self._bits & mask, cell_ids & mask], axis=1)
        centres_m = (index - self._half + 0.5) * self.cell_size_m
        return Cells(centres_m, labels, counts, cell_ids >> 3 * self._bits, cell_ids)

    def _merge(self) -> None:
        keys = np.concatenate([np.zeros(0, np.int64), *(keys for keys, _ in self._pending)])
        counts = np.concatenate([np.zeros(0, np.int64), *(counts for _, counts in self._pending)])
        order = np.argsort(keys, kind="stable")
        keys, counts = keys[order], counts[order]
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        if len(starts):
            keys, counts = keys[starts], np.add.reduceat(counts, starts)
        self._pending = [(keys, counts)]
        self._num_pending = self._num_merged = len(keys)
