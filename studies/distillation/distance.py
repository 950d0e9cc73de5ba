"""The distance to the teacher: samples of any checkpoints against those of a teacher of many steps, kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from occflow.atomic import write_npz
from occflow.eval.distribution import Referee
from occflow.eval.ensemble import Future, ReferenceFutures
from occflow.forecasting.forecast import Forecaster
from occflow.npz_file import UNSIGNED, WHOLE, open_npz
from occflow.occupancy.windows import Window

MOST_BYTES = 1 << 30  # of a window's samples; 16 futures of 6 frames have some 10 MB


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
