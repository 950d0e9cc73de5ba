"""The animation: history, then truth beside the forecasts, with what differs below each forecast."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from occflow.atomic import atomic_file
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.storage.forecast_file import ForecastRecord, Frames
from occflow.viewing.film import Film, shown_forecasts
from occflow.viewing.palette import (
    AGREED,
    BACKGROUND,
    CLASS_COLOURS,
    DIFFERENCE_COLOURS,
    EGO_BODY,
    FAINT_INK,
    HIGH_RGB,
    INK,
    LOW_RGB,
    PALE_DIFFERENCE_COLOURS,
)
from occflow.viewing.panels import (
    Panels,
    legend,
    panel_size,
    panel_table,
    require_something,
    seconds_a_frame,
    stack,
    view_value,
    write,
)

GAP_PX = 4
MARGIN_PX = 8
LAST_FRAME_HOLD = 3  # the end stays for so many frames before the loop starts again
SHADES = (1.0, 0.93, 0.85, 0.76, 0.66, 0.56, 0.45)  # of every colour in the GIF's palette: the light of the meshes
HEIGHTS = 11  # of the colours of voxels without a class
GREYS = 40  # and so many greys, for text and for what agrees
PALE_NOTE = "pale colours: the ground"

Row = list[Image.Image]


def render_animation(record: ForecastRecord, view: Mapping, path: Path) -> None:
    """Write the animation of a record as a looping GIF.

    Raises:
        InputError: a view setting is missing or not usable, nothing to compare, or no renderer.
    """
    require_something(record, path)
    step_ms = round(1000 * seconds_a_frame(view))
    panels = Panels(record, view_value(view, "camera", "chase"), panel_size(view, "animation_px"))
    sequences = {"truth": record.truth} if record.truth else {}
    sequences.update(shown_forecasts(record, view.get("forecasts") or ()))
    tables = [_observed(panels, record, frame, len(sequences)) for frame in record.history]
    tables += [_forecast(panels, record, sequences, step) for step in range(max(map(len, sequences.values())))]
    _save(panels, list(sequences), tables, step_ms, path)


def render_film(film: Film, view: Mapping, path: Path) -> None:
    """Write the animation of a scene of a store as a looping GIF: its sources side by side.

    Raises:
        InputError: a view setting is missing or not usable, or no renderer.
    """
    step_ms = round(1000 * seconds_a_frame(view))
    start = next(iter(film.sources.values()))[:1]
    panels = Panels(ForecastRecord(film.grid, start, (), {}, film.scene), view_value(view, "camera", "chase"),
                    panel_size(view, "panel_px"))
    tables = [[[panels.frame(frame) for frame in frames]] for frames in zip(*film.sources.values())]
    _save(panels, list(film.sources), tables, step_ms, path)


def _save(panels: Panels, names: list[str], tables: list[list[Row]], step_ms: int, path: Path) -> None:
    """Tables of panels as a looping GIF, in one palette, so that nothing flickers; the last one stays for longer."""
    composed = [_compose(panels, names, rows) for rows in tables]  # after all panels: legends are complete
    pictures = [picture.quantize(palette=gif_palette(), dither=Image.Dither.NONE) for picture in composed]
    durations_ms = [step_ms] * (len(pictures) - 1) + [step_ms * LAST_FRAME_HOLD]
    with atomic_file(Path(path)) as partial:
        pictures[0].save(partial, format="GIF", save_all=True, append_images=pictures[1:], duration=durations_ms,
                         loop=0, optimize=False)


def gif_palette() -> Image.Image:
    """The palette of every animation, as PIL wants it.

    Fixed, since a palette fitted to the pictures would spend itself on roads and lose the few pixels of a car. Every
    colour of a legend is in it as it is.
    """
    colours = np.concatenate([CLASS_COLOURS, DIFFERENCE_COLOURS[1:], PALE_DIFFERENCE_COLOURS[1:]]).astype(float)
    heights = np.linspace(LOW_RGB, HIGH_RGB, HEIGHTS)
    shades = [*(colours * shade for shade in SHADES), *(heights * shade for shade in SHADES[::2])]
    greys = np.linspace(0, 255, GREYS)[:, None].repeat(3, axis=1)
    plain = [BACKGROUND, INK, FAINT_INK, EGO_BODY, DIFFERENCE_COLOURS[AGREED]]
    entries = np.rint(np.concatenate([*shades, greys, plain])).astype(np.uint8)
    palette = Image.new("P", (1, 1))
    palette.putpalette(entries.tobytes())
    return palette


def _observed(panels: Panels, record: ForecastRecord, frame: OccupancyFrame, columns: int) -> list[Row]:
    """A moment of the history: every forecaster sees the same."""
    top = [panels.frame(frame, "observed")] * columns
    return [top, [_note(panels, "")] + [_note(panels, "no forecast yet")] * (columns - 1)] if record.truth else [top]


def _forecast(panels: Panels, record: ForecastRecord, sequences: dict[str, Frames], step: int) -> list[Row]:
    """A moment of the horizon; below each forecast its difference from the truth."""
    top = [panels.frame(frames[step]) if step < len(frames) else _note(panels, "") for frames in sequences.values()]
    if not record.truth:
        return [top]
    forecasts = [frames for name, frames in sequences.items() if name != "truth"]
    below = [panels.difference(record.truth[step], frames[step]) for frames in forecasts]
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
    free = stack(strips, GAP_PX, MARGIN_PX)
    table.paste(free, (0, table.height - height))
    return stack([table], GAP_PX, MARGIN_PX)
