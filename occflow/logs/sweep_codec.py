"""The points of one sweep <-> few bytes, for any sensor: cells of a fixed size as an octree, in the order of Morton.

    magic, points, bytes of the tree, depth, flags, first cell | LZMA of: tree, labels [N] uint8, moving as bits

A byte of the tree says which of a node's eight children are there (bit x + 2 y + 4 z); nodes come level by level from
the root, in the order of their parents. Points in one cell are one; each is read as the middle of its cell. A
revolution of a Pandar64, 106 000 points, takes 180 kB in cells of 1 cm, 13.5 bits a point, and some 20 ms to read.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from occflow.grid import NUM_CLASSES
from occflow.logs.protocol import UNLABELLED
from occflow.packing import pack, unpack
from occflow.records import bounded

HEADER = struct.Struct("<8sIIBB3i")
MAGIC = b"occswp-1"
LABELLED, MOVING = 1, 2  # flags
MAX_POINTS = 4_000_000  # 128 beams in steps of 0.05 degrees with two returns have 1.8 million
MAX_TREE_BYTES = 16 * MAX_POINTS
MAX_DEPTH = 21  # 2 km in cells of 1 mm; three times that many bits are in a Morton code
MAX_CELL = 1 << 30  # of the first one, either way
MAX_SWEEP_BYTES = 64 << 20
PLACES = tuple(MAX_DEPTH * axis for axis in range(3))  # of x, y and z in 64 bits
CHILDREN = np.array([sum((child >> axis & 1) << place for axis, place in enumerate(PLACES)) for child in range(8)])
SPREADING = ((32, 0x1F00000000FFFF), (16, 0x1F0000FF0000FF), (8, 0x100F00F00F00F00F), (4, 0x10C30C30C30C30C3),
             (2, 0x1249249249249249))


@dataclass(frozen=True)
class SweepPoints:
    """Points [N, 3] float32, metres, sensor frame; labels [N] uint8 and moving [N] bool, None where there are none."""

    points: np.ndarray
    labels: np.ndarray | None = None
    moving: np.ndarray | None = None


def sweep_bytes(sweep: SweepPoints, cell_m: float) -> tuple[bytes, int]:
    """The bytes of a sweep's points, at least one, and in how many cells they lie; of a cell the first point counts.

    Raises:
        ValueError: no point, or more of them or farther apart than there can be.
    """
    bounded(len(sweep.points), MAX_POINTS, "points", 1)
    cells = np.round(np.asarray(sweep.points, np.float64) / cell_m)
    bounded(float(np.abs(cells).max()), MAX_CELL, "the farthest cell")
    cells = cells.astype(np.int64)
    first = cells.min(axis=0)
    depth = int(bounded(int((cells - first).max()).bit_length(), MAX_DEPTH, "levels"))
    x, y, z = _spread((cells - first).T.astype(np.uint64))
    codes, kept = np.unique(x | y << np.uint64(1) | z << np.uint64(2), return_index=True)
    parts = [_tree(codes, depth)]
    if sweep.labels is not None:
        parts.append(sweep.labels[kept].astype(np.uint8).tobytes())
    if sweep.moving is not None:
        parts.append(np.packbits(sweep.moving[kept]).tobytes())
    flags = LABELLED * (sweep.labels is not None) | MOVING * (sweep.moving is not None)
    header = HEADER.pack(MAGIC, len(codes), len(parts[0]), depth, flags, *map(int, first))
    return header + pack(b"".join(parts)), len(codes)


def read_sweep_bytes(data: bytes, cell_m: float) -> SweepPoints:
    """The inverse of `sweep_bytes`.

    Raises:
        ValueError, struct.error, lzma.LZMAError: other bytes than it makes.
    """
    magic, count, tree_bytes, depth, flags, *first = HEADER.unpack_from(data)
    if magic != MAGIC or flags & ~(LABELLED | MOVING):
        raise ValueError("no sweep of this format")
    bounded(count, MAX_POINTS, "points", 1)
    bounded(depth, MAX_DEPTH, "levels")
    bounded(tree_bytes, min(MAX_TREE_BYTES, count * depth), "bytes of its tree")
    bounded(max(map(abs, first)), MAX_CELL, "the first cell")
    sizes = [tree_bytes, count * bool(flags & LABELLED), -(-count // 8) * bool(flags & MOVING)]
    payload = np.frombuffer(unpack(data[HEADER.size:], sum(sizes)), np.uint8)
    tree, labels, moving = np.split(payload, np.cumsum(sizes)[:2])
    leaves, points = _leaves(tree, depth, count), np.empty((count, 3), np.float32)
    for axis, place in enumerate(PLACES):
        points[:, axis] = ((leaves >> place & (1 << MAX_DEPTH) - 1) + first[axis]) * cell_m
    if (labels[labels != UNLABELLED] >= NUM_CLASSES).any():
        raise ValueError("a label that is no class")
    return SweepPoints(points, labels.copy() if flags & LABELLED else None,
                       np.unpackbits(moving, count=count).astype(bool) if flags & MOVING else None)


def _spread(places: np.ndarray) -> np.ndarray:
    """Whole numbers below 2^21 with two zero bits after each bit, uint64."""
    for shift, mask in SPREADING:
        places = (places | places << np.uint64(shift)) & np.uint64(mask)
    return places


def _tree(codes: np.ndarray, depth: int) -> bytes:
    """The octree over Morton codes [N], which increase."""
    levels = []
    for _ in range(depth):
        parents, children = codes >> np.uint64(3), (codes & np.uint64(7)).astype(np.uint8)
        starts = np.flatnonzero(np.r_[True, parents[1:] != parents[:-1]])
        levels.append(np.bitwise_or.reduceat(np.uint8(1) << children, starts))
        codes = parents[starts]
    return b"".join(level.tobytes() for level in reversed(levels))


def _leaves(tree: np.ndarray, depth: int, count: int) -> np.ndarray:
    """The cells [count] int64 at the end of an octree, relative to the first: x, y and z at their PLACES.

    Raises:
        ValueError: a tree that does not have so many, or a node without children.
    """
    nodes = np.zeros(1, np.int64)
    for _ in range(depth):
        level, tree = tree[:len(nodes)], tree[len(nodes):]
        if len(level) < len(nodes) or not level.all():
            raise ValueError("its tree is broken")
        born = np.flatnonzero(np.unpackbits(level, bitorder="little").view(bool))
        bounded(len(born), count, "cells of a level")
        nodes = (nodes << 1).take(born >> 3)
        nodes |= CHILDREN.take(born & 7)
    if len(nodes) != count or len(tree):
        raise ValueError(f"its tree has {len(nodes)} cells instead of {count}, or goes on after them")
    return nodes
