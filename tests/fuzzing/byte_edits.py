"""Edits of a file that know nothing of what it holds."""

from __future__ import annotations

import random

LONG = 100_000  # bytes of an addition that nobody expects


def edit_bytes(content: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, lost, added, doubled, blanked or moved; or nothing left."""
    start, length = rng.randrange(len(content) + 1), rng.choice((1, 1, 2, 4, 16, 64, 1024))
    end = min(len(content), start + length)
    run, before, after = content[start:end], content[:start], content[end:]
    change = rng.choice(("flip", "set", "delete", "insert", "truncate", "double", "blank", "fill", "swap", "append",
                         "flip", "set", "empty"))
    if change == "flip":
        return before + bytes([run[0] ^ 1 << rng.randrange(8)]) + content[start + 1:] if run else content
    if change == "swap":
        other = rng.randrange(len(content) + 1)
        low, high = sorted((start, other))
        middle = content[low + length:high]
        return content[:low] + content[high:high + length] + middle + content[low:low + length] \
            + content[high + length:] if high - low >= length else content
    return {"set": before + rng.randbytes(len(run)) + after, "delete": before + after,
            "insert": before + rng.randbytes(length) + content[start:], "truncate": before,
            "double": before + run + run + after, "blank": before + bytes(len(run)) + after,
            "fill": before + b"\xff" * len(run) + after, "append": content + rng.randbytes(rng.choice((1, 64, LONG))),
            "empty": b""}[change]
