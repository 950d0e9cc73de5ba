"""What an export writes of a scene, in the order of time: grids under their names, LiDAR sweeps, the ego vehicle and
the objects. Of one window (a Film) or of a whole drive whose windows were all forecast (eval.save=all)."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from occflow.errors import InputError
from occflow.grid import VoxelGrid
from occflow.logs.open import open_log
from occflow.logs.protocol import DrivingLog, Sweep
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.storage.saved_forecasts import SavedForecasts, step_name
from occflow.occupancy.storage.store import OccupancyStore
from occflow.viewing.film import (
    CAUSAL,
    HISTORY,
    OCCUPANCY,
    Film,
    Marginal,
    marginal,
    plain_names,
    sampler_among,
    wanted_among,
)
from occflow.viewing.saved_windows import forecast_scene, refuse_other_store

FORECAST, PROBABILITY = "forecast", "probability"  # what the names of grids begin with that were not observed
OBJECTS, LIDAR, EGO, TF, ISSUED, LEGEND = "objects", "lidar", "ego", "tf", "issued", "legend"
OWN_NAMES = (OBJECTS, LIDAR, EGO, TF, ISSUED, LEGEND, FORECAST, PROBABILITY)
SAME_STEP = 0.25  # of an interval: how far a step of the horizon may be from a wanted time


@dataclass(frozen=True)
class Shown:
    """A grid at one instant.

    Args:
        name: of whose kind it is, fit for a topic or a path: "occupancy", "forecast/student-central/1_0s".
        frame: what is there; of a probability, where its grid is.
        issued_s: time at which it was forecast; None of what was observed.
        likely: the share of samples that fill a voxel, in place of the frame's voxels.
    """

    name: str
    frame: OccupancyFrame
    issued_s: float | None = None
    likely: Marginal | None = None


@dataclass(frozen=True)
class Instant:
    """Everything at one instant but the sweeps; `anchor` says where the ego vehicle and the objects are."""

    stamp_s: float
    anchor: OccupancyFrame
    shown: tuple[Shown, ...]


@dataclass(frozen=True)
class Drive:
    """A scene as it is exported.

    Args:
        grid: of every frame.
        scene: its name.
        origin: what its files are called after: "forecast" (one window of a run), "occupancy" (a store), "drive".
        start_s: time that exports count seconds from.
        names: of all grids that come, those that a viewer shows at first before the others.
        instants: the instants, in the order of time.
        sweeps: LiDAR sweeps, in the order of time.
        stamps_s: times of all instants.
    """

    grid: VoxelGrid
    scene: str
    origin: str
    start_s: float
    names: tuple[str, ...]
    stamps_s: tuple[float, ...]
    instants: Callable[[], Iterator[Instant]]
    sweeps: Callable[[], Iterable[Sweep]] = tuple

    def events(self) -> Iterator[Instant | Sweep]:
        """Instants and sweeps, in the order of time."""
        return heapq.merge(self.instants(), self.sweeps(), key=lambda event: event.stamp_s)


def drive_of_film(film: Film, everywhere: bool = False) -> Drive:
    """A window of a run, or a scene of a store.

    Args:
        everywhere: forecasts and truth are there at the instants of the history too, as they are on a film.
    """
    plain = plain_names(film.sources, taken=OWN_NAMES)
    observed = (HISTORY, OCCUPANCY, CAUSAL)
    shares = {name: f"{PROBABILITY}/{plain[name]}" for name in film.samples}
    issued_s = film.anchor(film.now).stamp_s

    def instants() -> Iterator[Instant]:
        for index in range(len(film.seconds)):
            later, shown = index > film.now, []
            for name, frames in film.sources.items():
                if later if name in observed else not later and not everywhere:
                    continue  # what was seen until the present, what is forecast after it
                made_s = issued_s if later and film.has_forecast(name) else None
                shown.append(Shown(plain[name], frames[index], made_s))
            for name, futures in film.samples.items() if later else ():
                frames = [future[index - film.now - 1] for future in futures]
                shown.append(Shown(shares[name], frames[0], issued_s, marginal(frames)))
            anchor = film.anchor(index)
            yield Instant(anchor.stamp_s, anchor, tuple(shown))

    stamps_s = tuple(film.anchor(index).stamp_s for index in range(len(film.seconds)))
    return Drive(film.grid, film.scene, film.origin, stamps_s[0] - film.seconds[0],
                 (*plain.values(), *shares.values()), stamps_s, instants)


def drive_of_saved(saved: SavedForecasts, store: OccupancyStore, scene: str | None, wanted: Iterable[str] | str,
                   times_s: Iterable[float], log: DrivingLog | None = None) -> Drive:
    """All windows of a scene: what was there, what was said of it so long before, how probable, and the sweeps.

    Args:
        scene: None: the first with forecasts.
        wanted: rows; all where none of these was saved.
        times_s: how far ahead; the steps of the horizon nearest to them, all where there is none near.
        log: where the sweeps come from.

    Raises:
        InputError: no such scene, one without forecasts, or another store.
    """
    refuse_other_store(saved, store)
    return _SavedDrive(saved, store, forecast_scene(saved, store, scene), wanted, times_s).drive(log)


class _SavedDrive:
    """Puts together what is said of each instant of a scene."""

    def __init__(self, saved: SavedForecasts, store: OccupancyStore, scene: str, wanted: Iterable[str] | str,
                 times_s: Iterable[float]) -> None:
        self.saved, self.store, self.scene, rows = saved, store, scene, saved.about["rows"]
        self.rows = wanted_among(rows, wanted)
        sampling = [name for name, one in rows.items() if one["samples"] > 1]
        self.samplers = dict.fromkeys(filter(None, (sampler_among(sampling, row) for row in self.rows)))
        self.steps = _steps(saved, times_s)
        self.frames = [store.frame(scene, index) for index in range(store.num_frames(scene))]
        plain = plain_names(rows, taken=OWN_NAMES)
        self.names = {(kind, row, step): f"{kind}/{plain[row]}/{_plain_step(saved, step)}"
                      for kind, some in ((FORECAST, self.rows), (PROBABILITY, self.samplers))
                      for row in some for step in self.steps}

    def drive(self, log: DrivingLog | None) -> Drive:
        stamps_s = tuple(frame.stamp_s for frame in self.frames)
        names = (OCCUPANCY, *self.names.values())

        def sweeps() -> Iterator[Sweep]:
            return (sweep for sweep in log.sweeps(self.scene) if stamps_s[0] <= sweep.stamp_s <= stamps_s[-1])

        return Drive(self.saved.grid, self.scene, "drive", stamps_s[0], names, stamps_s, self.instants,
                     sweeps if log is not None else tuple)

    def instants(self) -> Iterator[Instant]:
        """A forecast is at the instant that it speaks of, one file is read once: those of a horizon are in memory."""
        waiting: dict[int, dict[tuple, Shown]] = {}
        before: set[tuple] = set()
        for index, frame in enumerate(self.frames):
            self._read(index, waiting)
            there = waiting.pop(index, {})
            gone = {key: Shown(self.names[key], _nothing(frame)) for key in before if key not in there}
            before = set(there)
            ordered = [found for key in self.names if (found := there.get(key) or gone.get(key))]
            yield Instant(frame.stamp_s, frame, (Shown(OCCUPANCY, frame), *ordered))

    def _read(self, present: int, waiting: dict[int, dict[tuple, Shown]]) -> None:
        targets = self.frames[present + 1:present + 1 + self.saved.about["horizon"]]
        frame = self.frames[present]
        for row in dict.fromkeys((*self.rows, *self.samplers)):
            if len(targets) < self.saved.about["horizon"] or not self.saved.has(row, self.scene, frame.token):
                continue
            if self.saved.about["grid_pose"] != "ego":
                targets = [replace(target, world_from_grid=frame.world_from_grid) for target in targets]
            futures = self.saved.futures(row, self.scene, frame.token, targets)
            for step in self.steps:
                there = waiting.setdefault(present + 1 + step, {})
                if row in self.rows:
                    key = FORECAST, row, step
                    there[key] = Shown(self.names[key], futures[0][step], frame.stamp_s)
                if row in self.samplers:
                    key = PROBABILITY, row, step
                    likely = marginal([future[step] for future in futures])
                    there[key] = Shown(self.names[key], futures[0][step], frame.stamp_s, likely)


def log_of_store(store: OccupancyStore, log: Mapping) -> tuple[DrivingLog | None, str]:
    """The configured log where it is what a store was built from, and else why it is not."""
    try:
        found = open_log(log)
    except InputError as error:
        return None, str(error)
    if found.name != store.log:
        return None, f"{store.path} is of log {store.log}, not of {found.name}"
    return found, ""


def _steps(saved: SavedForecasts, times_s: Iterable[float]) -> list[int]:
    """The steps of the horizon at some times ahead; all of them where none is near."""
    interval_s, horizon = saved.about["frame_interval_s"], saved.about["horizon"]
    nearest = {round(time_s / interval_s) - 1: time_s for time_s in times_s}
    found = sorted(step for step, time_s in nearest.items()
                   if 0 <= step < horizon and abs((step + 1) * interval_s - time_s) <= SAME_STEP * interval_s)
    return found or list(range(horizon))


def _plain_step(saved: SavedForecasts, step: int) -> str:
    """ "1_0s": a "+" or a "." in a topic would have to be quoted in message paths."""
    return step_name(step, saved.about["frame_interval_s"]).strip("+").replace(".", "_")


def _nothing(frame: OccupancyFrame) -> OccupancyFrame:
    """An empty grid there: what was said of the instant before is not said of this one."""
    return OccupancyFrame(np.zeros(0, np.int64), np.zeros(0, np.uint8), frame.world_from_grid, frame.stamp_s)
