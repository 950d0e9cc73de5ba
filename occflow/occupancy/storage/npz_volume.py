"""Volumes, masks and poses of data sets that others have made: one array of a known shape out of an .npz file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.npz_file import REAL, open_npz

WIDEST = 8  # bytes a value


def read_volume(path: Path, name: str, shape: tuple[int, ...], optional: bool = False) -> np.ndarray | None:
    """Array `name` [shape] of real numbers of an .npz file; None where it is optional and absent.

    Raises:
        InputError: a missing or broken file, an array of another shape, of something else than finite real numbers,
            or an entry larger than eight bytes a value.
    """
    if not path.is_file():
        raise InputError(f"{path}: missing file; unpack the data set again")
    try:
        with open_npz(path, WIDEST * math.prod(shape)) as arrays:
            if optional and name not in arrays.names:
                return None
            values = arrays.read(name, REAL, shape)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot read {name} ({error}); it is no file of this data set, or was not copied "
                         "whole") from None
    if not np.isfinite(values).all():
        raise InputError(f"{path}: {name} is not finite; copy the file again")
    return values
