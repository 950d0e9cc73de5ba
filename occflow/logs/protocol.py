"""What every driving log offers, whatever its layout on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

UNLABELLED = 255  # label of a point whose class is unknown
SAME_STAMP_S = 1e-6  # stamps are whole microseconds


@dataclass(frozen=True)
class Box:
    """An annotated object at one instant.

    Args:
        track: name of the object, the same at every instant.
        label: occupancy class (occflow.grid.CLASS_NAMES).
        world_from_box: pose [4, 4]; box centred, x along its length.
        size_lwh_m: length, width, height [3], metres.
    """

    track: str
    label: int
    world_from_box: np.ndarray
    size_lwh_m: np.ndarray


@dataclass(frozen=True)
class Sweep:
    """One LiDAR revolution.

    Args:
        stamp_s: time, seconds.
        points_sensor: [N, 3] float32, metres, sensor frame.
        labels: [N] uint8 occupancy classes, UNLABELLED where unknown; None where the sweep has none at all.
        world_from_sensor, world_from_ego: poses [4, 4] at the stamp.
        keyframe: token of the keyframe that this sweep is, None for a sweep between keyframes.
        path: the file it was read from (for messages).
        moving: [N] bool, which points belong to something that moves, where labels tell; None where they do not.
    """

    stamp_s: float
    points_sensor: np.ndarray
    labels: np.ndarray | None
    world_from_sensor: np.ndarray
    world_from_ego: np.ndarray
    keyframe: str | None
    path: Path
    moving: np.ndarray | None = None


@dataclass(frozen=True)
class Keyframe:
    """An annotated instant (2 Hz in nuScenes).

    Args:
        token: its name in the log.
        stamp_s: time, seconds.
        world_from_ego: pose [4, 4].
        boxes: the objects annotated there.
    """

    token: str
    stamp_s: float
    world_from_ego: np.ndarray
    boxes: tuple[Box, ...]


class DrivingLog(Protocol):
    """A recording, or a set of recordings, read lazily: one sweep in memory at a time."""

    name: str

    def scenes(self) -> list[str]:
        """Names of the scenes, in the log's order."""

    def splits(self) -> dict[str, list[str]]:
        """Scene names of "train" and "val"; a log without splits is all "val"."""

    def keyframes(self, scene: str) -> list[Keyframe]:
        """Keyframes of a scene in the order of time."""

    def sweeps(self, scene: str) -> Iterator[Sweep]:
        """All sweeps of a scene in the order of time, keyframes among them."""

    def boxes_at(self, scene: str, stamp_s: float) -> list[Box]:
        """Boxes at any time within the scene, interpolated between keyframes."""
