"""Figures for JSON, and sums of measurements that add up exactly in any order."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable

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
