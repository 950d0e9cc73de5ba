"""Predictions of somebody else, read from a folder and scored in place of a checkpoint (docs/scores.md).

FOLDER/SCENE/TOKEN.npz, one a window, named after the keyframe of its present: `semantics` [F, X, Y, Z] or, with K
samples, [K, F, X, Y, Z] uint8 in the Occ3D layout (classes 0..16, 17 free), each frame in its target's grid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.forecasting.forecast import Forecast
from occflow.grid import FREE, VoxelGrid
from occflow.npz_file import UNSIGNED, Header, open_npz
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.storage.forecast_file import OWN_NAMES
from occflow.occupancy.tasks import Task
from occflow.records import file_name, one_line

KEY = "semantics"
MAX_SAMPLES = 64
EGO = ("P", "H", "G", "H-extrapolated")  # predicted, history only, given; our guess from H (docs/scores.md)


class ImportedForecaster:
    """A folder of predictions as a forecaster; nothing is timed.

    Args:
        ego: what its makers were told of the ego future, one of EGO; the row says so.
    """

    nfe = 0

    def __init__(self, folder: Path, grid: VoxelGrid, ego: str, name: str | None = None) -> None:
        self.folder, self.grid, self.ego, self.name = Path(folder), grid, ego, name or Path(folder).name
        if not self.folder.is_dir():
            raise InputError(f"{self.folder}: no folder of predictions; name one with eval.predictions=[PATH]")
        if self.name in OWN_NAMES:
            raise InputError(f"eval.predictions: {folder}: '{self.name}' is no name for a forecast; give it another")
        if ego not in EGO:
            raise InputError(f"eval.predictions: {folder}: no ego setting '{ego}'; known: {', '.join(EGO)}")

    @classmethod
    def configured(cls, entry: str | Mapping, grid: VoxelGrid, ego: str) -> ImportedForecaster:
        """From an entry of eval.predictions: a folder, or {folder, name, ego}; `ego` where it names none.

        Raises:
            InputError: no such folder or ego setting, or an entry with other keys.
        """
        values = {"folder": entry} if isinstance(entry, str) else dict(entry)
        if "folder" not in values or not set(values) <= {"folder", "name", "ego"}:
            raise InputError(f"eval.predictions: {values} needs folder, and may have name and ego")
        return cls(Path(values["folder"]), grid, values.get("ego", ego), values.get("name"))

    def forecast(self, task: Task, seed: int) -> Forecast:
        return self.samples(task, [seed])[0]

    def samples(self, task: Task, seeds: list[int]) -> list[Forecast]:
        """As many of the file's samples as there are seeds, from its first on; they repeat where it has fewer."""
        path = window_file(self.folder, task.scene, task.present.token)
        volumes = read_prediction(path, (len(task.targets), *self.grid.shape))
        kept = [Forecast(tuple(OccupancyFrame.from_dense(volume, target.world_from_grid, target.stamp_s)
                               for volume, target in zip(one, task.targets))) for one in volumes[:len(seeds)]]
        return [kept[index % len(kept)] for index in range(len(seeds))]


def read_prediction(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Samples [K, F, X, Y, Z] uint8 of one window; shape and type are checked before anything is unpacked.

    Args:
        shape: (F, X, Y, Z) that is wanted.

    Raises:
        InputError: missing, broken, of another shape or type, too large, or with an unknown class.
    """
    try:
        with open_npz(path, MAX_SAMPLES * math.prod(shape)) as arrays:
            header = arrays.header(KEY)
            _check(path, header, shape)
            volumes = arrays.read(KEY, UNSIGNED, header.shape)
    except FileNotFoundError:
        raise InputError(f"{path}: no prediction of this window; write one a window, SCENE/TOKEN.npz") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a usable prediction ({one_line(error)}); wanted is uint8 {shape}, "
                         f"written with np.savez_compressed(path, {KEY}=classes)") from None
    if volumes.size and volumes.max() > FREE:
        raise InputError(f"{path}: {KEY} holds class {volumes.max()}; classes are 0..{FREE}, {FREE} is free")
    return volumes.reshape(-1, *shape)


def _check(path: Path, header: Header, shape: tuple[int, ...]) -> None:
    found = header.shape
    samples = found[0] if len(found) == 5 else 1
    if header.dtype != np.uint8 or found[-4:] != shape or len(found) not in (4, 5) or not 1 <= samples <= MAX_SAMPLES:
        raise InputError(f"{path}: {KEY} is {header.dtype} {one_line(str(found))}; wanted is uint8 {shape}, or up to "
                         f"{MAX_SAMPLES} samples of that")


def window_file(folder: Path, scene: str, token: str) -> Path:
    """FOLDER/SCENE/TOKEN.npz, what others wrote for a window whose present is keyframe TOKEN; it may not be there.

    Raises:
        InputError: a scene or token that cannot be the name of a file.
    """
    try:
        return Path(folder) / file_name(scene) / file_name(f"{token}.npz")
    except ValueError as error:
        raise InputError(f"{folder}: no file can be there for a window of this store ({error}); rename it in the "
                         "log") from None
