"""The evaluation loop: windows stream through the forecasters, counters add up."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from tqdm import tqdm

from occflow.eval.iou import IoUCounts
from occflow.forecasting.forecast import Forecast, Forecaster
from occflow.occupancy.windows import Window, WindowKey, WindowSource

STAGES = ("encode", "flow", "decode")
Progress = Callable[[Iterable[WindowKey], str], Iterable[WindowKey]]  # goes through windows, under a title


def with_bar(keys: Iterable[WindowKey], title: str) -> Iterable[WindowKey]:
    """The windows, with a bar of the progress through them."""
    return tqdm(keys, desc=title, unit="window", dynamic_ncols=True)


@dataclass
class ForecasterScores:
    """What was counted of one forecaster: counters a scene (mergeable), and milliseconds a stage and window.

    `ego` is its own ego setting, where that is not the report's.
    """

    name: str
    nfe: int
    by_scene: dict[str, IoUCounts] = field(default_factory=dict)
    ms: dict[str, list[float]] = field(default_factory=dict)
    ego: str | None = None

    def total(self) -> IoUCounts:
        """Counters of all scenes."""
        counts = list(self.by_scene.values())
        total = IoUCounts(counts[0].num_horizon)
        for one in counts:
            total.merge(one)
        return total

    def scene_confusion(self) -> tuple[list[str], np.ndarray]:
        """Names of the scenes, and their counters [S, F, 18, 18] int64."""
        return list(self.by_scene), np.stack([counts.confusion for counts in self.by_scene.values()])

    def median_ms(self) -> dict[str, float | None]:
        """Median milliseconds of each stage and of the whole forecast; None where not measured."""
        medians = {stage: float(np.median(self.ms[stage])) if stage in self.ms else None for stage in STAGES}
        totals = [sum(values) for values in zip(*self.ms.values())]
        return {**medians, "total": float(np.median(totals)) if totals else None}

    def merge(self, other: ForecasterScores) -> None:
        """Add those of other windows."""
        for scene, counts in other.by_scene.items():
            self.by_scene.setdefault(scene, IoUCounts(counts.num_horizon)).merge(counts)
        for stage, values in other.ms.items():
            self.ms.setdefault(stage, []).extend(values)

    def add(self, window: Window, forecast: Forecast) -> None:
        """Count one window.

        Raises:
            ValueError: the forecast has another number of frames than the truth.
        """
        if len(forecast.frames) != len(window.truth):
            raise ValueError(f"{self.name}: {len(forecast.frames)} frames forecast of {len(window.truth)}")
        counts = self.by_scene.setdefault(window.key.scene, IoUCounts(len(window.truth)))
        for index, (prediction, truth) in enumerate(zip(forecast.frames, window.truth)):
            counts.add(index, prediction, truth)
        for stage, value in forecast.ms.items():
            self.ms.setdefault(stage, []).append(value)


def forecast_seed(seed: int, key: WindowKey, sample: int = 0) -> int:
    """The seed of a window's noise, for its `sample`-th future.

    It is the same for every forecaster, so that teacher and student start alike, and in whatever shard or selection
    of windows the window is.
    """
    place = zlib.crc32(key.scene.encode()), key.start, sample
    return int(np.random.SeedSequence((seed, *place)).generate_state(1)[0])


@runtime_checkable
class Reference(Protocol):
    """A row that no forecaster can be, since it is made of the truth.

    Attributes:
        name: row name in reports.
        nfe: 0.
    """

    name: str
    nfe: int

    def of_window(self, window: Window) -> Forecast:
        """What it says of a window; nothing is drawn."""


def forecast_of(row: Forecaster | Reference, window: Window, seed: int) -> Forecast:
    """What a row says of a window: a forecaster is given its task, only a reference the truth."""
    return row.of_window(window) if isinstance(row, Reference) else row.forecast(window.task, seed)


def evaluate(source: WindowSource, keys: list[WindowKey], rows: Sequence[Forecaster | Reference], seed: int,
             watch: Callable[[Window, dict[str, Forecast]], None] | None = None,
             progress: Progress = with_bar) -> list[ForecasterScores]:
    """Score forecasters and references on windows; one window in memory at a time.

    Args:
        watch: called with every window and its forecasts by name.
    """
    scores = [ForecasterScores(one.name, one.nfe, ego=getattr(one, "ego", None)) for one in rows]
    for key in progress(keys, "evaluation"):
        window, forecasts = source.read(key), {}
        for row, score in zip(rows, scores):
            forecasts[row.name] = forecast_of(row, window, forecast_seed(seed, key))
            score.add(window, forecasts[row.name])
        if watch is not None:
            watch(window, forecasts)
    return scores
