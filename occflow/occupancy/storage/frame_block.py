"""One frame as few bytes, for any grid: counts, then pose, boxes and voxels compressed together.

    counts of voxels and boxes, flags | LZMA of: voxel planes and labels, pose [4, 4], box poses [B, 4, 4],
    box sizes [B, 3] as float64, track numbers [B] uint32, box labels [B] uint8

Bit planes and labels are in an order that compresses well. A byte of a plane holds eight neighbours along y; the bytes
run along x, then z, then y. So a byte and the one before it are nearly always alike, which the standard library's LZMA
makes the most of: a frame of 200 x 200 x 16 voxels of a 64-beam LiDAR takes 17 KB with its labels and its observation
mask, and 1 ms to unpack.
"""

from __future__ import annotations

import struct

import numpy as np

from occflow.geometry import all_rigid
from occflow.grid import NUM_CLASSES, VoxelGrid
from occflow.logs.protocol import UNLABELLED, Box
from occflow.occupancy.frame import OccupancyFrame
from occflow.packing import most_packed, pack, unpack

COUNTS = struct.Struct("<IIB")
LABELLED, MASKED = 1, 2  # flags
MAX_BOXES = 100_000  # at one instant
POSE_BYTES = 4 * 4 * 8
BOX_BYTES = POSE_BYTES + 3 * 8 + 4 + 1


Voxels = tuple[np.ndarray, np.ndarray, "np.ndarray | None"]  # flat, labels, observed


def voxel_bytes(grid: VoxelGrid, flat: np.ndarray, labels: np.ndarray | None, observed: np.ndarray | None) -> bytes:
    """Voxels as bytes to compress.

    Args:
        flat: [N] occupied voxels, increasing.
        labels: [N] uint8; None: all UNLABELLED.
        observed: packed mask as in OccupancyFrame, or None.
    """
    occupied = np.zeros(grid.num_voxels, dtype=bool)
    occupied[flat] = True
    planes = [occupied]
    if observed is not None:
        planes.append(np.unpackbits(observed, count=grid.num_voxels).view(bool))
    parts = [_plane_bytes(plane.reshape(grid.shape)) for plane in planes]
    if labels is not None:
        volume = np.zeros(grid.num_voxels, dtype=np.uint8)
        volume[flat] = labels
        parts.append(_along_x(volume.reshape(grid.shape))[_along_x(occupied.reshape(grid.shape))].tobytes())
    return b"".join(parts)


def voxel_bytes_size(grid: VoxelGrid, num_voxels: int, labelled: bool, masked: bool) -> int:
    """Length of what `voxel_bytes` returns for `num_voxels` occupied voxels."""
    return (2 if masked else 1) * _plane_size(grid) + (num_voxels if labelled else 0)


def read_voxel_bytes(grid: VoxelGrid, data: bytes, num_voxels: int, labelled: bool,
                     masked: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The inverse of `voxel_bytes`: flat [N] int64, labels [N] uint8 and the packed mask or None.

    Raises:
        ValueError: another number of occupied voxels, or a label that is no class.
    """
    size = _plane_size(grid)
    planes = [_plane(grid, data[i * size:(i + 1) * size]) for i in range(2 if masked else 1)]
    flat = np.flatnonzero(planes[0])
    if len(flat) != num_voxels:
        raise ValueError(f"{len(flat)} occupied voxels instead of {num_voxels}")
    observed = np.packbits(planes[1]) if masked else None
    if not labelled:
        return flat, np.full(len(flat), UNLABELLED, dtype=np.uint8), observed
    stored = np.frombuffer(data, np.uint8, num_voxels, len(planes) * size)
    if len(stored) and stored.max() >= NUM_CLASSES:
        raise ValueError(f"label {stored.max()} is no class")
    volume = np.empty(grid.shape, dtype=np.uint8)
    _along_x(volume)[_along_x(planes[0].reshape(grid.shape))] = stored
    return flat, volume.reshape(-1)[flat], observed


def _along_x(volume: np.ndarray) -> np.ndarray:
    """The view [Z, Y, X] of a volume [X, Y, Z]."""
    return volume.transpose(2, 1, 0)


def _plane_size(grid: VoxelGrid) -> int:
    return -(-grid.shape[1] // 8) * grid.shape[2] * grid.shape[0]


def _plane_bytes(volume: np.ndarray) -> bytes:
    """[X, Y, Z] bool -> bytes in the order (Y / 8, Z, X)."""
    return np.packbits(volume, axis=1).transpose(1, 2, 0).tobytes()


def _plane(grid: VoxelGrid, data: bytes) -> np.ndarray:
    """The inverse of `_plane_bytes`, in flat order [V]."""
    size_x, size_y, size_z = grid.shape
    octets = np.frombuffer(data, np.uint8).reshape(-1, size_z, size_x)
    return np.unpackbits(octets.transpose(2, 0, 1), axis=1, count=size_y).reshape(-1).view(bool)


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
    return most_packed(payload)


def _boxes(data: bytes, num_boxes: int, tracks: list[str]) -> tuple[Box, ...]:
    poses = np.frombuffer(data, np.float64, 16 * num_boxes).reshape(-1, 4, 4).copy()
    sizes = np.frombuffer(data, np.float64, 3 * num_boxes, poses.nbytes).reshape(-1, 3).copy()
    numbers = np.frombuffer(data, np.uint32, num_boxes, poses.nbytes + sizes.nbytes)
    labels = np.frombuffer(data, np.uint8, num_boxes, poses.nbytes + sizes.nbytes + numbers.nbytes)
    if not (np.isfinite(sizes).all() and all_rigid(poses) and (labels < NUM_CLASSES).all()):
        raise ValueError("a box has no usable pose, size or class")
    return tuple(Box(tracks[number], int(label), pose, size)
                 for number, label, pose, size in zip(numbers, labels, poses, sizes))
