"""Numbers that no reader expects, in texts and in binary files."""

from __future__ import annotations

import random
import re
import struct

WORD = re.compile(rb"[-+]?\d[\d.eE+-]*")
WORDS = (b"nan", b"inf", b"-inf", b"1e300", b"-1e300", b"1e-300", b"1e999", b"0", b"-0", b"-1", b"", b"9" * 30,
         b"9" * 5000, b"2147483648", b"18446744073709551616", b"0x10", b"1_0", b"1.5", b"1,5", b"true", b"None",
         "\u0663".encode(), b"--1", b"1e", b"1.0.0")
FLOATS = (float("nan"), float("inf"), float("-inf"), 3e38, -3e38, 1e-45, 0.0, -1.0, 1e9, 1001.0, 999.0)


def edit_words(content: bytes, rng: random.Random) -> bytes:
    """One number of a text is another, or none."""
    found = list(WORD.finditer(content))
    if not found:
        return content
    match = rng.choice(found)
    digit = bytes([rng.choice(b"0123456789")])
    place = rng.randrange(len(match[0]))
    changed = match[0][:place] + digit + match[0][place + 1:]
    word = changed if rng.random() < 0.4 else rng.choice(WORDS)
    return content[:match.start()] + word + content[match.end():]


def edit_float32(content: bytes, rng: random.Random) -> bytes:
    """One of the numbers of a file of little-endian float32, or all of them."""
    value, place = struct.pack("<f", rng.choice(FLOATS)), 4 * rng.randrange(max(1, len(content) // 4))
    if rng.random() < 0.1:
        return value * (len(content) // 4)
    return content[:place] + value + content[place + 4:]
