"""Random damage to files, the same for the same generator: what fuzzing tests edit with."""

import copy
import io
import zipfile
from typing import Any

import numpy as np
import torch

ODD_VALUES = (None, True, -1, 0, 3, 10 ** 30, 1e308, -1e-300, 0.5, "", "x", "../../x", "\ud800", [], [None], {},
              {"a": 1}, [[1, 2], [3]], ["a"] * 3, [0.1] * 40, [1e300, -1e300], [[[[]]]])

ODD_HEADERS = (b"<i8", b"<f8", b"<i4", b"|u1", b"|O8", b"|b1", b"<U0", b"<U9", b">f8", b"<c8", b"|V8", b"<M8", b"(2,)",
               b"(-2,)", b"(4, 4)", b"False", b"True", b"()", b"(99999999999999,)", b"(2, 2)", b"None", b"shape")


def edited_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """A file after one accident: bits flipped, cut short, a run of zeros, a piece lost or doubled."""
    accident, place = rng.integers(5), int(rng.integers(len(content)))
    end = min(len(content), place + int(rng.integers(1, 40)))
    if accident == 0:
        return content[:place] + bytes([content[place] ^ int(rng.integers(1, 256))]) + content[place + 1:]
    return (content[:place], content[:place] + bytes(end - place) + content[end:], content[:place] + content[end:],
            content[:end] + content[place:])[accident - 1]


def edited_archive(content: bytes, rng: np.random.Generator) -> bytes:
    """An archive, its checksums right, of which one entry was edited (mostly its header), dropped, doubled, renamed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    index, edit = int(rng.integers(len(entries))), int(rng.integers(8))
    name, body = entries[index]
    if edit == 0:
        del entries[index]
    elif edit == 1:
        entries.append((entries[int(rng.integers(len(entries)))][0], body))
    elif edit == 2:
        entries[index] = (entries[int(rng.integers(len(entries)))][0], body)
    elif edit == 3:
        entries[index] = (name, edited_bytes(body, rng))
    elif edit < 6:
        entries[index] = (name, edited_bytes(body[:128], rng) + body[128:])
    else:
        old, new = (ODD_HEADERS[int(rng.integers(len(ODD_HEADERS)))] for _ in range(2))
        entries[index] = (name, body.replace(old, new))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, body in entries:
            if name not in archive.namelist() or edit == 1:
                archive.writestr(zipfile.ZipInfo(name), body)
    return packed.getvalue()


def edited_json(value: Any, rng: np.random.Generator) -> Any:
    """A copy of a JSON value in which one place, anywhere, is missing, of another value, doubled, or much nested."""
    value = copy.deepcopy(value)
    places = list(_places(value))
    parent, key = places[int(rng.integers(len(places)))]
    edit = int(rng.integers(4))
    if edit == 0:
        del parent[key]
    elif edit == 1 and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))
    elif edit == 2:
        other, at = places[int(rng.integers(len(places)))]
        parent[key] = copy.deepcopy(other[at])
    else:
        parent[key] = copy.deepcopy(ODD_VALUES[int(rng.integers(len(ODD_VALUES)))])
    return value


def _places(value: Any):
    """(parent, key) of everything inside a JSON value."""
    items = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors are the same, bit for bit."""
    return a.dtype == b.dtype and a.shape == b.shape and bool(
        torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8)))
