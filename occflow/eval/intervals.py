"""Confidence intervals: scenes drawn anew (bootstrap), since windows of one scene say nearly the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from occflow.atomic import atomic_file
from occflow.errors import InputError
from occflow.eval.iou import NUM_LABELS, IoUCounts
from occflow.eval.numbers import numbers
from occflow.eval.protocols import Protocol

RESAMPLES = 1000
PERCENT = (2.5, 97.5)
COUNTERS = "counters.npz"


def resampled_scores(confusion: np.ndarray, protocol: Protocol, seed: int) -> dict[str, np.ndarray]:
    """Scores [RESAMPLES, F] of as many scenes drawn with replacement; the same draw for the same seed and scenes.

    Args:
        confusion: [S, F, 18, 18] int64, the counters of each scene.
    """
    scenes, frames = confusion.shape[:2]
    weights = np.random.default_rng(seed).multinomial(scenes, np.full(scenes, 1 / scenes), RESAMPLES)
    sums = weights.astype(np.float64) @ confusion.reshape(scenes, -1)  # whole numbers, exact up to 2^53
    counts = IoUCounts(RESAMPLES * frames)
    counts.confusion = sums.astype(np.int64).reshape(-1, NUM_LABELS, NUM_LABELS)
    return {name: values.reshape(RESAMPLES, frames) for name, values in protocol.scores(counts).items()}


def intervals(confusion: np.ndarray, protocol: Protocol, seed: int) -> dict[str, list[list[float | None]]]:
    """95 % intervals {score: [[low, high] a frame]}; null where fewer than two scenes say something."""
    if len(confusion) < 2:
        return {name: [[None, None]] * confusion.shape[1] for name in protocol.scores(IoUCounts(1))}
    return {name: [numbers(percentiles(column)) for column in values.T]
            for name, values in resampled_scores(confusion, protocol, seed).items()}


def percentiles(values: np.ndarray) -> np.ndarray:
    """[low, high] of the values that are not nan; nan without any."""
    known = values[~np.isnan(values)]
    return np.percentile(known, PERCENT) if len(known) else np.full(2, np.nan)


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
