"""What the viewer's scripts are pointed at (a run, a forecast file, an occupancy store, the saved forecasts of whole
drives), and the pictures of it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from occflow.errors import InputError
from occflow.occupancy.storage.forecast_file import ForecastRecord, load_forecasts
from occflow.occupancy.storage.saved_forecasts import ABOUT, SavedForecasts
from occflow.occupancy.storage.scene_file import META
from occflow.occupancy.storage.store import OccupancyStore
from occflow.viewing.animation import GIF, require_animation
from occflow.viewing.drive_pictures import render_drive
from occflow.viewing.film import Film, film_of_record, film_of_store, film_path
from occflow.viewing.page import PageWindow, window_of_film, write_page
from occflow.viewing.panels import view_palette
from occflow.viewing.pictures import render_animation, render_film, render_glance, render_sheet
from occflow.viewing.saved_windows import SavedWindows, store_of_saved

FORECAST_FILE = "forecast.npz"


@dataclass(frozen=True)
class Source:
    """Where pictures come from, and the folder where they go.

    Args:
        record: the forecasts of a run, or None.
        store: an occupancy store, or None.
        file: where the record was read from.
        wanted: which forecasts of the record, or of whole drives, are shown.
        scene: the scene of the store to begin with, or that of whole drives; None: the first.
        saved: the forecasts of whole drives, or None; one of record, store and these is there.
        place: where the store of whole drives lies; None: where it lay.
    """

    folder: Path
    record: ForecastRecord | None
    store: OccupancyStore | None
    file: Path | None = None
    wanted: Iterable[str] | str = ()
    scene: str | None = None
    saved: SavedForecasts | None = None
    place: str | None = None

    @functools.cached_property
    def windows(self) -> SavedWindows:
        """The windows of whole drives.

        Raises:
            InputError: no such scene, or their store is not there.
        """
        return SavedWindows(self.saved, store_of_saved(self.saved, {"store": self.place}), self.scene, self.wanted)

    @functools.cached_property
    def _record_film(self) -> Film:
        return film_of_record(self.record, self.wanted)

    def film(self, number: int = 0) -> Film:
        """The film of the record, whatever the number; of a store that of the scene `number` scenes later, of whole
        drives that of the window `number` windows later.

        Raises:
            InputError: no such scene, or one without anything to show.
        """
        if self.saved is not None:
            return self.windows.film(number)
        if self.record is not None:
            return self._record_film
        scenes = self.store.scenes()
        if self.scene is not None and self.scene not in scenes:
            raise InputError(f"{self.store.path}: no scene '{self.scene}' for view.scene; it has {', '.join(scenes)}")
        start = scenes.index(self.scene) if self.scene is not None else 0
        return film_of_store(self.store, scenes[(start + number) % len(scenes)] if scenes else None)

    def page_windows(self) -> list[PageWindow]:
        """What a page shows: of a store the film; of a run all forecasts, the wanted ones first, of its record and of
        those in folders below it (of other inputs: RUN/lidar), where they have the same grid."""
        if self.record is None:
            film = self.film()
            return [window_of_film(film, film.scene)]
        below = sorted(self.file.parent.glob(f"*/{self.file.name}")) if self.file.name == FORECAST_FILE else []
        others = {path.parent.name: load_forecasts(path) for path in below}
        records = {self.file.resolve().parent.name: self.record,
                   **{name: record for name, record in others.items() if record.grid == self.record.grid}}
        return [window_of_film(film_of_record(record, (*_names(self.wanted), *record.forecasts)),
                               record.scene if len(records) == 1 else f"{record.scene}, {name}")
                for name, record in records.items()]


def _names(wanted: Iterable[str] | str) -> Iterable[str]:
    return [wanted] if isinstance(wanted, str) else wanted


def open_source(view: Mapping, run_dir: str) -> Source:
    """What view.source names: a folder with a forecast file, such a file, a store, or the forecasts of whole drives.

    Pictures of a run go beside it, or to view.folder; those of a store to view.folder or `run_dir`.

    Raises:
        InputError: none of them, or one that cannot be read.
    """
    path, chosen = Path(view["source"]), view.get("folder")
    if (path / META).is_file():
        return Source(Path(chosen or run_dir), None, OccupancyStore.open(path), scene=view.get("scene"))
    if (path / ABOUT).is_file():
        return Source(Path(chosen or path.parent), None, None, None, view.get("forecasts") or (), view.get("scene"),
                      SavedForecasts(path), view.get("store"))
    if path.is_dir() and not (path / FORECAST_FILE).is_file():
        raise InputError(f"{path}: holds neither {FORECAST_FILE} (of a run) nor {META} (of an occupancy store)")
    file = path if path.suffix == ".npz" else path / FORECAST_FILE
    return Source(Path(chosen or file.parent), load_forecasts(file), None, file, view.get("forecasts") or ())


def record_page(forecast_file: Path, folder: Path, view: Mapping) -> Path:
    """Write forecast.html to `folder`, a page for the browser; needs no Open3D."""
    return _page_of(open_source({**view, "source": forecast_file}, str(folder)), folder, view)


def _page_of(source: Source, folder: Path, view: Mapping) -> Path:
    return write_page(Path(folder) / "forecast.html", source.record.grid, source.record.scene, source.page_windows(),
                      palette=view_palette(view))


def draw_record(forecast_file: Path, folder: Path, view: Mapping) -> Iterator[Path]:
    """Write forecast.html, glance.png, forecast.png (a sheet) and the animations of view.animations (forecast.gif) to
    `folder`, yielding each path when it is there."""
    yield from _draw_record(open_source({**view, "source": forecast_file}, str(folder)), Path(folder), view)


def _draw_record(source: Source, folder: Path, view: Mapping) -> Iterator[Path]:
    record, sheet, glance = source.record, folder / "forecast.png", folder / "glance.png"
    animations = [folder / f"forecast.{suffix}" for suffix in _animations(view)]
    for path in animations:
        require_animation(path)
    yield _page_of(source, folder, view)
    render_glance(record, view, glance)
    yield glance
    render_sheet(record, view, sheet)
    yield sheet
    render_animation(record, view, *animations)
    yield from animations


def draw_source(source: Source, view: Mapping) -> Iterator[Path]:
    """The pictures of a forecast file, or the animations of a scene of a store or of a whole drive, yielding each path
    when it is there."""
    if source.file is not None:
        yield from _draw_record(source, source.folder, view)
        return
    drawn = source.film() if source.saved is None else source.windows
    paths = [film_path(source.folder, drawn, suffix) for suffix in _animations(view)]
    if source.saved is None:
        render_film(drawn, view, *paths)
    else:
        render_drive(drawn.records(), view, *paths)
    yield from paths


def _animations(view: Mapping) -> list[str]:
    names = view.get("animations") or [GIF]
    return [names] if isinstance(names, str) else list(dict.fromkeys(names))
