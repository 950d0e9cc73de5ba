"""Pictures of a forecast record or a film: the glance, one forecast at one instant beside what came; the sheet, which
compares forecasts at a few times; and the animation, history, then truth beside the forecasts, with what differs below
each. Samples are shown as probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
from PIL import Image

from occflow.atomic import atomic_file
from occflow.errors import InputError
from occflow.grid import VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.storage.forecast_file import ForecastRecord, Frames
from occflow.viewing.animation import require_animation, save_animation
from occflow.viewing.film import Film, sampler_of, shown_forecasts
from occflow.viewing.palette import FAINT_INK, MISSED, PALE_DIFFERENCE_COLOURS
from occflow.viewing.panels import (
    LegendEntry,
    Panels,
    blank,
    legend,
    panel_table,
    require_something,
    seconds_a_frame,
    stack,
    view_numbers,
    write,
)

SAME_INSTANT_S = 0.26  # a frame stands for a time of the sheet when it is at most half a 2 Hz step away
TIMES_S = (-1e6, 1e6)  # of rows; beyond it a setting is a mistake
SHEET_GAP_PX, SHEET_MARGIN_PX = 6, 16
FIGURES = ("pale colours: the ground.   IoU: of all occupied voxels, whatever their class; "
           "movers: of movable objects, taken as one class")
SHARES = "share of the samples that fill a voxel (grey: the ground)"
GAP_PX, MARGIN_PX = 4, 8  # of animations
PALE_NOTE = "pale colours: the ground"
PALE_EXAMPLE = tuple(PALE_DIFFERENCE_COLOURS[MISSED].tolist())

Row = list[Image.Image]
Column = tuple[str, list[Image.Image]]  # heading, one panel a row


def render_sheet(record: ForecastRecord, view: Mapping, path: Path) -> None:
    """Write the comparison sheet of a record as a PNG.

    Raises:
        InputError: a view setting is missing, nothing to compare, or no renderer.
    """
    require_something(record, path)
    times_s = view_numbers(view, "times_s", "[1,2,3]", TIMES_S, "give a list of seconds")
    panels = Panels.of_view(record, view, "panel_px")
    columns = sheet_columns(record, shown_forecasts(record, view.get("forecasts") or ()), times_s, panels)
    rows = list(zip_longest(*(images for _, images in columns), fillvalue=panels.empty()))  # a history may be short
    table = panel_table([heading for heading, _ in columns], rows, panels.text_px, SHEET_GAP_PX)
    size = round(0.9 * panels.text_px)
    title = blank(table.width, round(1.7 * panels.text_px))
    write(title, (0, title.height // 2), f"Occupancy forecast, {record.scene}", title.height * 3 // 4, anchor="lm")
    strips = [title, table, legend(table.width, size, "classes", panels.class_legend())]
    if panels.kinds:
        strips.append(legend(table.width, size, "against the truth", panels.difference_legend()))
        strips.append(legend(table.width, size, FIGURES, ()))
    if panels.shares:
        strips.append(legend(table.width, size, SHARES, panels.probability_legend()))
    _save_sheet(strips, path)


def render_glance(record: ForecastRecord, view: Mapping, path: Path) -> None:
    """Write what a stranger sees at a glance, as a PNG: now, the first of the shown forecasts at view.glance_s, what
    came, and what differs.

    Raises:
        InputError: a view setting is missing, no forecast of that instant, or no renderer.
    """
    require_something(record, path)
    [time_s] = view_numbers(view, "glance_s", "2.0", TIMES_S, "give seconds after the present", count=1)
    panels = Panels.of_view(record, view, "panel_px")
    forecasts = shown_forecasts(record, view.get("forecasts") or ())
    forecast, truth = (frame_at(record, frames, time_s)
                       for frames in (next(iter(forecasts.values()), ()), record.truth))
    if forecast is None and truth is None:
        raise InputError(f"{path}: nothing is {time_s:g} s after the present to show; set view.glance_s")
    columns = [("now", panels.frame(record.history[-1]))]
    columns += [(f"forecast, {time_s:g} s later", panels.frame(forecast))] if forecast else []
    columns += [("what came", panels.frame(truth))] if truth else []
    columns += [("difference", panels.difference(truth, forecast))] if forecast and truth else []
    size = round(0.9 * panels.text_px)
    table = panel_table([heading for heading, _ in columns], [[image for _, image in columns]], panels.text_px,
                        SHEET_GAP_PX)
    strips = [table, legend(table.width, size, "", panels.class_legend())]
    if panels.kinds:
        strips.append(legend(table.width, size, "difference", [*panels.difference_legend(),
                                                               LegendEntry(PALE_NOTE, PALE_EXAMPLE)]))
    _save_sheet(strips, path)


def render_perceived(grid: VoxelGrid, instants: Sequence[Frames], view: Mapping, path: Path) -> None:
    """Write a sheet of what a car sees: a row an instant, of what its sweeps met, what is perceived of that, what
    hindsight makes of the whole drive, and how the two differ.

    Args:
        instants: (met, perceived, hindsight), one or more, each in the grid of its instant.

    Raises:
        InputError: a view setting is wrong, or no renderer.
    """
    record = ForecastRecord(grid, (instants[0][0],), (), {}, "")
    panels = Panels.of_view(record, view, "panel_px")
    now = [[replace(frame, stamp_s=instants[0][0].stamp_s) for frame in frames] for frames in instants]
    rows = [[*map(panels.frame, (met, seen, known)), panels.difference(known, seen)] for met, seen, known in now]
    size = round(0.9 * panels.text_px)
    table = panel_table(("sweeps of the last second", "perceived", "in hindsight", "perceived against hindsight"), rows,
                        panels.text_px, SHEET_GAP_PX)
    _save_sheet([table, legend(table.width, size, "classes", panels.class_legend()),
                 legend(table.width, size, "against hindsight", panels.difference_legend())], path)


def _save_sheet(strips: list[Image.Image], path: Path) -> None:
    """Strips, one below the other, as a PNG in true colour."""
    sheet = stack(strips, SHEET_GAP_PX, SHEET_MARGIN_PX)
    with atomic_file(Path(path)) as partial:
        sheet.save(partial, format="PNG", optimize=True)


def sheet_columns(record: ForecastRecord, forecasts: dict[str, Frames], times_s: list[float],
                  panels: Panels) -> list[Column]:
    """Columns of the sheet: history, truth where known, every forecast and, beside it, its difference; then what share
    of the samples fills a voxel."""
    truth = [frame_at(record, record.truth, t) for t in times_s]
    columns = [("history", [panels.frame(frame) for frame in _spread(record.history, len(times_s))])]
    if record.truth:
        columns.append(("truth", [panels.frame(f) if f else panels.empty() for f in truth]))
    for name, frames in forecasts.items():
        forecast = [frame_at(record, frames, t) for t in times_s]
        columns.append((name, [panels.frame(f) if f else panels.empty() for f in forecast]))
        if record.truth:
            columns.append((f"{name} against truth", [panels.difference(true, f) if true and f else panels.empty()
                                                      for true, f in zip(truth, forecast, strict=True)]))
    for heading, futures in shown_samples(record, forecasts).items():
        sampled = [[frame_at(record, frames, t) for frames in futures] for t in times_s]
        columns.append((heading, [panels.probability(frames, true or frames[0]) if all(frames) else panels.empty()
                                  for true, frames in zip(truth, sampled, strict=True)]))
    return columns


def shown_samples(record: ForecastRecord, forecasts: dict[str, Frames]) -> dict[str, tuple[Frames, ...]]:
    """By their headings the futures, two or more, that say how probable the shown forecasts are, each of them once."""
    found: dict[str, tuple[Frames, ...]] = {}
    for sampler in filter(None, (sampler_of(record, name) for name in forecasts)):
        futures = record.samples[sampler]
        if len(futures) > 1 and not any(futures is one for one in found.values()):
            found[sampler] = futures
    own = len(found) == 1 and set(found) <= set(forecasts)  # then nobody asks whose they are
    return {f"share of {len(futures)} samples" if own else f"{name}, share of {len(futures)} samples": futures
            for name, futures in found.items()}


def frame_at(record: ForecastRecord, frames: Frames, time_s: float) -> OccupancyFrame | None:
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


def render_animation(record: ForecastRecord, view: Mapping, *paths: Path) -> None:
    """Write the animation of a record, to each path in the format of its suffix (animation.ANIMATIONS).

    Raises:
        InputError: a view setting is missing or not usable, nothing to compare, or no renderer.
    """
    for path in paths:
        require_something(record, path)
    step_s = seconds_a_frame(view)
    for path in paths:
        require_animation(path)
    panels = Panels.of_view(record, view, "animation_px")
    sequences = {"truth": record.truth} if record.truth else {}
    sequences.update(shown_forecasts(record, view.get("forecasts") or ()))
    samples = shown_samples(record, {name: frames for name, frames in sequences.items() if name != "truth"})
    names = [*sequences, *samples]
    tables = [_observed(panels, record, frame, len(names)) for frame in record.history]
    tables += [_forecast(panels, record, sequences, list(samples.values()), step)
               for step in range(max(map(len, sequences.values())))]
    _save(panels, names, tables, step_s, paths)


def render_film(film: Film, view: Mapping, *paths: Path) -> None:
    """Write the animation of a scene of a store likewise: its sources side by side.

    Raises:
        InputError: a view setting is missing or not usable, or no renderer.
    """
    for path in paths:
        require_animation(path)
    step_s = seconds_a_frame(view)
    start = next(iter(film.sources.values()))[:1]
    panels = Panels.of_view(ForecastRecord(film.grid, start, (), {}, film.scene), view, "panel_px")
    tables = [[[panels.frame(frame) for frame in frames]] for frames in zip(*film.sources.values())]
    _save(panels, list(film.sources), tables, step_s, paths)


def _save(panels: Panels, names: list[str], tables: list[list[Row]], step_s: float, paths: Sequence[Path]) -> None:
    """Tables of panels, one after the other."""
    composed = [_compose(panels, names, rows) for rows in tables]  # after all panels: legends are complete
    for path in paths:
        save_animation(composed, step_s, panels.palette, path)


def _observed(panels: Panels, record: ForecastRecord, frame: OccupancyFrame, columns: int) -> list[Row]:
    """A moment of the history: every forecaster sees the same."""
    top = [panels.frame(frame, "observed")] * columns
    return [top, [_note(panels, "")] + [_note(panels, "no forecast yet")] * (columns - 1)] if record.truth else [top]


def _forecast(panels: Panels, record: ForecastRecord, sequences: dict[str, Frames],
              samples: list[tuple[Frames, ...]], step: int) -> list[Row]:
    """A moment of the horizon; below each forecast its difference from the truth, below a share one of the samples."""
    top = [panels.frame(frames[step]) if step < len(frames) else _note(panels, "") for frames in sequences.values()]
    around = next(iter(sequences.values()))[step]
    top += [panels.probability([frames[step] for frames in futures], around) for futures in samples]
    if not record.truth:
        return [top]
    forecasts = [frames for name, frames in sequences.items() if name != "truth"]
    below = [panels.difference(record.truth[step], frames[step]) for frames in forecasts]
    below += [panels.frame(futures[0][step], "one sample") for futures in samples]
    return [top, [_note(panels, ""), *below]]


def _note(panels: Panels, text: str) -> Image.Image:
    """An empty panel with a word in its middle."""
    image = panels.empty()
    write(image, (image.width // 2, image.height // 2), text, panels.text_px, FAINT_INK, "mm")
    return image


def _compose(panels: Panels, names: list[str], rows: list[Row]) -> Image.Image:
    """Headings, rows of panels, and the legends: in the free panel below the truth, or under everything."""
    table, (width, height) = panel_table(names, rows, panels.text_px, GAP_PX), rows[0][0].size
    size = round(0.85 * panels.text_px)
    if len(rows) == 1:
        return stack([table, legend(table.width, size, "", panels.class_legend())], GAP_PX, MARGIN_PX)
    inner_px = width - 2 * MARGIN_PX
    strips = [legend(inner_px, size, "", panels.class_legend())]
    if panels.kinds:
        strips += [legend(inner_px, size, "", panels.difference_legend()), legend(inner_px, size, PALE_NOTE, ())]
    if panels.shares:
        strips.append(legend(inner_px, size, "samples:", panels.probability_legend()))
    free = stack(strips, GAP_PX, MARGIN_PX)
    table.paste(free, (0, table.height - height))
    return stack([table], GAP_PX, MARGIN_PX)
