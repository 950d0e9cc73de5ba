"""Arrays out of .npz files that others have made: without pickles, and refused before they inflate."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import IO

import numpy as np

from occflow.errors import InputError

HEADER_BYTES = 4096  # a .npy header is far shorter
REAL_KINDS = "biuf"  # of numpy types: anything else is no volume, mask or pose
BROKEN = (OSError, KeyError, ValueError, TypeError, SyntaxError, EOFError, MemoryError, RuntimeError,
          OverflowError, zipfile.BadZipFile, zlib.error, struct.error, TokenError, NotImplementedError)


def read_volume(path: Path, name: str, shape: tuple[int, ...], optional: bool = False) -> np.ndarray | None:
    """Array `name` [shape] of real numbers of an .npz file; None where it is optional and absent.

    Raises:
        InputError: a missing or broken file, an array of another shape, of something else than finite real numbers,
            or an entry larger than eight bytes a value.
    """
    if not path.is_file():
        raise InputError(f"{path}: missing file; unpack the data set again")
    try:
        with zipfile.ZipFile(path) as archive:
            if optional and f"{name}.npy" not in archive.namelist():
                return None
            if archive.getinfo(f"{name}.npy").file_size > 8 * int(np.prod(shape)) + HEADER_BYTES:
                raise InputError(f"{path}: {name} would inflate beyond {shape}; not a file of this data set, remove it")
            with archive.open(f"{name}.npy") as entry:
                claimed, kind = _header(entry)
        if claimed != shape or kind not in REAL_KINDS:
            raise InputError(f"{path}: {name} has shape {claimed} and type '{kind}', not {shape} real numbers; not a "
                             "file of this data set")
        with np.load(path, allow_pickle=False) as arrays:
            values = arrays[name]
        if not np.isfinite(values).all():
            raise InputError(f"{path}: {name} is not finite; copy the file again")
        return values
    except BROKEN as error:
        raise InputError(f"{path}: cannot read {name} ({' '.join(str(error).split())}); copy the file again") from None


def _header(entry: IO[bytes]) -> tuple[tuple[int, ...], str]:
    """Shape and kind of type that an .npy file claims: memory for them would be taken before its length is seen."""
    version = np.lib.format.read_magic(entry)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(entry)
    return shape, dtype.kind
