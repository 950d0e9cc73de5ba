"""Where a stream's forecasts go: the last ones are kept, for an animation and for the player."""

from __future__ import annotations

from collections import deque
from pathlib import Path

from occflow.grid import VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.storage.forecast_file import save_forecasts
from occflow.stream.forecaster import StreamForecast


def shown_frames(forecast: StreamForecast, seconds: list[float]) -> list[OccupancyFrame]:
    """The present, and of the forecast the frames nearest to times after it."""
    present = forecast.task.present.with_classes()
    return [present, *(min(forecast.frames, key=lambda frame: abs(frame.stamp_s - present.stamp_s - after_s))
                       for after_s in seconds)]


class LastForecasts:
    """Keeps the last forecasts of a stream, and the last one that the network made, however long ago."""

    def __init__(self, number: int) -> None:
        self._kept: deque[StreamForecast] = deque(maxlen=max(1, number))
        self._made: StreamForecast | None = None

    def deliver(self, forecast: StreamForecast) -> None:
        self._kept.append(forecast)
        if forecast.name != "persistence":
            self._made = forecast

    def save(self, path: Path, grid: VoxelGrid) -> Path | None:
        """Write the last forecast that the network made, for player and render; None without one."""
        made = self._made
        if made is None:
            return None
        save_forecasts(path, grid, made.task.with_classes(), {made.name: made.frames})
        return path

    def kept(self) -> list[StreamForecast]:
        """The last forecasts, in the order of their delivery."""
        return list(self._kept)
