"""Points reduced to labelled cells of a fine lattice, so that the memory of a scene does not grow with its sweeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occflow.errors import InputError

LABEL_BITS = 8
DIGIT_BITS = 16
KEY_BITS = 63  # of a non-negative int64
PENDING_CELLS = 2_000_000  # merged when so many cells wait: 56 MB


@dataclass(frozen=True)
class Cells:
    """Cells with matter, one entry for each label that a cell was given.

    Args:
        places_m: [M, 3] float64, metres, frame of the lattice: the mean of a cell's points, whatever their labels. A
            surface at the border of two voxels stays on its side, where a cell's centre may lie on the other one.
        labels: [M] uint8.
        counts: [M] int64 points.
        groups: [M] int64, increasing; within a group the cells are in the order of x, those of one x in no order.
        cell_ids: [M] int64, equal for the entries of one cell, increasing.
    """

    places_m: np.ndarray
    labels: np.ndarray
    counts: np.ndarray
    groups: np.ndarray
    cell_ids: np.ndarray

    def where(self, mask: np.ndarray) -> Cells:
        """The entries of a mask [M]."""
        return Cells(self.places_m[mask], self.labels[mask], self.counts[mask], self.groups[mask],
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
        self._pending: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # keys, counts, sums [3, N] of offsets
        self._num_pending = 0
        self._num_merged = 0

    def add(self, points_m: np.ndarray, labels: np.ndarray, groups: np.ndarray | int = 0) -> None:
        """Count points [N, 3], metres, frame of the lattice, with labels [N] uint8 and groups [N].

        Raises:
            InputError: a point beyond the lattice, or more groups than it can number.
        """
        if not len(points_m):
            return
        if np.max(groups) >= self._max_group:
            raise InputError(f"more than {self._max_group} objects in one scene; cut it into shorter scenes")
        keys, offsets = self._keys(points_m, groups)
        keys <<= LABEL_BITS
        keys |= labels
        counted = _summed(keys, None, offsets, in_order(keys))
        self._pending.append(counted)
        self._num_pending += len(counted[0])
        if self._num_pending > PENDING_CELLS + 2 * self._num_merged:
            self._merge()

    def cell_ids(self, points_m: np.ndarray) -> np.ndarray:
        """Numbers [N] of the cells of group 0 that points [N, 3] lie in, as `Cells.cell_ids` has them.

        Raises:
            InputError: a point beyond the lattice.
        """
        return self._keys(points_m, 0)[0]

    def _keys(self, points_m: np.ndarray, groups: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers [N] of the cells that points lie in, and the offsets [3, N] float32 from their centres, in cells."""
        scaled = np.divide(points_m.T, self.cell_size_m, order="C")  # columns are fast
        corners = np.floor(scaled)
        index = corners.astype(np.int64)
        index += self._half
        if (index < 0).any() or (index >= 2 * self._half).any():
            raise InputError(f"points lie more than {self._half * self.cell_size_m:.0f} m from where the scene or "
                             "their object begins; check the poses and boxes of the scene")
        keys = index[0]
        keys |= np.left_shift(groups, self._bits)
        for row in index[1:]:
            keys <<= self._bits
            keys |= row
        scaled -= corners
        scaled -= 0.5
        return keys, scaled.astype(np.float32)

    def cells(self) -> Cells:
        """What was counted so far."""
        self._merge()
        keys, counts, sums = self._pending[0]
        labels = (keys & ((1 << LABEL_BITS) - 1)).astype(np.uint8)
        cell_ids, mask = keys >> LABEL_BITS, (1 << self._bits) - 1
        index = np.stack([cell_ids >> 2 * self._bits & mask, cell_ids >> self._bits & mask, cell_ids & mask])
        of_cell = np.cumsum(np.diff(cell_ids, prepend=-1) != 0) - 1
        points = np.bincount(of_cell, weights=counts)
        means = np.stack([np.bincount(of_cell, weights=row) / points for row in sums])[:, of_cell]
        places_m = np.ascontiguousarray((index - self._half + 0.5 + means).T) * self.cell_size_m
        return Cells(places_m, labels, counts, cell_ids >> 3 * self._bits, cell_ids)

    def _merge(self) -> None:
        empty = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((3, 0), np.float32)
        keys, counts, sums = (np.concatenate(parts, axis=-1) for parts in zip(empty, *self._pending))
        self._pending = [_summed(keys, counts, sums, np.argsort(keys, kind="stable"))]  # a merge of runs in order
        self._num_pending = self._num_merged = len(self._pending[0][0])


def in_order(keys: np.ndarray) -> np.ndarray:
    """np.argsort(keys, kind="stable") of whole numbers [N] that are in no order at all: digit by digit, which NumPy
    sorts in linear time."""
    if not len(keys):
        return np.zeros(0, dtype=np.int64)
    rest, order = keys - keys.min(), None
    for shift in range(0, int(rest.max()).bit_length(), DIGIT_BITS):
        digit = (rest >> shift).astype(np.uint16)  # the lowest bits of it
        by_digit = np.argsort(digit if order is None else digit[order], kind="stable")
        order = by_digit if order is None else order[by_digit]
    return np.arange(len(keys)) if order is None else order


def _summed(keys: np.ndarray, counts: np.ndarray | None, sums: np.ndarray, order: np.ndarray
            ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every key [N] once, increasing, with the sum of its counts [N] (None: ones) and of its sums [3, N].

    Args:
        order: [N] of the keys, stable.
    """
    keys = keys[order]
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    if not len(starts):
        return keys, np.zeros(0, np.int64), sums
    totals = np.diff(starts, append=len(keys)) if counts is None else np.add.reduceat(counts[order], starts)
    return keys[starts], totals, np.stack([np.add.reduceat(row[order], starts) for row in sums])
