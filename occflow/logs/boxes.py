"""Boxes at any time, from those of annotated instants."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

import numpy as np

from occflow.geometry import interpolate
from occflow.logs.protocol import SAME_STAMP_S, Box


def boxes_at(stamp_s: float, instants_s: Sequence[float], boxes: Callable[[int], Sequence[Box]]) -> list[Box]:
    """Boxes at a time; none before the first and after the last instant.

    Args:
        instants_s: annotated instants, increasing, seconds.
        boxes: those of an instant, by its place in `instants_s`.
    """
    following = bisect_right(instants_s, stamp_s + SAME_STAMP_S)
    if following == 0:
        return []
    before_s = instants_s[following - 1]
    if stamp_s - before_s <= SAME_STAMP_S:
        return list(boxes(following - 1))
    if following == len(instants_s):
        return []
    fraction = (stamp_s - before_s) / (instants_s[following] - before_s)
    return interpolate_boxes(boxes(following - 1), boxes(following), fraction)


def interpolate_boxes(before: Sequence[Box], after: Sequence[Box], fraction: float) -> list[Box]:
    """Boxes at `fraction` (0..1) of the way from one instant to the next, tracks of `before` in their order.

    Linear in place and size, geodesic in rotation. An object known at one of the instants only is not returned.
    Boxes without a track come last, where they were at either instant: nobody knows which of them is which.
    """
    later = {box.track: box for box in after}
    pairs = [(box, later[box.track]) for box in before if box.track and box.track in later]
    nameless = [box for box in (*before, *after) if not box.track]
    if not pairs:
        return nameless
    start = np.stack([first.world_from_box for first, _ in pairs])  # [B, 4, 4]
    end = np.stack([second.world_from_box for _, second in pairs])
    named = [Box(first.track, first.label, pose, (1 - fraction) * first.size_lwh_m + fraction * second.size_lwh_m)
            for (first, second), pose in zip(pairs, interpolate(start, end, fraction), strict=True)]
    return named + nameless
