"""The parts of a frame's voxels as bytes: one plane of bits a part, compressed together."""

from __future__ import annotations

import numpy as np

from occflow.grid import VoxelGrid
from occflow.occupancy.parts import PARTS
from occflow.packing import most_packed, pack, unpack


def write_parts(parts: np.ndarray) -> bytes:
    """In which parts of N voxels matter is, [N, PARTS] bool."""
    return pack(np.packbits(parts.T, axis=1).tobytes())


def read_parts(block: bytes, num_voxels: int) -> np.ndarray:
    """The inverse of `write_parts`.

    Raises:
        ValueError, lzma.LZMAError: a block that is none, or of another number of voxels.
    """
    width = -(-num_voxels // 8)
    planes = np.frombuffer(unpack(block, PARTS * width), np.uint8).reshape(PARTS, width)
    return np.ascontiguousarray(np.unpackbits(planes, axis=1, count=num_voxels).T.astype(bool))


def max_part_bytes(grid: VoxelGrid) -> int:
    """More than any block of a grid has."""
    payload = PARTS * -(-grid.num_voxels // 8)
    return most_packed(payload)
