"""The distance to the teacher: samples of any checkpoints against those of a teacher of many steps, kept on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from occflow.atomic import write_npz
from occflow.eval.distribution import Referee
from occflow.eval.ensemble import Future, ReferenceFutures
from occflow.eval.intervals import RESAMPLES, percentiles, scene_draws
from occflow.forecasting.forecast import Forecaster
from occflow.npz_file import UNSIGNED, WHOLE, open_npz
from occflow.occupancy.windows import Window

MOST_BYTES = 1 << 30  # of a window's samples; 16 futures of 6 frames have some 10 MB
SCORES = ("to_teacher", "beyond_floor", "diversity_ratio")
ENSEMBLE = ("energy", "diversity")


class KeptReferee(Referee):
    """A referee whose samples are files: FOLDER/SCENE-START.npz, one a window, of as many samples and one seed."""

    def __init__(self, forecaster: Forecaster, folder: Path) -> None:
        super().__init__(forecaster)
        self.folder = folder

    def futures(self, window: Window, samples: int, seed: int) -> ReferenceFutures:
        path = self.folder / f"{samples}-{seed}" / f"{window.key.scene}-{window.key.start}.npz"
        if not path.is_file():
            found = super().futures(window, samples, seed)
            write_futures(path, [*found.paired, *found.others])
        drawn = read_futures(path, window)
        return ReferenceFutures(drawn[:samples], drawn[samples:])


def write_futures(path: Path, futures: Sequence[Future]) -> None:
    """`flat` and `labels` [N] of all frames of all futures, which begin at `starts` [K F + 1]."""
    frames = [frame for future in futures for frame in future]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_npz(path, flat=np.concatenate([frame.flat for frame in frames]).astype(np.int64),
              labels=np.concatenate([frame.labels for frame in frames]),
              starts=np.cumsum([0, *(len(frame.flat) for frame in frames)]))


def read_futures(path: Path, window: Window) -> list[Future]:
    """What `write_futures` wrote, at the window's targets."""
    with open_npz(path, MOST_BYTES) as arrays:
        flat, labels = arrays.read("flat", WHOLE, (None,)), arrays.read("labels", UNSIGNED, (None,))
        starts = arrays.read("starts", WHOLE, (None,))
    parts = [slice(*pair) for pair in zip(starts[:-1], starts[1:])]
    count = len(window.truth)
    return [tuple(replace(true, flat=flat[part], labels=labels[part], observed=None, boxes=())
                  for part, true in zip(parts[k:k + count], window.truth)) for k in range(0, len(parts), count)]


def paired_difference(first: Mapping, second: Mapping, name: str, seed: int) -> tuple[float, float, float]:
    """`name` of the second row minus that of the first, a mean over windows, and its 95 % interval: the same scenes are
    drawn for both (`eval.intervals`); nan where there are fewer than two.

    Args:
        first, second: the rows' "scenes", as `eval.distribution.distances_by_scene` gives them.
    """
    scenes = [scene for scene in first if scene in second]
    weights = np.array([first[scene]["windows"] for scene in scenes], dtype=np.float64)
    gaps = weights * np.array([second[scene][name] - first[scene][name] for scene in scenes])
    if not len(scenes):
        return (float("nan"),) * 3
    draws = scene_draws(len(scenes), seed) if len(scenes) > 1 else np.full((RESAMPLES, 1), np.nan)
    low, high = percentiles((draws @ gaps) / (draws @ weights))
    return float(gaps.sum() / weights.sum()), float(low), float(high)
