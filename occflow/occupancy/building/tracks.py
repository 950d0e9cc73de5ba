"""Boxes at the time of any sweep, also of objects that are annotated at one of the keyframes around it only."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace

from occflow.logs.protocol import Box, DrivingLog, Keyframe


class Tracks:
    """The boxes of a scene; who comes into or leaves the annotated range between keyframes is there until then.

    Args:
        keyframes: of the scene, in the order of time.
    """

    def __init__(self, log: DrivingLog, scene: str, keyframes: list[Keyframe]) -> None:
        self._log, self._scene, self._keyframes = log, scene, keyframes
        self._stamps = [keyframe.stamp_s for keyframe in keyframes]
        self._boxes = [{box.track: box for box in keyframe.boxes if box.track} for keyframe in keyframes]

    def boxes_at(self, stamp_s: float) -> list[Box]:
        """Boxes at a time from the first keyframe on: those of the log, and the others, going on as they went."""
        boxes = self._log.boxes_at(self._scene, stamp_s)
        before = bisect_right(self._stamps, stamp_s) - 1
        known = {box.track for box in boxes}
        if 0 <= before < len(self._stamps) - 1 and self._stamps[before] < stamp_s:
            boxes = [*boxes, *self._going_on(before, before - 1, stamp_s, known),
                     *self._going_on(before + 1, before + 2, stamp_s, known)]
        return boxes

    def _going_on(self, near: int, far: int, stamp_s: float, known: set[str]) -> list[Box]:
        """Boxes of the keyframe `near`, at the velocity between it and `far`, its neighbour on the other side."""
        if not 0 <= far < len(self._stamps):
            return []
        share = (stamp_s - self._stamps[near]) / (self._stamps[far] - self._stamps[near])
        boxes = []
        for track in self._boxes[near].keys() - known:
            if track in self._boxes[far]:
                here, there = self._boxes[near][track], self._boxes[far][track]
                pose = here.world_from_box.copy()
                pose[:3, 3] += share * (there.world_from_box - here.world_from_box)[:3, 3]
                boxes.append(replace(here, world_from_box=pose))
        return sorted(boxes, key=lambda box: box.track)
