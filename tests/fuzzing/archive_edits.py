"""Edits of .npz archives: their members, the headers of arrays within, and their directory.

The archives are written by hand, for numpy and zipfile would not write what these hold.
"""

from __future__ import annotations

import functools
import io
import json
import random
import struct
import zipfile
import zlib
from dataclasses import dataclass, replace

import numpy as np
from fuzzing.json_edits import edit_json

STORED, DEFLATED, ENCRYPTED = 0, 8, 1
BOMB_PIECE, BOMB_PIECES = 16 << 20, 96  # zeros that 1.5 MB unfold to: 1.5 GB
TYPES = ("|u1", "<i4", "<i8", "<f8", "<f4", "<u8", "<c16", "|O", "<U5", "|S3", "|b1", "<M8[s]", "|V7", "<f16",
         "nonsense")
SHAPES = ((), (0,), (1,), (-1,), (2, 2), (10 ** 12,), (10 ** 6, 10 ** 6), (2 ** 62, 4), (1,) * 33)
NUMBERS = (float("nan"), float("inf"), -1, 0, 1, 17, 18, 255, 256, 1e9, -1e9, 2.0 ** 62, 1e300)


@dataclass(frozen=True)
class Member:
    """A file of an archive as it lies there; `crc`, `size` and `method` are what the archive claims."""

    name: bytes
    packed: bytes
    crc: int
    size: int
    method: int = DEFLATED
    flags: int = 0


def edit_npz(content: bytes, rng: random.Random) -> bytes:
    """One member changed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        plain = {info.filename.encode(): archive.read(info) for info in archive.infolist()}
    members = {name: deflated(name, data) for name, data in plain.items()}
    name, other = rng.choice(sorted(members)), rng.choice(sorted(members))
    change = rng.choice(("array", "array", "array", "array", "array", "lose", "rename", "swap", "double", "claims",
                         "bomb", "add"))
    if change == "array":
        members[name] = deflated(name, edit_array(plain[name], rng))
    elif change == "lose":
        del members[name]
    elif change == "swap":
        members[name], members[other] = replace(members[other], name=name), replace(members[name], name=other)
    elif change == "claims":
        members[name] = falsified(members[name], rng)
    elif change == "bomb":
        members[name] = replace(zeros(), name=name)
    else:
        new = rng.choice((name[:-4], b"x" + name, b"../" + name, b"/etc/passwd", b"", b"x.npy", b"a\0" + name))
        added = {"rename": replace(members[name], name=new), "double": members[name],
                 "add": deflated(new, plain[other])}[change]
        kept = [one for key, one in members.items() if change != "rename" or key != name]
        return zip_of([*kept, added])
    return zip_of(list(members.values()))


def falsified(member: Member, rng: random.Random) -> Member:
    """A member that is not what the archive says."""
    return rng.choice((replace(member, flags=ENCRYPTED), replace(member, size=member.size + 1),
                       replace(member, size=2 ** 32 - 2), replace(member, crc=member.crc ^ 1),
                       replace(member, method=STORED), replace(member, method=99),
                       replace(member, method=12), replace(member, packed=member.packed[:-1])))


def edit_array(content: bytes, rng: random.Random) -> bytes:
    """A .npy file of another type or shape, with a number changed, or cut; a text in it as JSON where it is that."""
    try:
        array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except ValueError:  # a pickle, which nobody here opens
        return content[:-1]
    size = len(content) - array.nbytes
    data, shape, kind = content[size:], array.shape, array.dtype.str
    change = rng.choice(("number", "number", "type", "shape", "like", "cut", "order", "header"))
    if change == "number":
        return _npy(with_number(array, rng))
    if change == "like":
        found = rng.choice((array[..., None], array[None], array.reshape(-1), array[:0] if array.ndim else array,
                            array[:-1] if array.ndim else array, array.astype(np.float64, copy=False)
                            if array.dtype.kind in "biuf" else array, array.T))
        return _npy(np.ascontiguousarray(found))
    if change == "header":
        return content[:rng.randrange(1, size)] + content[size:]
    if change == "cut":
        return content[:rng.randrange(len(content))]
    fields = {"descr": rng.choice(TYPES) if change == "type" else kind,
              "fortran_order": change == "order", "shape": rng.choice(SHAPES) if change == "shape" else shape}
    return _header(fields) + data


def with_number(array: np.ndarray, rng: random.Random) -> np.ndarray:
    """The array with one entry changed."""
    if array.dtype.kind == "U":
        return with_text(array, rng)
    if array.dtype.kind not in "biuf" or not array.size:
        return array[None]
    changed, place, value = array.copy().reshape(-1), rng.randrange(array.size), rng.choice(NUMBERS)
    if array.dtype.kind in "iu":
        limits = np.iinfo(array.dtype)
        value = 0 if value != value else int(min(max(value, limits.min), limits.max))
    with np.errstate(all="ignore"):
        changed[place] = value if rng.random() < 0.7 else changed[place] + changed.dtype.type(1)
    return changed.reshape(array.shape)


def with_text(array: np.ndarray, rng: random.Random) -> np.ndarray:
    """The array of texts with one changed; JSON stays JSON."""
    texts = array.reshape(-1).tolist()
    if not texts:
        return np.array(["x"])
    place = rng.randrange(len(texts))
    try:
        json.loads(texts[place])
        texts[place] = edit_json(texts[place].encode(), rng).decode()
    except ValueError:
        texts[place] = rng.choice((texts[place] + "x", "", "../x", "a" * 1000, "\n", "/", texts[0]))
    return np.array(texts).reshape(array.shape)


def deflated(name: bytes, data: bytes) -> Member:
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    return Member(name, packer.compress(data) + packer.flush(), zlib.crc32(data), len(data))


@functools.cache
def zeros() -> Member:
    """A small member of 1.5 GB of zeros, an array of bytes."""
    header = _header({"descr": "|u1", "fortran_order": False, "shape": (BOMB_PIECE * BOMB_PIECES,)})
    packer, piece = zlib.compressobj(9, zlib.DEFLATED, -15), bytes(BOMB_PIECE)
    start = packer.compress(header) + packer.flush(zlib.Z_FULL_FLUSH)
    middle = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
    crc = zlib.crc32(header)
    for _ in range(BOMB_PIECES):
        crc = zlib.crc32(piece, crc)
    return Member(b"", start + middle * BOMB_PIECES + packer.flush(), crc, len(header) + BOMB_PIECE * BOMB_PIECES)


def zip_of(members: list[Member]) -> bytes:
    """An archive of members, whatever they claim."""
    body, directory = b"", b""
    for one in members:
        fields = struct.pack("<HHHHHIIIHH", 20, one.flags, one.method, 0, 33, one.crc, len(one.packed), one.size,
                             len(one.name), 0)
        place = struct.pack("<HHHII", 0, 0, 0, 0, len(body))
        directory += b"PK\1\2" + struct.pack("<H", 20) + fields + place + one.name
        body += b"PK\3\4" + fields + one.name + one.packed
    end = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(directory), len(body), 0)
    return body + directory + b"PK\5\6" + end


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=False)
    return stream.getvalue()


def _header(fields: dict) -> bytes:
    text = repr(fields).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text
