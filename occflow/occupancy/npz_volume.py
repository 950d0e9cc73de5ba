"""Volumes out of .npz files that others have made: without pickles, and refused before they inflate."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from occflow.errors import InputError

HEADER_BYTES = 4096  # a .npy header is far shorter


def read_volume(path: Path, name: str, shape: tuple[int, ...], optional: bool = False) -> np.ndarray | None:
    """Array `name` [shape] of an .npz file; None where it is optional and absent.

    Raises:
        InputError: a missing or broken file, an array of another shape, or an entry larger than eight bytes a value.
    """
    if not path.is_file():
        raise InputError(f"{path}: missing file; unpack the data set again")
    try:
        with zipfile.ZipFile(path) as archive:
            if optional and f"{name}.npy" not in archive.namelist():
                return None
            if archive.getinfo(f"{name}.npy").file_size > 8 * int(np.prod(shape)) + HEADER_BYTES:
                raise InputError(f"{path}: {name} would inflate beyond {shape}; not a file of this data set, remove it")
        with np.load(path, allow_pickle=False) as arrays:
            volume = arrays[name]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise InputError(f"{path}: cannot read {name} ({' '.join(str(error).split())}); copy the file again") from None
    if volume.shape != shape:
        raise InputError(f"{path}: {name} has shape {volume.shape}, not {shape}; not a file of this data set")
    return volume
