"""The comparison sheet: history, truth, forecasts and what differs, at a few instants of the horizon."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path

import numpy as np
from PIL import Image

from occflow.atomic import atomic_file
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.storage.forecast_file import ForecastRecord, Frames
from occflow.viewing.film import shown_forecasts
from occflow.viewing.panels import (
    Panels,
    blank,
    legend,
    panel_size,
    panel_table,
    require_something,
    stack,
    view_numbers,
    view_value,
    write,
)

SAME_INSTANT_S = 0.26  # a frame stands for a time of the sheet when it is at most half a 2 Hz step away
TIMES_S = (-1e6, 1e6)  # of rows; beyond it a setting is a mistake
GAP_PX = 6
MARGIN_PX = 16
FIGURES = ("pale colours: the ground.   IoU: of all occupied voxels, whatever their class; "
           "movers: of movable objects, taken as one class")

Column = tuple[str, list[Image.Image]]  # heading, one panel a row


def render_sheet(record: ForecastRecord, view: Mapping, path: Path) -> None:
    """Write the comparison sheet of a record as a PNG.

    Raises:
        InputError: a view setting is missing, nothing to compare, or no renderer.
    """
    require_something(record, path)
    times_s = view_numbers(view, "times_s", "[1,2,3]", TIMES_S, "give a list of seconds")
    panels = Panels(record, view_value(view, "camera", "chase"), panel_size(view, "panel_px"))
    columns = sheet_columns(record, shown_forecasts(record, view.get("forecasts") or ()), times_s, panels)
    rows = list(zip_longest(*(images for _, images in columns), fillvalue=panels.empty()))  # a history may be short
    table = panel_table([heading for heading, _ in columns], rows, panels.text_px, GAP_PX)
    size = round(0.9 * panels.text_px)
    title = blank(table.width, round(1.7 * panels.text_px))
    write(title, (0, title.height // 2), f"Occupancy forecast, {record.scene}", title.height * 3 // 4, anchor="lm")
    strips = [title, table, legend(table.width, size, "classes", panels.class_legend())]
    if panels.kinds:
        strips.append(legend(table.width, size, "against the truth", panels.difference_legend()))
        strips.append(legend(table.width, size, FIGURES, ()))
    sheet = stack(strips, GAP_PX, MARGIN_PX)
    with atomic_file(Path(path)) as partial:
        sheet.save(partial, format="PNG", optimize=True)


def sheet_columns(record: ForecastRecord, forecasts: dict[str, Frames], times_s: list[float],
                  panels: Panels) -> list[Column]:
    """Columns of the sheet: history, truth where known, every forecast and, beside it, its difference."""
    truth = [_at(record, record.truth, t) for t in times_s]
    columns = [("history", [panels.frame(frame) for frame in _spread(record.history, len(times_s))])]
    if record.truth:
        columns.append(("truth", [panels.frame(f) if f else panels.empty() for f in truth]))
    for name, frames in forecasts.items():
        forecast = [_at(record, frames, t) for t in times_s]
        columns.append((name, [panels.frame(f) if f else panels.empty() for f in forecast]))
        if record.truth:
            columns.append((f"{name} against truth", [panels.difference(true, f) if true and f else panels.empty()
                                                      for true, f in zip(truth, forecast, strict=True)]))
    return columns


def _at(record: ForecastRecord, frames: Frames, time_s: float) -> OccupancyFrame | None:
    """The frame nearest to a time after the present, if there is one at that instant."""
    nearest = min(frames, key=lambda frame: abs(record.seconds(frame) - time_s), default=None)
    if nearest is None or abs(record.seconds(nearest) - time_s) > SAME_INSTANT_S:
        return None
    return nearest


def _spread(history: Frames, rows: int) -> list[OccupancyFrame]:
    """At most `rows` history frames, evenly spread over time, the present last."""
    count = min(rows, len(history))
    chosen = np.rint(np.linspace(len(history) - 1, 0, count)).astype(int)[::-1]
    return [history[index] for index in chosen]
