"""Predictions of somebody else, read from a folder (storage/prediction_file.py) and scored in place of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from occflow.errors import InputError
from occflow.forecasting.forecast import Forecast
from occflow.grid import VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.storage.forecast_file import OWN_NAMES
from occflow.occupancy.storage.prediction_file import read_prediction, window_file
from occflow.occupancy.tasks import Task

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
