"""Labelled movers in no box: nothing carries them to other instants, so each stays at the instant that it was met."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from occflow.grid import CLASS_NAMES, NUM_CLASSES


@dataclass(frozen=True)
class LonePoints:
    """Returns of movers at one keyframe: places [N, 3] float32, metres, frame of the static cells; labels [N] uint8."""

    places_m: np.ndarray
    labels: np.ndarray


TOLD_SHARE = 0.01  # of a scene's movers: fewer in no box are the sensor's noise at the boxes' faces, and not told
NOBODY = LonePoints(np.zeros((0, 3), np.float32), np.zeros(0, np.uint8))


class LoneMovers:
    """Keeps those of the keyframes' own sweeps, and counts those of the sweeps between, which are left out."""

    def __init__(self) -> None:
        self._at: dict[str, list[LonePoints]] = {}
        self._met = np.zeros(NUM_CLASSES, dtype=np.int64)
        self._left_out = self._carried = 0

    def add_carried(self, count: int) -> None:
        """Count returns of movers that boxes carry."""
        self._carried += count

    def add(self, keyframe: str | None, places_m: np.ndarray, labels: np.ndarray) -> None:
        """Count returns [N, 3] with classes [N] of (a part of) one sweep; `keyframe` is its token, None between."""
        if not len(labels):
            return
        self._met += np.bincount(labels, minlength=NUM_CLASSES)
        if keyframe is None:
            self._left_out += len(labels)
        else:
            self._at.setdefault(keyframe, []).append(LonePoints(places_m.astype(np.float32), labels))

    def at(self, keyframe: str) -> LonePoints:
        """The movers of a keyframe's own sweep."""
        parts = self._at.get(keyframe, [NOBODY])
        return LonePoints(np.concatenate([part.places_m for part in parts]),
                          np.concatenate([part.labels for part in parts]))

    def warn(self, scene: str, num_unlabelled: int) -> None:
        """One warning of what a scene's frames lack, where that is more than noise.

        Args:
            num_unlabelled: returns without a label that were dropped because movers were met where they are.
        """
        if self._met.sum() <= TOLD_SHARE * (self._met.sum() + self._carried):
            return
        classes = ", ".join(f"{CLASS_NAMES[label]} {self._met[label]}"
                            for label in np.argsort(-self._met, kind="stable") if self._met[label])
        warnings.warn(f"scene {scene}: {self._met.sum()} points of movers lie in no box ({classes}): those of a "
                      f"keyframe's own sweep are in its frame only, {self._left_out} of sweeps between keyframes and "
                      f"{num_unlabelled} unlabelled ones about them are left out", stacklevel=3)
