"""Names that come from files (of scenes, forecasts, objects) made fit for paths and topics."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from occflow.errors import InputError
from occflow.records import file_name
from occflow.viewing.film import Film

UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")
MAX_LENGTH = 100  # characters


def film_path(folder: Path, film: Film, suffix: str, prefix: str = "") -> Path:
    """FOLDER/[PREFIX]SCENE.ORIGIN.SUFFIX, where ORIGIN tells files of a run from those of a store.

    Raises:
        InputError: a scene whose name cannot be that of a file.
    """
    try:
        return Path(folder) / file_name(f"{prefix}{file_name(film.scene)}.{film.origin}.{suffix}")
    except ValueError as error:
        raise InputError(f"scene {error}; nothing is written under such a name: rename the scene in the log") from None


def plain_names(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """For each name one of letters, digits, "_", "-" and "." that no other has, as alike as can be; none of `taken`."""
    used, found = set(taken), {}
    for name in names:
        stem = UNFIT.sub("_", name)[:MAX_LENGTH].lstrip(".") or "_"
        plain, number = stem, 2
        while plain in used:
            plain, number = f"{stem}-{number}", number + 1
        used.add(plain)
        found[name] = plain
    return found
