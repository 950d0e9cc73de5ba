"""Files that occflow writes and reads again: stores, forecasts, reports, predictions, branching futures.

The archives have a checksum of every array and none of the whole: where it is made anew (`npz`), nothing can tell.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from fuzzing.judging import Kind
from small_forecaster import GRID, street_frame
from small_sightings import sighting_of

from occflow.eval.branching import read_branch_file
from occflow.eval.compare import compare_reports
from occflow.eval.evaluate import ForecasterScores
from occflow.eval.iou import IoUCounts
from occflow.eval.predictions import ImportedForecaster
from occflow.eval.protocols import PROTOCOLS
from occflow.eval.report import make_report, write_report, write_row_counters
from occflow.geometry import planar_pose
from occflow.grid import FREE, VoxelGrid
from occflow.logs.protocol import Box
from occflow.occupancy.building.build import fill_store
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.settings import OccupancySettings
from occflow.occupancy.sighting import Sighting
from occflow.occupancy.storage.forecast_file import save_forecasts
from occflow.occupancy.storage.saved_forecasts import ForecastWriter, SavedForecasts, about_of
from occflow.occupancy.storage.store import OccupancyStore, StoreLayout
from occflow.occupancy.tasks import Target
from occflow.occupancy.windows import Window, WindowKey, WindowSource
from occflow.viewing.drive import drive_of_saved
from occflow.viewing.source import open_source

SCENES, NUM_FRAMES = ("street-1", "street-2"), 3
FINE = VoxelGrid((-4.0, -4.0, 0.0), (8, 8, 2), 1.0)
CAR = 4


def _boxed(index: int) -> OccupancyFrame:
    frame = street_frame(index)
    box = Box("car", CAR, planar_pose(3.0 + index, 1.0, 0.1), np.array([4.0, 2.0, 1.5]))
    return OccupancyFrame(frame.flat, frame.labels, frame.world_from_grid, frame.stamp_s, frame.token, (box,),
                          np.packbits(np.arange(GRID.num_voxels) % 3 > 0))


def _scene(name: str) -> tuple[list[OccupancyFrame], list[Sighting]]:
    """Frames of a scene, and what was known at each."""
    frames = [_boxed(index) for index in range(NUM_FRAMES)]
    return frames, [sighting_of(one.within(np.arange(GRID.num_voxels) % 2 == 0), GRID) for one in frames]


def _store(file: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        layout = StoreLayout(GRID, OccupancySettings(), "street", {"train": [SCENES[0]], "val": [SCENES[1]]})
        fill_store(_scene, layout, list(SCENES), folder / "store")
        return folder / "store" / file
    return write


def _read_store(path: Path) -> object:
    """All that a store holds."""
    store = OccupancyStore.open(path.parent)
    return store.grid, store.log, store.settings, {split: store.scenes(split) for split in store.splits()}, \
        {scene: [(store.frame(scene, index), store.sighting(scene, index))
                 for index in range(store.num_frames(scene))] for scene in store.scenes()}


def _view(path: Path) -> object:
    """The film that the viewer shows of the first scene of a store, or of a run."""
    film = open_source({"source": str(path.parent)}, str(path.parent)).film()
    return film, film.labels()


def _window() -> Window:
    frames = tuple(_boxed(index) for index in range(4))
    return Window.of(WindowKey("street", 0), frames[:2], frames[2:])


def _write_forecast(folder: Path) -> Path:
    window = _window()
    save_forecasts(folder / "forecast.npz", GRID, window.task, {"student-1": window.truth},
                   {"student-1": [window.truth, window.truth]}, window.truth)
    return folder / "forecast.npz"


def _report(file: str) -> Callable[[Path], Path]:
    """Reports in FOLDER/a and FOLDER/b, of which the second is edited."""
    def write(folder: Path) -> Path:
        for name, hits in (("a", 40), ("b", 50)):
            by_scene = {}
            for number in range(3):
                counts = IoUCounts(6)
                counts.confusion[:, CAR, CAR], counts.confusion[:, FREE, CAR] = hits + number, 20
                by_scene[f"scene-{number}"] = counts
            scores = [ForecasterScores("student-1", 1, by_scene), ForecasterScores("persistence", 0, by_scene)]
            (folder / name).mkdir()
            write_row_counters(folder / name, scores, [1, 3, 5])
            windows = {"split": "val", "count": 3, "stride": 1, "history": 2, "horizon": 6, "scenes": 3}
            write_report(folder / name, make_report(scores, PROTOCOLS["occworld-strict"], [1, 3, 5], windows, "G", 0,
                                                    {"occflow": "0"}, {"cpu": "a", "cores": 2, "memory_gib": 8.0,
                                                                       "gpu": None}, {"teacher": 10.0}))
        return folder / "b" / file
    return write


def _compare(path: Path) -> object:
    return compare_reports(path.parents[1] / "a", path.parent)


def _write_prediction(folder: Path) -> Path:
    window, path = _window(), folder / "peer/street/frame-1.npz"
    path.parent.mkdir(parents=True)
    np.savez_compressed(path, semantics=np.stack([frame.dense(GRID) for frame in window.truth]))
    return path


def _read_prediction(path: Path) -> object:
    return ImportedForecaster(path.parents[1], GRID, "G").samples(_window().task, [0, 1])


def _write_branches(folder: Path) -> Path:
    """Two futures of two frames."""
    starts, path = np.array([0, 3, 6, 9, 12, 15, 18]), folder / "s/t.npz"
    path.parent.mkdir()
    np.savez_compressed(path, format=np.array(1), world_from_grid=np.stack([np.eye(4)] * 3),
                        stamps_s=np.array([0.0, 0.5, 1.0]), static=np.full((3, *FINE.shape), FREE, np.uint8),
                        mover_flat=np.tile(np.array([3, 5, 9], np.int32), 6), mover_labels=np.full(18, CAR, np.uint8),
                        mover_starts=starts, ego_touched=np.array([False, False]), origin_m=np.array(FINE.origin_m),
                        voxel_size_m=np.array(FINE.voxel_size_m))
    return path


def _read_branches(path: Path) -> object:
    """The futures as they are scored."""
    targets = tuple(Target(np.eye(4), one.stamp_s) for one in _window().truth)
    return read_branch_file(path).futures(targets, GRID)


def _write_saved(folder: Path) -> Path:
    """A store, and the forecasts of one window of it."""
    store = OccupancyStore.open(_store("meta.json")(folder).parent)
    about = about_of(GRID, {"student-1": {"nfe": 1, "samples": 2}}, history=1, horizon=2, frame_interval_s=0.5,
                     grid_pose="ego", input="occupancy", ego="G", seed=0, log=store.log, store=str(store.path))
    window = WindowSource(store, 1, 2).read(WindowKey(SCENES[0], 0))
    writer = ForecastWriter(folder / "saved", GRID, about, ["predictions"])
    writer.add(window, {"student-1": [window.truth, window.truth]})
    writer.finish()
    return folder / "saved/about.json"


def _read_saved(path: Path) -> object:
    """What is exported of it."""
    drive = drive_of_saved(SavedForecasts(path.parent), OccupancyStore.open(path.parents[1] / "store"), None, (), [1.0])
    return drive.names, [(instant.stamp_s, [(one.name, one.frame, one.issued_s) for one in instant.shown])
                         for instant in drive.instants()]


KINDS = (
    Kind("store meta.json", _store("meta.json"), _read_store, ("json", "text", "bytes"),
         told=("json", "text", "bytes")),
    Kind("store shown", _store("meta.json"), _view, ("json", "text", "bytes"),
         told=("json", "text", "bytes")),
    Kind("scene .occ", _store("street-1.occ"), _read_store, ("bytes", "scene"), told=("bytes",)),
    Kind("forecast.npz", _write_forecast, _view, ("npz", "bytes"), told=("bytes",)),
    Kind("report.json", _report("report.json"), _compare, ("json", "text", "bytes")),
    Kind("counters.npz", _report("counters.npz"), _compare, ("npz", "bytes"), told=("bytes",)),
    Kind("prediction", _write_prediction, _read_prediction, ("npz", "bytes"), told=("bytes",)),
    Kind("saved forecasts", _write_saved, _read_saved, ("json", "text", "bytes")),
    Kind("branches", _write_branches, _read_branches, ("npz", "bytes"), told=("bytes",)),
)
