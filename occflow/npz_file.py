"""Arrays out of .npz files that may come from anybody: no pickles, and sizes are known before anything inflates.

What a file claims stands in three places: the archive's directory, each array's header, and what its entry inflates
to. An array is read only where all three agree, within the memory that the reader granted; the archive's CRC-32 then
tells whether the values are those that were written.
"""

from __future__ import annotations

import lzma
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from occflow.records import bounded, one_line

REAL, WHOLE, UNSIGNED, FLOATING, TEXT = "biuf", "iu", "u", "f", "U"  # kinds of numpy types
KIND_NAMES = {REAL: "real numbers", WHOLE: "whole numbers", UNSIGNED: "whole numbers from 0 on",
              FLOATING: "floating-point numbers", TEXT: "text"}
MAX_ENTRIES = 100_000
MAX_HEADER_BYTES = 4096  # of an array; numpy writes some 100
MAGIC = b"\x93NUMPY"
LENGTHS = {1: struct.Struct("<H"), 2: struct.Struct("<I"), 3: struct.Struct("<I")}  # of a header, by version
PLAIN_TYPE = re.compile(r"[<>|=]?[biufU]\d{1,9}")  # no objects, no records, no dates
# A header is a dictionary in Python's notation, of which so much is understood; nothing is evaluated.
VALUE = r"\"[^\"']*\"|'[^\"']*'|True|False|\((?: *\d+ *,)*(?: *\d+)? *\)"
FIELD = re.compile(rf"[\"'](\w+)[\"'] *: *({VALUE})")
BESIDE_FIELDS = re.compile(r"\{[ ,]*\}\s*")
STORING = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1
CHUNK_BYTES = 1 << 20
END, MANY = struct.Struct("<4s4H2IH"), 0xFFFF  # of an archive: its fifth field counts the entries, or MANY of them
_BROKEN = (OSError, KeyError, ValueError, TypeError, SyntaxError, EOFError, MemoryError, RecursionError, RuntimeError,
           OverflowError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, NotImplementedError)


@dataclass(frozen=True)
class Header:
    """What an array claims to be."""

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def require(self, kinds: str, shape: tuple[int | None, ...]) -> None:
        """Raise ValueError unless the type is one of `kinds` and the shape is this one; None is any length."""
        fits = len(self.shape) == len(shape) and all(want in (None, have) for want, have in zip(shape, self.shape))
        if self.dtype.kind not in kinds or not fits:
            wanted = ", ".join("any" if length is None else str(length) for length in shape)
            raise ValueError(f"has shape {self.shape} and type {self.dtype}, not ({wanted}) {KIND_NAMES[kinds]}")


class NpzFile:
    """The arrays of an open archive; `open_npz` opens one.

    Args:
        most_bytes: memory that all arrays read together may take.
    """

    def __init__(self, archive: zipfile.ZipFile, most_bytes: int) -> None:
        self._archive, self._left = archive, most_bytes
        bounded(len(archive.infolist()), MAX_ENTRIES, "number of arrays")
        for entry in archive.infolist():  # an array whose name was damaged in the directory is not one that is absent
            if not entry.flag_bits & ENCRYPTED and entry.compress_type in STORING:
                archive.open(entry).close()
        entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
        self._entries = {entry.filename.removesuffix(".npy"): entry for entry in entries}
        if len(self._entries) != len(entries):
            raise ValueError("two arrays have one name")

    @property
    def names(self) -> list[str]:
        return list(self._entries)

    def header(self, name: str) -> Header:
        """What an array claims to be; nothing more is read.

        Raises:
            ValueError: no such array, or none that can be read here.
        """
        with self._entry(name) as stream:
            return _header(stream)

    def read(self, name: str, kinds: str = REAL, shape: tuple[int | None, ...] | None = None) -> np.ndarray:
        """An array, of a type that is one of `kinds` (see KIND_NAMES) and, where given, of a shape; None in it is any.

        Raises:
            ValueError: no such array, a broken one, one of another type or shape, or one too large.
        """
        with self._entry(name) as stream:
            inflated = self._entries[name].file_size
            if inflated > self._left + MAX_HEADER_BYTES:
                raise ValueError(f"would inflate beyond {self._left} bytes")
            header = _header(stream)
            header.require(kinds, header.shape if shape is None else shape)
            size = header.nbytes
            if stream.tell() + size != inflated:
                raise ValueError("its size in the archive is not that of its shape")
            self._left -= size
            values = _filled(stream, size).view(header.dtype)
            return values.reshape(header.shape, order="F" if header.fortran else "C")

    @contextmanager
    def _entry(self, name: str) -> Iterator[IO[bytes]]:
        if name not in self._entries:
            raise ValueError(f"no array {name!r}")
        entry = self._entries[name]
        try:
            if entry.flag_bits & ENCRYPTED:
                raise ValueError("is encrypted")
            if entry.compress_type not in STORING:
                raise ValueError("is compressed in a way that numpy does not write")
            with self._archive.open(entry) as stream:
                yield stream
        except _BROKEN as error:
            raise ValueError(f"{name}: {one_line(error)}") from None


@contextmanager
def open_npz(path: Path, most_bytes: int) -> Iterator[NpzFile]:
    """The arrays of an .npz file, of which `most_bytes` may be read in all.

    Raises:
        OSError: no such file, or none that may be read.
        ValueError: no archive; and see NpzFile.
    """
    with Path(path).open("rb") as stream:
        try:
            archive = zipfile.ZipFile(stream)
            _refuse_lost_entries(archive, stream)
            arrays = NpzFile(archive, most_bytes)
        except _BROKEN as error:
            raise ValueError(one_line(error)) from None
        with archive:
            yield arrays


def _refuse_lost_entries(archive: zipfile.ZipFile, stream: IO[bytes]) -> None:
    """Raises ValueError where the directory has not as many entries as its end says: one length in it that was damaged
    hides those that follow."""
    stream.seek(-END.size - len(archive.comment), os.SEEK_END)
    count = END.unpack(stream.read(END.size))[4]
    if count not in (len(archive.infolist()), MANY):
        raise ValueError(f"its directory has {len(archive.infolist())} entries and says {count}")


def _header(stream: IO[bytes]) -> Header:
    """The header at the start of an array's entry (numpy.lib.format)."""
    start = stream.read(len(MAGIC) + 2)
    length = LENGTHS.get(start[-2]) if len(start) == len(MAGIC) + 2 and start.startswith(MAGIC) else None
    if length is None:
        raise ValueError("is no .npy array")
    size = bounded(length.unpack(stream.read(length.size))[0], MAX_HEADER_BYTES, "header")
    text = stream.read(size).decode("latin-1")
    fields = dict(FIELD.findall(text))
    if len(text) != size or not BESIDE_FIELDS.fullmatch(FIELD.sub("", text)) or not (
            set(fields) == {"descr", "fortran_order", "shape"} and fields["shape"].startswith("(")):
        raise ValueError("its header is broken")
    kind = fields["descr"][1:-1]
    if not PLAIN_TYPE.fullmatch(kind) or np.dtype(kind).itemsize == 0:
        raise ValueError(f"has values of type {one_line(repr(kind))}, not real numbers or text")
    shape = tuple(map(int, re.findall(r"\d+", fields["shape"])))
    return Header(np.dtype(kind), shape, fields["fortran_order"] == "True")


def _filled(stream: IO[bytes], size: int) -> np.ndarray:
    """The next `size` bytes of a stream, [size] uint8; their checksum is compared by the archive at their end."""
    values, filled = np.empty(size, dtype=np.uint8), 0
    while filled < size:
        chunk = stream.read(min(CHUNK_BYTES, size - filled))
        if not chunk:
            raise EOFError("ends early")
        values[filled:filled + len(chunk)] = np.frombuffer(chunk, np.uint8)
        filled += len(chunk)
    return values
