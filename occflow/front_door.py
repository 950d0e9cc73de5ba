"""The front door for Python: from a driving log to forecasts in a few lines (docs/python.md).

    import occflow
    forecaster = occflow.load("student")
    store = occflow.build(occflow.open_log("path/to/nuscenes"), "path/to/store")
    task = store.task(store.scenes()[0], present=12)
    futures = forecaster.samples(task, seeds=range(8))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.forecasting.checkpoint import load_perception
from occflow.forecasting.forecast import Forecast
from occflow.forecasting.planned_path import Footprint, PlannedPath
from occflow.forecasting.risk import LEVEL, Risk, path_risk
from occflow.forecasting.rows import LoadedForecaster, load_any
from occflow.grid import VoxelGrid
from occflow.jobs.sources import configured_device
from occflow.logs import open as log_readers
from occflow.logs.protocol import DrivingLog
from occflow.occupancy.building.build import build_store
from occflow.occupancy.frame import FrameInGrid, OccupancyFrame
from occflow.occupancy.settings import DEMO_GRID, OccupancySettings
from occflow.occupancy.storage.forecast_file import ForecastRecord
from occflow.occupancy.storage.remote import is_url
from occflow.occupancy.storage.store import OccupancyStore
from occflow.occupancy.tasks import Task
from occflow.perception.perceive import PerceivedFrames
from occflow.resources import pretrained_folder
from occflow.viewing.film import Marginal, film_of_record, marginal
from occflow.viewing.headless import has_display

OWN_NAMES = ("student", "teacher")  # of the checkpoints that come with the project
SHOWN_FUTURES = 3  # columns of a picture
PICTURE = "forecast.png"
PANEL_PX = (480, 360)


def load(checkpoint: str | Path, device: str = "auto", steps: int | None = None) -> LoadedForecaster:
    """A forecaster of a student's, teacher's or regression twin's checkpoint, which brings its own networks.

    Args:
        checkpoint: "student" or "teacher", which come with the project, or the path of a .safetensors file.
        device: auto (CUDA where there is one), cpu, cuda or cuda:N.
        steps: of the flow; None: one of a student, 10 of a teacher.

    Raises:
        InputError: no such checkpoint, one that is broken or of another kind, or no such device.
    """
    path = pretrained_folder() / f"{checkpoint}.safetensors" if checkpoint in OWN_NAMES else Path(checkpoint)
    if not path.expanduser().is_file() and checkpoint not in OWN_NAMES:
        raise InputError(f"{path}: no such checkpoint file; name one, or of those that come with the project "
                         f"{' or '.join(OWN_NAMES)}")
    return load_any(path.expanduser(), configured_device({"device": device}), steps)


def open_log(path: str | Path, kind: str | None = None, version: str | None = None) -> DrivingLog:
    """A driving log.

    Args:
        path: its folder.
        kind: nuscenes, folder, rosbag, argoverse2, kitti_raw, ... (docs/readers.md); None: guessed from what is there.
        version: of a log in the nuScenes schema, the name of its table folder; None: the only one there.

    Raises:
        InputError: no log, one that cannot be read, or one whose kind or version cannot be told.
    """
    return log_readers.open_log(log_readers.described_log(path, kind, version))


def build(log: DrivingLog, path: str | Path, grid: VoxelGrid = DEMO_GRID, settings: OccupancySettings | None = None,
          workers: int = 1) -> OccupancyStore:
    """The occupancy of all scenes of a log, built into a folder; where that is finished already, it is opened.

    Args:
        grid: of every frame, in the ego frame; by default that of the checkpoints that come with the project,
            80 x 80 x 6.4 m in voxels of 0.8 m.
        settings: how sweeps become occupancy; by default those of the embedded demo.
        workers: processes; more than one only in a program whose start is guarded by __name__ == "__main__".

    Raises:
        InputError: bad data, or a folder that holds something else.
    """
    return build_store(log, grid, settings or OccupancySettings(), Path(path).expanduser(), workers)


def open_store(path: str | Path) -> OccupancyStore:
    """A store that was built before.

    Raises:
        InputError: no store, an unfinished or a broken one.
    """
    return OccupancyStore.open(path if is_url(path) else Path(path).expanduser())


def perceiver(checkpoint: str | Path = "perception", device: str = "auto", anew: bool = True) -> PerceivedFrames:
    """What makes labelled, completed occupancy of what a car's sweeps have shown until an instant: for
    `store.task(..., input_kind="lidar", perceive=occflow.perceiver())`.

    Args:
        checkpoint: "perception", which comes with the project, or the path of a .safetensors file.
        device: as in `load`.
        anew: a task's present is also perceived in every grid that a forecast is asked for, for as many times the work,
            and better forecasts.

    Raises:
        InputError: no such checkpoint, one that is broken or of another kind, or no such device.
    """
    own = pretrained_folder() / "perception.safetensors"
    network = load_perception(own if checkpoint == "perception" else Path(checkpoint).expanduser(),
                              configured_device({"device": device}))
    return PerceivedFrames(lambda: network, anew)


@dataclass(frozen=True)
class Probability(Marginal):
    """How probably each voxel is occupied at one instant: the share of sampled futures that fill it.

    Voxels that none of them fills are not listed: their probability is 0.

    Args:
        grid: what `flat` counts the voxels of.
        world_from_grid: pose [4, 4] of the grid at that instant.
        stamp_s: time, seconds.
    """

    grid: VoxelGrid
    world_from_grid: np.ndarray
    stamp_s: float

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """Centres [N, 3] of the listed voxels, metres, in the grid's frame, and their probabilities [N]."""
        return self.grid.centres(self.grid.unflatten(self.flat)), self.probability

    def dense(self) -> np.ndarray:
        """Probabilities [X, Y, Z] float64 of all voxels."""
        volume = np.zeros(self.grid.num_voxels)
        volume[self.flat] = self.probability
        return volume.reshape(self.grid.shape)


def probability(futures: Sequence[Forecast]) -> tuple[Probability, ...]:
    """Of K >= 1 sampled futures of one task, for each of its F instants how probably each voxel is occupied.

    Raises:
        InputError: no future, or futures of different tasks.
    """
    instants = list(zip(*(future.frames for future in _of_one_task(futures))))
    return tuple(_probability_at(frames) for frames in instants)


def planned_path(task: Task, places: np.ndarray | Sequence, seconds: np.ndarray | Sequence) -> PlannedPath:
    """A path that was planned in the frame of the present: x forward, y left of the vehicle as it stands now.

    Args:
        places: x, y (metres) and heading (radians) [T, 3]; or poses [T, 4, 4].
        seconds: [T] after the present.

    Raises:
        InputError: what is no path, or a place or time that is not finite.
    """
    return PlannedPath.from_present(task.present, places, seconds)


def risk(path: PlannedPath, futures: Sequence[Forecast], footprint: Footprint | None = None,
         history: Sequence[OccupancyFrame] = (), level: float = LEVEL) -> Risk:
    """How probably a planned path strikes something, by instant and as a whole, by what, and how sure that is
    (docs/risk.md).

    Args:
        futures: K >= 1 samples of one task; of a single forecast every probability is 0 or 1.
        footprint: of the vehicle; None: a car of 4.7 x 1.9 m whose poses are of the rear axle.
        history: `task.history`: tells what was never observed, and what is there before the first frame.
        level: of the intervals.

    Raises:
        InputError: no future, or futures of different tasks.
    """
    futures = _of_one_task(futures)
    return path_risk(path, [one.frames for one in futures], futures[0].frames[0].grid, footprint, history, level)


def show(task: Task, futures: Forecast | Sequence[Forecast], picture: str | Path | None = None,
         camera: str = "chase", centre: Forecast | None = None) -> Path | None:
    """Look at a task and its futures: in a window until that is closed, or without a display as a picture.

    The window shows the history and the futures, and colours voxels by probability on D. The picture has the history,
    the first futures and the share of all of them that fills each voxel in columns, at the first, middle and last
    instant of the task in rows.

    Args:
        picture: draw a PNG there, also where there is a display, or write a page for a browser where the name ends in
            .html; None: forecast.png in the working directory where there is no display.
        camera: chase, low, corner, birds_eye or front.
        centre: the one forecast of the task, shown before the futures.

    Returns:
        the picture, whose path is also printed; None after a window.

    Raises:
        InputError: no future, futures of different tasks, no such camera, or Open3D is missing.
    """
    futures = [futures] if isinstance(futures, Forecast) else list(futures)
    shown = _of_one_task(futures if centre is None else [centre, *futures])
    record = _record(task, futures, centre)
    seconds = [record.seconds(frame) for frame in shown[0].frames]
    if picture is None and has_display():
        from occflow.viewing.player import play

        view = {"camera": camera, "frames_per_second": len(seconds) / seconds[-1]}
        play(lambda number: film_of_record(record), view, Path("screenshots"))
        return None
    path = Path(picture or PICTURE).expanduser()
    if path.suffix == ".html":
        from occflow.viewing.page import window_of_film, write_page

        write_page(path, record.grid, record.scene, [window_of_film(film_of_record(record), record.scene)])
    else:
        from occflow.viewing.pictures import render_sheet

        times_s = sorted({seconds[0], seconds[len(seconds) // 2], seconds[-1]})
        render_sheet(record, {"camera": camera, "times_s": times_s, "panel_px": PANEL_PX}, path)
    print(f"wrote {path}", flush=True)
    return path


def _of_one_task(futures: Sequence[Forecast]) -> list[Forecast]:
    """The futures, whose frames know their grid and lie at the same instants."""
    futures = list(futures)
    if not futures or not all(isinstance(frame, FrameInGrid) for future in futures for frame in future.frames):
        raise InputError("no futures that know their grid; give those of occflow.load(...).samples(task, seeds)")
    placed = {tuple((frame.stamp_s, frame.world_from_grid.tobytes(), frame.grid) for frame in future.frames)
              for future in futures}
    if len(placed) > 1:
        raise InputError("futures of different tasks; give those of one call of samples(task, seeds)")
    return futures


def _probability_at(frames: Sequence[FrameInGrid]) -> Probability:
    share, first = marginal(frames), frames[0]
    return Probability(share.flat, share.labels, share.probability, first.grid, first.world_from_grid, first.stamp_s)


def _record(task: Task, futures: list[Forecast], centre: Forecast | None) -> ForecastRecord:
    """What viewing draws; the futures go with each shown forecast, as its probabilities."""
    shown = {} if centre is None else {"centre": centre.frames}
    shown |= {f"future {number}": one.frames for number, one in enumerate(futures[:SHOWN_FUTURES], start=1)}
    samples, grid = tuple(one.frames for one in futures), next(iter(shown.values()))[0].grid
    return ForecastRecord(grid, task.history, (), shown, task.scene or "a task",
                          {name: samples for name in shown if samples})
