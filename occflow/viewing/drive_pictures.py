"""The animation of a whole drive: window after window what is there now, what is forecast of some seconds later, and
what came."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from occflow.errors import InputError
from occflow.occupancy.storage.forecast_file import ForecastRecord
from occflow.viewing.animation import require_animation, save_animation
from occflow.viewing.film import shown_forecasts
from occflow.viewing.panels import (
    Panels,
    class_entries,
    legend,
    panel_table,
    seconds_a_frame,
    stack,
    view_numbers,
    view_palette,
)
from occflow.viewing.pictures import GAP_PX, MARGIN_PX, TIMES_S, frame_at
from occflow.viewing.scene import movers_iou, occupied_iou


def render_drive(records: Iterable[ForecastRecord], view: Mapping, *paths: Path) -> None:
    """Write a drive's windows, one after the other, to each path in the format of its suffix: now, the first of the
    shown forecasts at view.glance_s, with its IoU, and what came; in the corner of now the time since the first window.
    One legend has the classes of all of them.

    Raises:
        InputError: a view setting is missing, no window with a forecast of that instant, or no renderer.
    """
    for path in paths:
        require_animation(path)
    step_s, palette = seconds_a_frame(view), view_palette(view)
    [time_s] = view_numbers(view, "glance_s", "2.0", TIMES_S, "give seconds after the present", count=1)
    tables: list[Image.Image] = []
    labels, heights, text_px, start_s = set(), False, 0, None
    for record in records:
        panels = Panels.of_view(record, view, "animation_px")  # each its own: pictures of a window are not kept
        frames = next(iter(shown_forecasts(record, view.get("forecasts") or ()).values()), ())
        forecast, truth = frame_at(record, frames, time_s), frame_at(record, record.truth, time_s)
        if forecast is None or truth is None:
            continue
        figures = f"IoU {occupied_iou(truth, forecast):.2f}"
        if not np.isnan(movers := movers_iou(truth, forecast)):
            figures += f"  movers {movers:.2f}"
        now = record.history[-1]
        start_s = now.stamp_s if start_s is None else start_s
        row = [panels.frame(now, f"{now.stamp_s - start_s:.1f} s"), panels.frame(forecast, figures),
               panels.frame(truth)]
        headings = "now", f"forecast, {time_s:g} s later", "what came"
        tables.append(panel_table(headings, [row], panels.text_px, GAP_PX))
        labels, heights, text_px = labels | panels.labels, heights or panels.heights, panels.text_px
    if not tables:
        raise InputError(f"{paths[0]}: no window has a forecast of {time_s:g} s after its present; set view.glance_s")
    strip = legend(tables[0].width, round(0.85 * text_px), "", class_entries(labels, heights, palette))
    pictures = [stack([table, strip], GAP_PX, MARGIN_PX) for table in tables]
    for path in paths:
        save_animation(pictures, step_s, palette, path)
