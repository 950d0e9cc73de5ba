"""Edits inside a recording's sweeps, packed anew: what a reader meets beyond their checksum."""

from __future__ import annotations

import lzma
import random

from fuzzing.byte_edits import edit_bytes

from occflow.logs.sweep_codec import HEADER
from occflow.packing import FILTERS, pack


def edit_sweep(content: bytes, rng: random.Random) -> bytes:
    """The header, or what stands behind it unpacked."""
    header, packed = content[:HEADER.size], content[HEADER.size:]
    if rng.random() < 0.3:
        return edit_bytes(header, rng) + packed
    return header + pack(edit_bytes(lzma.decompress(packed, lzma.FORMAT_RAW, filters=FILTERS), rng))
