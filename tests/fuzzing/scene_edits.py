"""Edits inside scene files, their checksums made anew: what a reader meets beyond them."""

from __future__ import annotations

import json
import lzma
import random
import zlib

from fuzzing.byte_edits import edit_bytes
from fuzzing.json_edits import edit_json

from occflow.occupancy.storage.frame_block import COUNTS
from occflow.occupancy.storage.scene_file import PREFIX
from occflow.packing import FILTERS, pack


def edit_scene(content: bytes, rng: random.Random) -> bytes:
    """The header as JSON, the counts of a frame, or what its block unpacks to."""
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
    marks = [*header["blocks"], *(header["causal"] or [])]
    chosen = rng.randrange(len(marks))
    start = sum(size for size, _ in marks[:chosen])
    end = start + marks[chosen][0]
    counts, packed = blocks[start:start + COUNTS.size], blocks[start + COUNTS.size:end]
    if rng.random() < 0.3:
        block = edit_bytes(counts, rng) + packed
    else:
        payload = lzma.decompress(packed, lzma.FORMAT_RAW, filters=FILTERS)
        block = counts + pack(edit_bytes(payload, rng))
    marks[chosen][:] = len(block), zlib.crc32(block)
    return blocks[:start] + block + blocks[end:]
