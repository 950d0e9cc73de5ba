"""Where a stream's forecasts go: the last ones are kept, for an animation and for the player."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from occflow.atomic import atomic_file
from occflow.grid import VoxelGrid
from occflow.occupancy.forecast_file import ForecastRecord, save_forecasts
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.windows import map_frames
from occflow.runtime.stream.forecaster import StreamForecast, known_labels
from occflow.viewing.animation import GAP_PX, MARGIN_PX, gif_palette
from occflow.viewing.panels import Panels, panel_size, view_value
from occflow.viewing.picture import blank, legend, stack, write


def shown_frames(forecast: StreamForecast, seconds: list[float]) -> list[OccupancyFrame]:
    """The present, and of the forecast the frames nearest to times after it."""
    present = known_labels(forecast.window.present)
    return [present, *(min(forecast.frames, key=lambda frame: abs(frame.stamp_s - present.stamp_s - after_s))
                       for after_s in seconds)]


class LastForecasts:
    """Keeps the last forecasts of a stream."""

    def __init__(self, number: int) -> None:
        self._kept: deque[StreamForecast] = deque(maxlen=max(1, number))

    def deliver(self, forecast: StreamForecast) -> None:
        self._kept.append(forecast)

    def save(self, path: Path, grid: VoxelGrid) -> Path | None:
        """Write the last forecast that the network made, for viz/player.py and viz/render.py; None without one."""
        made = [forecast for forecast in self._kept if forecast.name != "persistence"]
        if not made:
            return None
        save_forecasts(path, grid, map_frames(made[-1].window, known_labels), {made[-1].name: made[-1].frames})
        return path

    def animate(self, path: Path, grid: VoxelGrid, view: Mapping) -> Path | None:
        """Write the forecasts one after the other as a GIF, at the stream's own pace; None without any.

        Raises:
            InputError: a view setting is not usable, or no renderer.
        """
        forecasts = list(self._kept)
        if not forecasts:
            return None
        pictures = [_picture(forecast, grid, view) for forecast in forecasts]
        stamps_s = [forecast.window.present.stamp_s for forecast in forecasts]
        steps_s = [later - earlier for earlier, later in zip(stamps_s, stamps_s[1:])]
        durations_ms = [round(1000 * min(max(step_s, 0.05), 1.0)) for step_s in [*steps_s, 1.0]]
        palette = gif_palette()
        indexed = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
        with atomic_file(path) as partial:
            indexed[0].save(partial, format="GIF", save_all=True, append_images=indexed[1:], duration=durations_ms,
                            loop=0, optimize=False)
        return path


def _picture(forecast: StreamForecast, grid: VoxelGrid, view: Mapping) -> Image.Image:
    """What is seen now and what is foreseen, side by side, with a heading."""
    window = forecast.window
    record = ForecastRecord(grid, window.history, (), {forecast.name: forecast.frames}, window.key.scene)
    panels = Panels(record, view_value(view, "camera", "chase"), panel_size(view, "animation_px"))
    frames = shown_frames(forecast, list(view_value(view, "times_s", "[1,2,3]")))
    images = [panels.frame(frame) for frame in frames]
    width, height = images[0].size
    head_px = round(1.6 * panels.text_px)
    row = blank(len(images) * (width + GAP_PX) - GAP_PX, head_px + height)
    write(row, (0, head_px // 2), f"{window.key.scene}   {forecast.name}", panels.text_px, anchor="lm")
    for column, image in enumerate(images):
        row.paste(image, (column * (width + GAP_PX), head_px))
    panels.labels.update(range(17))  # one legend for all pictures, so that nothing jumps
    return stack([row, legend(row.width, round(0.85 * panels.text_px), "", panels.class_legend())], GAP_PX, MARGIN_PX)
