"""Counters kept a scene, so that scenes can be drawn anew for an interval."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Mergeable(Protocol):
    """Counters that add up."""

    def merge(self, other) -> None: ...


Counts = TypeVar("Counts", bound=Mergeable)


class SceneCounts(Generic[Counts]):
    """Counters of one kind, one of each scene; `make` gives empty ones."""

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
