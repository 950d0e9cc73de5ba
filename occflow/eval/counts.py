"""Counters that add up exactly in any order, and are kept a scene for an interval; figures for JSON."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, Protocol, TypeVar

PARTS = 1_000_000  # a measurement is counted in whole millionths: micrometres, microseconds


def number(value: float) -> float | None:
    """A float for JSON: nan becomes null."""
    return None if math.isnan(value) else round(float(value), 6)


def numbers(values: Iterable[float]) -> list[float | None]:
    """Floats for JSON: nan becomes null."""
    return [number(value) for value in values]


class MeanCounts:
    """Named means as 64-bit integer sums (in millionths) and numbers of measurements, so that shards add up exactly."""

    def __init__(self) -> None:
        self.sums: dict[str, int] = defaultdict(int)
        self.counts: dict[str, int] = defaultdict(int)

    def add(self, name: str, value: float, weight: int = 1) -> None:
        """Count `weight` measurements of the same value; a nan is no measurement."""
        if weight and not math.isnan(value):
            self.sums[name] += round(float(value) * PARTS) * weight
            self.counts[name] += weight

    def merge(self, other: MeanCounts) -> None:
        for name, total in other.sums.items():
            self.sums[name] += total
            self.counts[name] += other.counts[name]

    def mean(self, name: str) -> float:
        """nan where nothing was measured."""
        return self.sums[name] / self.counts[name] / PARTS if self.counts.get(name) else math.nan


class Mergeable(Protocol):
    """Counters that add up."""

    def merge(self, other) -> None: ...


Counts = TypeVar("Counts", bound=Mergeable)


class SceneCounts(Generic[Counts]):
    """Counters of one kind, one of each scene, so that scenes can be drawn anew; `make` gives empty ones."""

    def __init__(self, make: Callable[[], Counts]) -> None:
        self.make = make
        self.by_scene: dict[str, Counts] = {}

    def of(self, scene: str) -> Counts:
        """The counters of a scene, to count into."""
        if scene not in self.by_scene:
            self.by_scene[scene] = self.make()
        return self.by_scene[scene]

    def total(self) -> Counts:
        """Those of all scenes together."""
        total = self.make()
        for one in self.by_scene.values():
            total.merge(one)
        return total

    def merge(self, other: SceneCounts[Counts]) -> None:
        """Add another shard; it may hold the same scenes."""
        for scene, counts in other.by_scene.items():
            self.of(scene).merge(counts)


def merge_rows(rows: dict[str, SceneCounts], others: Mapping[str, SceneCounts]) -> None:
    """Add to the counters of each row, by name, those of other windows."""
    for name, counts in others.items():
        rows.setdefault(name, SceneCounts(counts.make)).merge(counts)
