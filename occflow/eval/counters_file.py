"""counters.npz: the counters of every row and scene of a report, with which reports are compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from occflow.atomic import atomic_file
from occflow.errors import InputError

COUNTERS = "counters.npz"


def write_counters(run_dir: Path, scenes: list[str], confusion: dict[str, np.ndarray]) -> None:
    """RUN_DIR/counters.npz: `scenes` [S], `names` [N] of the rows, `confusion` [N, S, F, 18, 18] int64."""
    with atomic_file(Path(run_dir) / COUNTERS) as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, scenes=np.array(scenes, dtype=np.str_), names=np.array(list(confusion), np.str_),
                            confusion=np.stack(list(confusion.values())) if confusion else np.zeros(0, np.int64))


def read_counters(run_dir: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    """Scenes, and the counters [S, F, 18, 18] of each row; nothing where there is no such file.

    Raises:
        InputError: not a file of counters.
    """
    path = Path(run_dir) / COUNTERS
    if not path.is_file():
        return [], {}
    try:
        with np.load(path, allow_pickle=False) as stored:
            scenes, names, confusion = (stored[name] for name in ("scenes", "names", "confusion"))
        if len(names) and confusion.shape[:2] != (len(names), len(scenes)):
            raise ValueError("its arrays do not agree")
        return [str(scene) for scene in scenes], {str(name): one for name, one in zip(names, confusion)}
    except Exception as error:  # a zip file breaks in many ways
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: counters cannot be read ({reason}); evaluate again") from None
