"""Voxels of many sources, packed for a page: what sources of one instant share is written once.

A block is an instant: the union of the voxels of its layers, and of each layer the classes on it. On the page it is
compressed by itself (gzip), so that a browser unpacks what it shows and no more; browser/voxels.js reads it.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Sequence

import numpy as np

from occflow.grid import NUM_CLASSES, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame

LEVEL = 6  # of gzip: 9 takes thrice as long for a hundredth
BITS = 7  # of a number in one byte; the eighth says that more follow


class Blocks:
    """The blocks of a page; those that are alike are kept once."""

    def __init__(self, grid: VoxelGrid) -> None:
        self._grid = grid
        self._place = np.empty(grid.num_voxels, dtype=np.int32)  # of a voxel in the union; rewritten block by block
        self._packed: list[bytes] = []
        self._sizes: list[int] = []
        self._known: dict[bytes, int] = {}

    def add(self, frames: Sequence[OccupancyFrame]) -> int:
        """The number of the block of these frames, which share one grid pose and of which there may be none."""
        union, planes = self._planes(frames)
        raw = b"".join([_varints(np.diff(union, prepend=-1)), planes.tobytes()])
        key = hashlib.sha256(b"%d %d " % planes.shape + raw).digest()
        if key not in self._known:
            self._known[key] = len(self._packed)
            self._packed.append(gzip.compress(raw, LEVEL, mtime=0))
            self._sizes.append(len(union))
        return self._known[key]

    def _planes(self, frames: Sequence[OccupancyFrame]) -> tuple[np.ndarray, np.ndarray]:
        """The union [n] int64, and planes [layers, n] uint8: 0 free, 1 + class (1 + 17 without one), xor the plane
        before, in which there is little left to compress."""
        occupied = np.zeros(self._grid.num_voxels, dtype=bool)
        for frame in frames:
            occupied[frame.flat] = True
        union = np.flatnonzero(occupied)
        self._place[union] = np.arange(len(union), dtype=np.int32)
        codes = np.zeros((len(frames), len(union)), dtype=np.uint8)
        for plane, frame in zip(codes, frames):
            plane[self._place[frame.flat]] = np.minimum(frame.labels, NUM_CLASSES) + 1
        codes[1:] ^= codes[:-1].copy()
        return union, codes

    def described(self) -> list[list[int]]:
        """[bytes, voxels of the union] of each block, in the order of `packed`."""
        return [[len(packed), size] for packed, size in zip(self._packed, self._sizes)]

    def packed(self) -> bytes:
        """All blocks, one after the other."""
        return b"".join(self._packed)


def _varints(numbers: np.ndarray) -> bytes:
    """Numbers [N] from 0 on as bytes, low bits first, 7 in each."""
    count = np.ones(len(numbers), dtype=np.int64)
    for more in range(1, 5):
        count += numbers >= 1 << (BITS * more)
    ends = np.cumsum(count)
    out = np.zeros(int(ends[-1]) if len(ends) else 0, dtype=np.uint8)
    for place in range(5):
        there = count > place
        low = (numbers[there] >> (BITS * place)) & (1 << BITS) - 1
        out[(ends - count)[there] + place] = low | ((count[there] > place + 1) << BITS)
    return out.tobytes()
