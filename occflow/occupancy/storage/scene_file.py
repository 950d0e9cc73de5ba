"""The occupancy of one scene on disk, SCENE.occ: any frame is read without the others, and nothing is trusted.

    magic, length and CRC-32 of the header | header: JSON, deflated | one block a frame | one block a causal frame |
    the cells of every causal frame | the parts of the voxels of every frame

The header names format, scene, grid and classes, and has for every frame its stamp, token and the length and CRC-32 of
its block; where causal frames look beyond their grid, also by how many voxels each does: below and above along x and y;
and whether their cells know where in them returns fell.
Blocks are described in occflow.occupancy.storage.frame_block.
"""

from __future__ import annotations

import json
import lzma
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from typing_extensions import NotRequired, TypedDict

from occflow.atomic import atomic_file
from occflow.errors import InputError
from occflow.grid import CLASS_NAMES, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.parts import DividedFrame
from occflow.occupancy.sighting import Sighting
from occflow.occupancy.storage.cell_block import max_cell_bytes, read_cells, write_cells
from occflow.occupancy.storage.frame_block import max_block_bytes, read_block, write_block
from occflow.occupancy.storage.part_block import max_part_bytes, read_parts, write_parts
from occflow.records import bounded, conform, one_line, parse_json, read_json

FORMAT = "occflow-scene-4"
WIDE_FORMAT = "occflow-scene-5"  # where causal frames know more than their grid holds
DIVIDED_FORMAT = "occflow-scene-6"  # where frames know in which parts of their voxels matter is
SPOTTED_FORMAT = "occflow-scene-7"  # where causal frames know where in their cells returns fell
FORMATS = FORMAT, WIDE_FORMAT, DIVIDED_FORMAT, SPOTTED_FORMAT  # each may have what those before it have
MOST_WIDER = 10_000  # voxels that an area goes beyond the grid to one side
META = "meta.json"  # of the store, beside the scenes
PREFIX = struct.Struct("<8sII")
MAGIC = b"occflow4"
MAX_HEADER_BYTES = 64 << 20  # unpacked; a 20 s scene has some 10 kB
REMEDY = "delete it and run build_occupancy again"
BROKEN = (OSError, ValueError, KeyError, TypeError, IndexError, OverflowError, AttributeError, MemoryError,
          RecursionError, struct.error, zlib.error, lzma.LZMAError)


class Header(TypedDict):
    """The JSON of a scene file; a block's marks are its length and its CRC-32."""

    format: str
    scene: str
    grid: dict
    class_names: list[str]
    stamps_s: list[float]
    tokens: list[str]
    tracks: list[str]
    blocks: list[tuple[int, int]]
    causal: list[tuple[int, int]] | None
    cells: list[tuple[int, int]] | None
    wider: NotRequired[list[tuple[int, int, int, int]]]
    parts: NotRequired[list[tuple[int, int]]]
    spots: NotRequired[bool]


def scene_path(store: Path, scene: str) -> Path:
    return Path(store) / f"{scene}.occ"


def write_scene(store: Path, scene: str, frames: list[OccupancyFrame],
                causal: list[Sighting] | None = None) -> int:
    """Write the frames of a scene into the folder of a started store; returns their number.

    Args:
        causal: what was known at each frame's instant, unlabelled; None where that is not kept.
    """
    grid = VoxelGrid.from_dict(read_json(Path(store) / META)["grid"])
    tracks: dict[str, int] = {}
    for frame in frames:
        for box in frame.boxes:
            tracks.setdefault(box.track, len(tracks))
    blocks = [write_block(frame, grid, tracks) for frame in [*frames, *(causal or [])]]
    spotted = bool(causal) and all(frame.spots is not None for frame in causal)
    blocks += [write_cells(frame if spotted else replace(frame, spots=None)) for frame in causal or []]
    divided = bool(frames) and all(isinstance(frame, DividedFrame) for frame in frames)
    blocks += [write_parts(frame.parts) for frame in frames if divided]
    marks = [[len(block), zlib.crc32(block)] for block in blocks]
    header: Header = {"format": FORMAT, "scene": scene, "grid": grid.to_dict(), "class_names": list(CLASS_NAMES),
                      "stamps_s": [float(frame.stamp_s) for frame in frames],
                      "tokens": [frame.token for frame in frames], "tracks": list(tracks),
                      "blocks": marks[:len(frames)],
                      "causal": None if causal is None else marks[len(frames):2 * len(frames)],
                      "cells": None if causal is None else marks[2 * len(frames):3 * len(frames)]}
    if any(frame.area is not None for frame in causal or []):
        header |= {"format": WIDE_FORMAT, "wider": [_wider(frame.area or grid, grid) for frame in causal]}
    if divided:
        header |= {"format": DIVIDED_FORMAT, "parts": marks[-len(frames):]}
    if spotted:
        header |= {"format": SPOTTED_FORMAT, "spots": True}
    with atomic_file(scene_path(store, scene)) as partial, partial.open("wb") as stream:
        stream.write(_packed(header))
        stream.writelines(blocks)
    return len(frames)


def _wider(area: VoxelGrid, grid: VoxelGrid) -> list[int]:
    """By how many voxels an area goes beyond a grid: below and above along x and y."""
    below = grid.first_in(area)
    above = np.array(area.shape) - grid.shape - below
    return [int(below[0]), int(above[0]), int(below[1]), int(above[1])]


def _widened(grid: VoxelGrid, wider: tuple[int, int, int, int]) -> VoxelGrid:
    """The inverse of `_wider`."""
    x, more_x, y, more_y = (bounded(voxels, MOST_WIDER, "voxels beyond the grid") for voxels in wider)
    origin_m = (grid.origin_m[0] - x * grid.voxel_size_m, grid.origin_m[1] - y * grid.voxel_size_m, grid.origin_m[2])
    shape = (grid.shape[0] + x + more_x, grid.shape[1] + y + more_y, grid.shape[2])
    return VoxelGrid(origin_m, shape, grid.voxel_size_m)


def copy_scene(source: SceneFile, store: Path, scene: str) -> int:
    """Write a scene into the folder of a started store under another name, block by block; returns its frames.

    Raises:
        InputError: a block that is truncated or corrupt.
    """
    header = {**source.header, "scene": scene}
    with atomic_file(scene_path(store, scene)) as partial, partial.open("wb") as stream:
        stream.write(_packed(header))
        stream.writelines(source.blocks())
    return len(source)


def _packed(header: Header) -> bytes:
    packed = zlib.compress(json.dumps(header).encode(), 9)
    return PREFIX.pack(MAGIC, len(packed), zlib.crc32(packed)) + packed


class SceneFile:
    """Read access to a scene's file; its length is the number of its frames.

    Args:
        store, scene: folder of the store and name of the scene.
        grid: grid of the store.

    Raises:
        InputError: a file that is missing, truncated, corrupt, or not of this scene and grid.
    """

    def __init__(self, store: Path, scene: str, grid: VoxelGrid) -> None:
        self.path, self._scene, self._grid = scene_path(store, scene), scene, grid
        if not self.path.is_file():
            raise InputError(f"{self.path}: missing scene; run build_occupancy again")
        try:
            self._read_header()
        except BROKEN as error:
            raise self._refusal(error) from None

    def __len__(self) -> int:
        return len(self._stamps_s)

    @property
    def stamps_s(self) -> list[float]:
        """Times of the frames, seconds, increasing."""
        return list(self._stamps_s)

    @property
    def causal(self) -> bool:
        """Whether causal frames are kept."""
        return self.header["causal"] is not None

    def frame(self, index: int, causal: bool = False) -> OccupancyFrame:
        """Frame number `index` (from 0), full or causal.

        Raises:
            InputError: a block that is truncated or corrupt.
        """
        try:
            pose, boxes, voxels = read_block(self._block(index + len(self) * causal), self._grid, self._tracks)
        except BROKEN as error:
            raise self._refusal(error, f"frame {index}: ") from None
        flat, labels, observed = voxels
        return OccupancyFrame(flat, labels, pose, self._stamps_s[index], self._tokens[index], boxes, observed)

    def sighting(self, index: int) -> Sighting:
        """Causal frame number `index` with its cells; errors as `frame`."""
        frame, area = self.frame(index, causal=True), self._areas[index]
        try:
            cells = read_cells(self._block(index + 2 * len(self)), area or self._grid, area is not None,
                               self.header.get("spots", False))
        except BROKEN as error:
            raise self._refusal(error, f"cells of frame {index}: ") from None
        return Sighting(frame.flat, frame.labels, frame.world_from_grid, frame.stamp_s, frame.token,
                        observed=frame.observed, area=area, **cells)

    def voxel_parts(self, index: int) -> np.ndarray | None:
        """In which parts of its voxels the matter of frame number `index` is, [N, PARTS] bool; None where that is not
        kept. Errors as `frame`."""
        if "parts" not in self.header:
            return None
        try:
            return read_parts(self._block(len(self._blocks) - len(self) + index), len(self.frame(index).flat))
        except BROKEN as error:
            raise self._refusal(error, f"parts of frame {index}: ") from None

    def frame_bytes(self, causal: bool = False) -> list[int]:
        """Size on disk of every frame, of causal ones with their cells."""
        sizes, count = [length for _, length, _ in self._blocks], len(self)
        if not causal:
            return [frame + parts for frame, parts in zip(sizes[:count], sizes[-count:])] \
                if "parts" in self.header else sizes[:count]
        return [frame + cells for frame, cells in zip(sizes[count:2 * count], sizes[2 * count:3 * count])]

    def blocks(self) -> Iterator[bytes]:
        """All blocks of the file, in its order; errors as `frame`."""
        for number in range(len(self._blocks)):
            try:
                yield self._block(number)
            except BROKEN as error:
                raise self._refusal(error) from None

    def _block(self, number: int) -> bytes:
        offset, length, checksum = self._blocks[number]
        with self.path.open("rb") as stream:
            stream.seek(offset)
            block = stream.read(length)
        if zlib.crc32(block) != checksum:
            raise ValueError("checksum differs")
        return block

    def _read_header(self) -> None:
        with self.path.open("rb") as stream:
            magic, length, checksum = PREFIX.unpack(stream.read(PREFIX.size))
            if magic != MAGIC:
                raise ValueError("no scene of this format")
            if length > MAX_HEADER_BYTES:
                raise ValueError(f"header of more than {MAX_HEADER_BYTES} bytes")
            packed = stream.read(length)
        if zlib.crc32(packed) != checksum:
            raise ValueError("checksum of the header differs")
        header = conform(parse_json(_inflated(packed), MAX_HEADER_BYTES), Header, "header")
        if header["format"] not in FORMATS or header["grid"] != self._grid.to_dict():
            raise ValueError("another format or grid than the store's")
        if header["scene"] != self._scene:
            raise ValueError(f"of scene {one_line(header['scene'])}, under another name")
        if header["class_names"] != list(CLASS_NAMES):
            raise ValueError("other classes")
        self.header = header
        self._stamps_s, self._tokens, self._tracks = header["stamps_s"], header["tokens"], header["tracks"]
        counts = {len(self._stamps_s), len(self._tokens), len(header["blocks"])}
        known = [header[part] for part in ("causal", "cells") if header[part] is not None]
        if len(counts) != 1 or len(known) == 1 or any(len(marks) not in counts
                                                      for marks in (*known, header.get("parts", self._stamps_s))):
            raise ValueError("its lists of frames differ in length")
        if not all(map(math.isfinite, self._stamps_s)) or any(
                after <= before for before, after in zip(self._stamps_s, self._stamps_s[1:])):
            raise ValueError("time stamps do not increase")
        wider = header.get("wider", [(0, 0, 0, 0)] * len(self._stamps_s))
        if len(wider) not in counts:
            raise ValueError("its lists of frames differ in length")
        self._areas = [_widened(self._grid, one) if any(one) else None for one in wider]
        self._blocks, end = [], PREFIX.size + len(packed)
        for part, most in (("blocks", max_block_bytes), ("causal", max_block_bytes), ("cells", max_cell_bytes),
                           ("parts", max_part_bytes)):
            for number, (size, checksum) in enumerate(header.get(part) or []):
                grid = (self._areas[number] if part == "cells" else None) or self._grid
                self._blocks.append((end, bounded(size, most(grid), "a frame's bytes"), checksum))
                end += size
        if end != self.path.stat().st_size:
            raise ValueError(f"{self.path.stat().st_size} bytes instead of {end}: truncated, or something was added")

    def _refusal(self, error: BaseException, where: str = "") -> InputError:
        return InputError(f"{self.path}: {where}broken scene file ({one_line(error)}); {REMEDY}")


def _inflated(packed: bytes) -> bytes:
    decompressor = zlib.decompressobj()
    text = decompressor.decompress(packed, MAX_HEADER_BYTES)
    if not decompressor.eof:
        raise ValueError(f"header of more than {MAX_HEADER_BYTES} bytes, or truncated")
    return text
