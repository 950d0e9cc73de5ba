"""The pictures of a forecast file (a sheet and an animation) or of a scene of a store (an animation)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from occflow.occupancy.storage.forecast_file import load_forecasts
from occflow.viewing.animation import render_animation, render_film
from occflow.viewing.names import film_path
from occflow.viewing.sheet import render_sheet
from occflow.viewing.source import Source


def draw_record(forecast_file: Path, folder: Path, view: Mapping) -> Iterator[Path]:
    """Write forecast.png and forecast.gif to `folder`, yielding each path when it is there."""
    record = load_forecasts(forecast_file)
    for render, name in ((render_sheet, "forecast.png"), (render_animation, "forecast.gif")):
        path = Path(folder) / name
        render(record, view, path)
        yield path


def draw_source(source: Source, view: Mapping) -> Iterator[Path]:
    """The pictures of what render was pointed at, yielding each path when it is there."""
    if source.file is not None:
        yield from draw_record(source.file, source.folder, view)
        return
    film = source.film()
    path = film_path(source.folder, film, "gif")
    render_film(film, view, path)
    yield path
