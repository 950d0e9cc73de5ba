"""The pictures of a forecast file: a sheet and an animation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from occflow.occupancy.forecast_file import load_forecasts
from occflow.viewing.animation import render_animation
from occflow.viewing.sheet import render_sheet


def draw_record(forecast_file: Path, folder: Path, view: Mapping) -> Iterator[Path]:
    """Write forecast.png and forecast.gif to `folder`, yielding each path when it is there."""
    record = load_forecasts(forecast_file)
    for render, name in ((render_sheet, "forecast.png"), (render_animation, "forecast.gif")):
        path = Path(folder) / name
        render(record, view, path)
        yield path
