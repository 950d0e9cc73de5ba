"""A stream's forecasts as a page for the browser: instant after instant what was perceived, what was delivered, and,
in the forecast's grid, what the car saw when the time had come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from occflow.forecasting.rules import PERSISTENCE
from occflow.grid import VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.warp import warp
from occflow.stream.forecaster import StreamForecast
from occflow.stream.judge import SAME_INSTANT_S
from occflow.viewing.film import HISTORY
from occflow.viewing.page import FORECAST, OBSERVED, TRUE, Layer, PageWindow, write_page
from occflow.viewing.palette import OWN

SEEN_THEN, DELIVERED = "seen then", "delivered"


def write_stream_page(path: Path, grid: VoxelGrid, log_name: str, forecasts: Sequence[StreamForecast],
                      palette: str = OWN) -> Path | None:
    """Write forecasts, in the order of their delivery, as a page; None without any."""
    if not forecasts:
        return None
    return write_page(path, grid, f"Stream of {log_name}", stream_windows(grid, forecasts), _start(forecasts), palette)


def stream_windows(grid: VoxelGrid, forecasts: Sequence[StreamForecast]) -> Iterator[PageWindow]:
    """A window for each forecast."""
    for place, forecast in enumerate(forecasts):
        task, later = forecast.task.with_classes(), forecasts[place + 1:]
        past, ahead = len(task.history), len(forecast.frames)
        layers = [Layer(HISTORY, OBSERVED, [*task.history, *[None] * ahead])]
        seen = [_seen_in(grid, frame, task.scene, later) for frame in forecast.frames]
        if any(frame is not None for frame in seen):
            layers.append(Layer(SEEN_THEN, TRUE, [*[None] * past, *seen]))
        layers.append(Layer(DELIVERED, FORECAST, [*[None] * past, *forecast.frames]))
        how = f"persistence ({forecast.why})" if forecast.name == PERSISTENCE else forecast.name
        seconds = [frame.stamp_s - task.present.stamp_s for frame in (*task.history, *forecast.frames)]
        yield PageWindow(f"{task.scene}, {forecast.drive_s:.1f} s", f"{DELIVERED}: {how}", seconds, past - 1, layers)


def seen_at(stamp_s: float, scene: str, later: Sequence[StreamForecast]) -> OccupancyFrame | None:
    """What the car saw of a scene at a time, as the present of a later forecast; None where there is none."""
    presents = (one.task.present for one in later if one.task.scene == scene)
    return next((frame.with_classes() for frame in presents if abs(frame.stamp_s - stamp_s) < SAME_INSTANT_S), None)


def _start(forecasts: Sequence[StreamForecast]) -> int:
    """The window to begin with: the first one that the network made."""
    return next((place for place, one in enumerate(forecasts) if one.name != PERSISTENCE), 0)


def _seen_in(grid: VoxelGrid, frame: OccupancyFrame, scene: str, later: Sequence[StreamForecast]) -> \
        OccupancyFrame | None:
    """What was seen at the time of a forecast frame, in its grid: the ego did not drive quite as it was guessed to."""
    seen = seen_at(frame.stamp_s, scene, later)
    return None if seen is None else warp(seen, grid, frame.world_from_grid)
