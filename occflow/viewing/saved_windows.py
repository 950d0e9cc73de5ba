"""The windows of whole drives (RUN/saved, which eval.save=all makes), one after the other, as films and on a page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

from occflow.errors import InputError
from occflow.occupancy.storage.forecast_file import ForecastRecord
from occflow.occupancy.storage.remote import is_url
from occflow.occupancy.storage.saved_forecasts import ABOUT, SavedForecasts
from occflow.occupancy.storage.scene_file import META
from occflow.occupancy.storage.store import OccupancyStore
from occflow.viewing.film import Film, film_of_record, sampler_among, wanted_among
from occflow.viewing.page import PageWindow, window_of_film

MOST = 60  # windows of a scene on a page, some ten megabytes at 100 x 100 x 8 voxels, and in an animation


def store_of_saved(saved: SavedForecasts, view: Mapping) -> OccupancyStore:
    """The store that saved forecasts are of: at view.store, else where it lay.

    Raises:
        InputError: it is not there, or is another one.
    """
    place = view.get("store") or saved.about["store"]
    if not is_url(place) and not (Path(place) / META).is_file():
        raise InputError(f"{place}: here is no store that these forecasts are of; name it with view.store=PATH")
    store = OccupancyStore.open(place)
    refuse_other_store(saved, store)
    return store


def refuse_other_store(saved: SavedForecasts, store: OccupancyStore) -> None:
    """Raises InputError where saved forecasts are of another log or grid than a store."""
    if store.grid != saved.grid or store.log != saved.about["log"]:
        raise InputError(f"{saved.folder / ABOUT}: is of another log or grid than the store {store.path}; name its own "
                         "with view.store=PATH")


def forecast_scene(saved: SavedForecasts, store: OccupancyStore, scene: str | None) -> str:
    """A scene with forecasts: the named one, else the first.

    Raises:
        InputError: it has none, or no scene has any.
    """
    forecast = [one for one in store.scenes() if any(saved.has_any(row, one) for row in saved.about["rows"])]
    if scene is not None and scene not in forecast:
        raise InputError(f"{saved.folder}: no forecast of scene '{scene}' for view.scene; there are "
                         f"{', '.join(forecast) or 'none'}")
    if not forecast:
        raise InputError(f"{saved.folder / ABOUT}: no predictions of its rows lie beside it; evaluate again with "
                         "eval.save_formats=[predictions]")
    return scene or forecast[0]


class SavedWindows:
    """The windows of a scene of which anything was forecast, in the order of time.

    What stands for the history is the store's own frames: what a car saw of it is not saved.

    Args:
        scene: None: the first with forecasts.
        wanted: rows; all where none of these was saved. What a checkpoint sampled goes with its centre.

    Raises:
        InputError: no such scene, or one without forecasts.
    """

    origin = "drive"  # what its files are called after

    def __init__(self, saved: SavedForecasts, store: OccupancyStore, scene: str | None = None,
                 wanted: Iterable[str] | str = ()) -> None:
        self._saved, self._store, self.scene = saved, store, forecast_scene(saved, store, scene)
        rows = saved.about["rows"]
        self._rows = wanted_among(rows, wanted)
        sampling = [name for name, one in rows.items() if one["samples"] > 1]
        self._samplers = list(dict.fromkeys(filter(None, (sampler_among(sampling, row) for row in self._rows))))

    @cached_property
    def presents(self) -> list[int]:
        """Numbers of the frames that are the present of a window."""
        saved, store, scene = self._saved, self._store, self.scene
        inside = range(saved.about["history"] - 1, store.num_frames(scene) - saved.about["horizon"])
        found = [index for index in inside
                 if any(saved.has(row, scene, store.frame(scene, index).token) for row in self._rows)]
        if not found:
            raise InputError(f"{saved.folder}: no forecast of {', '.join(self._rows)} of scene '{scene}'; name others "
                             "with view.forecasts")
        return found

    def film(self, number: int = 0) -> Film:
        """The film of the window that comes `number` windows after the first, in a circle."""
        return film_of_record(self.record(number), self._rows)

    def records(self) -> Iterator[ForecastRecord]:
        """The windows, MOST at most: of more, the first."""
        return map(self.record, range(min(len(self.presents), MOST)))

    def record(self, number: int) -> ForecastRecord:
        """Likewise as a record.

        Raises:
            InputError: forecast in grids that the store has no frames in, or a broken file.
        """
        saved, scene, present = self._saved, self.scene, self.presents[number % len(self.presents)]
        frames = [self._store.frame(scene, index) for index in
                  range(present + 1 - saved.about["history"], present + 1 + saved.about["horizon"])]
        history, truth = tuple(frames[:saved.about["history"]]), tuple(frames[saved.about["history"]:])
        if saved.about["grid_pose"] != "ego":
            raise InputError(f"{saved.folder}: forecast in the grid of the present (data.grid_pose="
                             f"{saved.about['grid_pose']}), in which its store has no truth; export mcap or rrd")
        futures = {row: saved.futures(row, scene, history[-1].token, truth)
                   for row in dict.fromkeys((*self._rows, *self._samplers))
                   if saved.has(row, scene, history[-1].token)}
        return ForecastRecord(saved.grid, history, truth, {row: futures[row][0] for row in self._rows
                                                           if row in futures}, scene,
                              {row: tuple(futures[row]) for row in self._samplers if row in futures})

    def page_windows(self) -> Iterator[PageWindow]:
        """The windows on a page, MOST at most: of more, some from all over the scene."""
        every = -(-len(self.presents) // MOST)
        start_s = self._store.stamps_s(self.scene)[0]
        for number in range(0, len(self.presents), every):
            after_s = self._store.stamps_s(self.scene)[self.presents[number]] - start_s
            yield window_of_film(self.film(number), f"{self.scene}, {after_s:.1f} s")
