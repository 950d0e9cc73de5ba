"""Files that others wrote for a window: FOLDER/SCENE/TOKEN.npz, named after the keyframe of its present."""

from __future__ import annotations

from pathlib import Path

from occflow.errors import InputError
from occflow.records import file_name


def window_file(folder: Path, scene: str, token: str) -> Path:
    """The file of a window whose present is keyframe `token` of a scene; whether it is there is another question.

    Raises:
        InputError: a scene or token that cannot be the name of a file.
    """
    try:
        return Path(folder) / file_name(scene) / file_name(f"{token}.npz")
    except ValueError as error:
        raise InputError(f"{folder}: no file can be there for a window of this store ({error}); rename it in the "
                         "log") from None
