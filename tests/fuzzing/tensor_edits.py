"""Edits of safetensors files: their header, made whole again around the change, and their numbers."""

from __future__ import annotations

import json
import random

from fuzzing.json_edits import edit_json
from fuzzing.number_edits import edit_float32

LENGTH_BYTES = 8  # of the header's length, little-endian


def edit_safetensors(content: bytes, rng: random.Random) -> bytes:
    """The header as JSON, the record in its metadata as JSON, or a number of a tensor."""
    end = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "little")
    header, data = content[LENGTH_BYTES:end], content[end:]
    if rng.random() < 0.3:
        return content[:end] + edit_float32(data, rng)
    values = json.loads(header)
    metadata = values.get("__metadata__", {})
    if metadata and rng.random() < 0.5:
        name = rng.choice(sorted(metadata))
        metadata[name] = _edit_value(metadata[name], rng)
        header = json.dumps(values).encode()
    else:
        header = edit_json(header, rng)
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(LENGTH_BYTES, "little") + header + data


def _edit_value(text: str, rng: random.Random) -> str:
    try:
        return edit_json(text.encode(), rng).decode()
    except ValueError:
        return text[:-1] + rng.choice("0123456789abcdef")
