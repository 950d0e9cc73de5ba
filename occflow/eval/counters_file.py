"""counters.npz: the counters of every row and scene of a report, with which reports are compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from occflow.atomic import write_npz
from occflow.errors import InputError
from occflow.eval.iou import NUM_LABELS
from occflow.npz_file import TEXT, WHOLE, open_npz
from occflow.records import bounded, one_line

COUNTERS = "counters.npz"
MOST_BYTES = 256 << 20  # of the arrays; ten rows of 150 scenes have 12 MB
MAX_SCENES = 10_000  # each is drawn a thousand times
MAX_COUNT = 1 << 48  # of voxels: the sums over all scenes and draws stay whole numbers


def write_counters(run_dir: Path, scenes: list[str], confusion: dict[str, np.ndarray]) -> None:
    """RUN_DIR/counters.npz: `scenes` [S], `names` [N] of the rows, `confusion` [N, S, F, 18, 18] int64."""
    arrays = np.stack(list(confusion.values())) if confusion else np.zeros(0, np.int64)
    write_npz(Path(run_dir) / COUNTERS, scenes=np.array(scenes, dtype=np.str_),
              names=np.array(list(confusion), dtype=np.str_), confusion=arrays)


def read_counters(run_dir: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    """Scenes, and the counters [S, F, 18, 18] of each row; nothing where there is no such file.

    Raises:
        InputError: not a file of counters.
    """
    path = Path(run_dir) / COUNTERS
    if not path.is_file():
        return [], {}
    try:
        with open_npz(path, MOST_BYTES) as arrays:
            scenes, names = (arrays.read(name, TEXT, (None,)).tolist() for name in ("scenes", "names"))
            shape = (len(names), len(scenes), None, NUM_LABELS, NUM_LABELS) if names else (0,)
            confusion = arrays.read("confusion", WHOLE, shape)
        bounded(len(scenes), MAX_SCENES, "number of scenes")
        if confusion.size and not (0 <= confusion.min() and confusion.max() <= MAX_COUNT):
            raise ValueError(f"counters beyond 0 to {MAX_COUNT}")
        if len(set(names)) != len(names) or len(set(scenes)) != len(scenes):
            raise ValueError("two rows or scenes have one name")
        return scenes, dict(zip(names, confusion.astype(np.int64)))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: counters cannot be read ({one_line(error)}); evaluate again") from None
