"""The forecasts of every scored window in a folder, for other programs, for scores and for exports
(docs/predictions.md):

predictions/ROW/SCENE/TOKEN.npz         one a window, as eval.predictions reads them (prediction_file.py)
occ3d/ROW/+1.0s/SCENE/TOKEN/labels.npz  one a keyframe and step of the horizon: what was said of it so long before
occ3d/truth/SCENE/TOKEN/labels.npz      what these are held against
windows.jsonl                           a window a line: keyframes, times and grid poses
about.json                              grid, classes, rows and how they were made
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from typing_extensions import TypedDict

from occflow.atomic import write_json
from occflow.errors import InputError
from occflow.grid import CLASS_NAMES, FREE, OCC3D_GRID, VoxelGrid
from occflow.occupancy.frame import Frames, OccupancyFrame
from occflow.occupancy.storage.forecast_file import GridRecord
from occflow.occupancy.storage.prediction_file import (
    labels_file,
    read_prediction,
    window_file,
    write_labels,
    write_prediction,
)
from occflow.occupancy.windows import Window
from occflow.records import bounded, file_name, one_line, read_json

FORMAT = "occflow-saved-1"
ABOUT, WINDOWS, TRUTH = "about.json", "windows.jsonl", "truth"
SAVES = (SHOWN, ALL) = ("shown", "all")  # what is kept of an evaluation: one window, or all of them
SAVE_FORMATS = (PREDICTIONS, OCC3D) = ("predictions", "occ3d")
LAYOUT = ("uint8 [x, y, z], x forward, y left, z up in the frame of the window's target (the ego's, of data.grid_pose="
          "ego); the middle of voxel (i, j, k) is at origin_m + (i + 0.5, j + 0.5, k + 0.5) * voxel_size_m there")
MAX_FRAMES, MAX_ROWS, MAX_INTERVAL_S = 1000, 1000, 3600.0


class RowRecord(TypedDict):
    """Of one forecaster: network evaluations of the flow a forecast, and samples of each window (1: its forecast)."""

    nfe: int
    samples: int


class About(TypedDict):
    """about.json. `store` is where the occupancy store lay that the windows are of."""

    format: str
    grid: GridRecord
    occ3d_grid: bool
    layout: str
    classes: list[str]
    free: int
    history: int
    horizon: int
    frame_interval_s: float
    grid_pose: str
    input: str
    ego: str
    seed: int
    log: str
    store: str
    rows: dict[str, RowRecord]


def step_name(step: int, interval_s: float) -> str:
    """How far ahead the frame of a horizon is, counted from 0, as a folder is called: "+0.5s", "+1.0s"."""
    return f"+{(step + 1) * interval_s:.{1 if (10 * interval_s) % 1 < 1e-6 else 3}f}s"


class ForecastWriter:
    """Writes windows below a folder that is being made; what it writes is whole once `finish` was called.

    Args:
        about: with rows whose names `refuse_unfit_row` let pass.
        formats: of SAVE_FORMATS.
    """

    def __init__(self, folder: Path, grid: VoxelGrid, about: About, formats: Sequence[str]) -> None:
        self.folder, self.grid, self.about, self.formats = Path(folder), grid, about, tuple(formats)

    def add(self, window: Window, forecasts: Mapping[str, Sequence[Frames]]) -> None:
        """Write what the rows say of a window, by their names: one future each, or their samples.

        Raises:
            InputError: a scene or a keyframe that cannot be the name of a file.
        """
        scene = window.key.scene
        if PREDICTIONS in self.formats:
            for name, futures in forecasts.items():
                path = window_file(self.folder / PREDICTIONS / name, scene, window.present.token)
                write_prediction(path, self.grid, futures)
        if OCC3D in self.formats:
            for step, truth in enumerate(window.truth):
                self._add_labels(self.folder / OCC3D / TRUTH, scene, truth.token, truth)
                ahead = step_name(step, self.about["frame_interval_s"])
                for name, futures in forecasts.items():
                    self._add_labels(self.folder / OCC3D / name / ahead, scene, truth.token, futures[0][step])
        self._note(window)

    def finish(self) -> None:
        """Have everything on the disk."""
        os.sync()  # one for all of them: a file at a time takes an hour of a benchmark
        write_json(self.folder / ABOUT, dict(self.about))

    def _add_labels(self, tree: Path, scene: str, token: str, frame: OccupancyFrame) -> None:
        path = labels_file(tree, scene, token)
        if not path.exists():  # windows overlap: a keyframe is the truth of several
            write_labels(path, self.grid, frame)

    def _note(self, window: Window) -> None:
        targets = [{"token": frame.token, "stamp_s": target.stamp_s,
                    "world_from_grid": np.asarray(target.world_from_grid).tolist()}
                   for frame, target in zip(window.truth, window.task.targets)]
        present = {"token": window.present.token, "stamp_s": window.present.stamp_s,
                   "world_from_grid": window.present.world_from_grid.tolist()}
        with (self.folder / WINDOWS).open("a") as stream:
            stream.write(json.dumps({"scene": window.key.scene, "present": present, "targets": targets}) + "\n")


class SavedForecasts:
    """Read access to such a folder.

    Attributes:
        grid: of every frame.
        about: what about.json says.

    Raises:
        InputError: no such folder, or a record that is broken or of another format.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        path = self.folder / ABOUT
        self.about = read_json(path, About, "evaluate again with eval.save=all")
        try:
            if self.about["format"] != FORMAT:
                raise ValueError(f"format '{self.about['format']}', this occflow reads '{FORMAT}'")
            bounded(self.about["horizon"], MAX_FRAMES, "horizon", least=1)
            bounded(self.about["frame_interval_s"], MAX_INTERVAL_S, "frame_interval_s", least=1e-6)
            bounded(len(self.about["rows"]), MAX_ROWS, "number of rows")
            for name in self.about["rows"]:
                file_name(name)
            self.grid = VoxelGrid.from_dict(self.about["grid"])
        except (ValueError, InputError) as error:
            raise InputError(f"{path}: broken record ({one_line(error)}); evaluate again with eval.save=all") from None

    def has_any(self, row: str, scene: str) -> bool:
        """Whether there is any forecast of a scene."""
        return (self.folder / PREDICTIONS / row / scene).is_dir()

    def has(self, row: str, scene: str, token: str) -> bool:
        """Whether there is a forecast of the window whose present is keyframe `token`."""
        return window_file(self.folder / PREDICTIONS / row, scene, token).is_file()

    def futures(self, row: str, scene: str, token: str, targets: Sequence[OccupancyFrame]) -> list[Frames]:
        """The K futures that a row says of a window, at the poses, times and names of the F frames that came.

        Raises:
            InputError: no such file, or a broken one.
        """
        path = window_file(self.folder / PREDICTIONS / row, scene, token)
        volumes = read_prediction(path, (self.about["horizon"], *self.grid.shape))
        return [tuple(OccupancyFrame.from_dense(volume, target.world_from_grid, target.stamp_s, target.token)
                      for volume, target in zip(one, targets)) for one in volumes]


def refuse_unfit_row(name: str) -> None:
    """Raises InputError where a row cannot be the name of a folder beside the truth's."""
    try:
        if file_name(name) == TRUTH:
            raise ValueError(f"'{TRUTH}' is that of the truth")
    except ValueError as error:
        raise InputError(f"eval.save: no folder can be called like a row ({error}); name it otherwise in "
                         "eval.predictions, or rename its checkpoint") from None


def about_of(grid: VoxelGrid, rows: dict[str, RowRecord], **values: object) -> About:
    """The record of a folder: what is the same in all of them, and `values`, the fields that are not."""
    return {"format": FORMAT, "grid": grid.to_dict(), "occ3d_grid": grid == OCC3D_GRID, "layout": LAYOUT,
            "classes": list(CLASS_NAMES), "free": FREE, **values, "rows": rows}
