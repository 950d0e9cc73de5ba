"""Edits inside scene files, their checksums made anew: what a reader meets beyond them."""

from __future__ import annotations

import json
import lzma
import random
import zlib
from collections.abc import Callable

from fuzzing.byte_edits import edit_bytes
from fuzzing.json_edits import edit_json

from occflow.occupancy.storage.cell_block import COUNT
from occflow.occupancy.storage.frame_block import COUNTS
from occflow.occupancy.storage.scene_file import PREFIX
from occflow.packing import FILTERS, pack


def edit_scene(content: bytes, rng: random.Random) -> bytes:
    """The header as JSON, the counts of a frame or of its cells, or what a block unpacks to."""
    magic, length, _ = PREFIX.unpack_from(content)
    header = json.loads(zlib.decompress(content[PREFIX.size:PREFIX.size + length]))
    blocks = content[PREFIX.size + length:]
    if rng.random() < 0.4:
        text = edit_json(json.dumps(header).encode(), rng)
    else:
        blocks = _with_block(header, blocks, rng)
        text = json.dumps(header).encode()
    packed = zlib.compress(text)
    return PREFIX.pack(magic, len(packed), zlib.crc32(packed)) + packed + blocks


def _with_block(header: dict, blocks: bytes, rng: random.Random) -> bytes:
    """All blocks with one edited, and its marks in the header, which are length and checksum."""
    frames = [*header["blocks"], *(header["causal"] or [])]
    marks = [*frames, *(header["cells"] or [])]
    chosen = rng.randrange(len(marks))
    start = sum(size for size, _ in marks[:chosen])
    end = start + marks[chosen][0]
    block = _edited(blocks[start:end], COUNTS.size, _unpacked, pack, rng) if chosen < len(frames) else \
        _edited(blocks[start:end], COUNT.size, zlib.decompress, zlib.compress, rng)
    marks[chosen][:] = len(block), zlib.crc32(block)
    return blocks[:start] + block + blocks[end:]


def _edited(block: bytes, head: int, unpacked: Callable[[bytes], bytes], packed: Callable[[bytes], bytes],
            rng: random.Random) -> bytes:
    """A block whose counts are its first `head` bytes: with other ones, or another payload."""
    if rng.random() < 0.3:
        return edit_bytes(block[:head], rng) + block[head:]
    return block[:head] + packed(edit_bytes(unpacked(block[head:]), rng))


def _unpacked(packed: bytes) -> bytes:
    return lzma.decompress(packed, lzma.FORMAT_RAW, filters=FILTERS)
