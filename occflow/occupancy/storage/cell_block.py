"""The cells of a sighting as bytes: steps from cell to cell in four planes, then counts and ages, where they are known
the spots, then, of an area beyond the frame's grid, the mask of what rays went through; deflated.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from occflow.grid import VoxelGrid
from occflow.occupancy.sighting import CELLS, SPOTS, Sighting
from occflow.packing import most_packed

COUNT = struct.Struct("<I")
BYTES_A_CELL = 7  # and one where the spots are known
LEVEL = 6  # a smaller block by a tenth costs LZMA thirty times the time


def write_cells(sighting: Sighting) -> bytes:
    """The cells of a sighting."""
    steps = np.diff(sighting.cells, prepend=0).astype("<u4")
    planes = steps.view(np.uint8).reshape(-1, 4).T.tobytes()
    rest = b"".join(part.tobytes() for part in (sighting.counts, sighting.youngest, sighting.oldest, sighting.spots)
                    if part is not None)
    mask = b"" if sighting.passed is None else sighting.passed.tobytes()
    return COUNT.pack(len(steps)) + zlib.compress(planes + rest + mask, LEVEL)


def read_cells(block: bytes, grid: VoxelGrid, beyond: bool = False, with_spots: bool = False) -> dict[str, np.ndarray]:
    """The inverse of `write_cells`: cells, counts, youngest and oldest, [M] each, and spots where these are known.

    Args:
        grid: of the area.
        beyond: it is larger than the frame's grid; then there is `passed`, too, where it is known.

    Raises:
        ValueError, struct.error, zlib.error: a block that is none, or not of this grid.
    """
    (count,) = COUNT.unpack_from(block)
    most = grid.num_voxels * CELLS**3
    if count > most:
        raise ValueError(f"{count} cells are more than there can be")
    rows = BYTES_A_CELL + with_spots
    unpacker, size = zlib.decompressobj(), count * rows
    sizes = (size, size + -(-grid.num_voxels // 8)) if beyond else (size,)
    data = unpacker.decompress(block[COUNT.size:], sizes[-1] + 1)
    if len(data) not in sizes or not unpacker.eof or unpacker.unused_data:
        raise ValueError(f"cells do not unpack to the {size} bytes that they should")
    planes = np.frombuffer(data, np.uint8, size).reshape(rows, count)
    steps = np.ascontiguousarray(planes[:4].T).view("<u4").reshape(count)
    cells = np.cumsum(steps, dtype=np.int64)
    if count and (cells[-1] >= most or (steps[1:] == 0).any()):
        raise ValueError("cells that are not in the grid, or not in order")
    if (planes[4] == 0).any() or (planes[5] > planes[6]).any():
        raise ValueError("cells without a return, or whose last return is older than the first")
    if with_spots and (planes[7] >= SPOTS**3).any():
        raise ValueError("spots beyond their cell")
    passed = {"passed": np.frombuffer(data, np.uint8, offset=size).copy()} if len(data) > size else {}
    spots = {"spots": planes[7].copy()} if with_spots else {}
    return {"cells": cells, "counts": planes[4].copy(), "youngest": planes[5].copy(),
            "oldest": planes[6].copy(), **spots, **passed}


def max_cell_bytes(grid: VoxelGrid) -> int:
    """More than any block of a grid has."""
    payload = grid.num_voxels * CELLS**3 * (BYTES_A_CELL + 1) + -(-grid.num_voxels // 8)
    return most_packed(payload)
