"""One frame as bytes: counts, then pose, boxes and voxels compressed together.

    counts of voxels and boxes, flags | LZMA of: voxel planes and labels (occflow.occupancy.storage.voxel_codec),
    pose [4, 4], box poses [B, 4, 4], box sizes [B, 3] as float64, track numbers [B] uint32, box labels [B] uint8
"""

from __future__ import annotations

import struct

import numpy as np

from occflow.geometry import all_rigid
from occflow.grid import NUM_CLASSES, VoxelGrid
from occflow.logs.protocol import UNLABELLED, Box
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.storage.voxel_codec import read_voxel_bytes, voxel_bytes, voxel_bytes_size
from occflow.packing import pack, unpack

COUNTS = struct.Struct("<IIB")
LABELLED, MASKED = 1, 2  # flags
MAX_BOXES = 100_000  # at one instant
POSE_BYTES = 4 * 4 * 8
BOX_BYTES = POSE_BYTES + 3 * 8 + 4 + 1

PACKING_BYTES = 1 << 16  # what LZMA may add to what it cannot compress, beside a hundredth of it

Voxels = tuple[np.ndarray, np.ndarray, "np.ndarray | None"]  # flat, labels, observed


def write_block(frame: OccupancyFrame, grid: VoxelGrid, tracks: dict[str, int]) -> bytes:
    """The frame as bytes; stamp and token are kept elsewhere, and tracks as their numbers."""
    labelled = not (frame.labels == UNLABELLED).all()
    boxes = frame.boxes
    parts = [voxel_bytes(grid, frame.flat, frame.labels if labelled else None, frame.observed),
             np.asarray(frame.world_from_grid, np.float64).tobytes(),
             np.array([box.world_from_box for box in boxes], np.float64).tobytes(),
             np.array([box.size_lwh_m for box in boxes], np.float64).tobytes(),
             np.array([tracks[box.track] for box in boxes], np.uint32).tobytes(),
             np.array([box.label for box in boxes], np.uint8).tobytes()]
    flags = LABELLED * labelled | MASKED * (frame.observed is not None)
    return COUNTS.pack(len(frame.flat), len(boxes), flags) + pack(b"".join(parts))


def read_block(block: bytes, grid: VoxelGrid, tracks: list[str]) -> tuple[np.ndarray, tuple[Box, ...], Voxels]:
    """The inverse of `write_block`: grid pose [4, 4], boxes, and voxels (flat, labels, observed).

    Raises:
        ValueError, IndexError, struct.error, lzma.LZMAError: a block that is none, or not of this grid.
    """
    num_voxels, num_boxes, flags = COUNTS.unpack_from(block)
    if num_voxels > grid.num_voxels or num_boxes > MAX_BOXES:
        raise ValueError(f"{num_voxels} voxels and {num_boxes} boxes are more than there can be")
    labelled, masked = bool(flags & LABELLED), bool(flags & MASKED)
    size = voxel_bytes_size(grid, num_voxels, labelled, masked)
    data = unpack(block[COUNTS.size:], size + POSE_BYTES + num_boxes * BOX_BYTES)
    pose = np.frombuffer(data, np.float64, 16, size).reshape(4, 4).copy()
    if not all_rigid(pose[None]):
        raise ValueError("grid pose is not finite and rigid")
    boxes = _boxes(data[size + POSE_BYTES:], num_boxes, tracks)
    return pose, boxes, read_voxel_bytes(grid, data, num_voxels, labelled, masked)


def max_block_bytes(grid: VoxelGrid) -> int:
    """More than any block of a grid has."""
    payload = voxel_bytes_size(grid, grid.num_voxels, True, True) + POSE_BYTES + MAX_BOXES * BOX_BYTES
    return payload + payload // 100 + PACKING_BYTES


def _boxes(data: bytes, num_boxes: int, tracks: list[str]) -> tuple[Box, ...]:
    poses = np.frombuffer(data, np.float64, 16 * num_boxes).reshape(-1, 4, 4).copy()
    sizes = np.frombuffer(data, np.float64, 3 * num_boxes, poses.nbytes).reshape(-1, 3).copy()
    numbers = np.frombuffer(data, np.uint32, num_boxes, poses.nbytes + sizes.nbytes)
    labels = np.frombuffer(data, np.uint8, num_boxes, poses.nbytes + sizes.nbytes + numbers.nbytes)
    if not (np.isfinite(sizes).all() and all_rigid(poses) and (labels < NUM_CLASSES).all()):
        raise ValueError("a box has no usable pose, size or class")
    return tuple(Box(tracks[number], int(label), pose, size)
                 for number, label, pose, size in zip(numbers, labels, poses, sizes))
