"""What the numbers of a report mean: named protocols (docs/scores.md, "Windows")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occflow.errors import InputError
from occflow.eval.iou import IoUCounts

HORIZONS_S = (1, 2, 3)


@dataclass(frozen=True)
class Protocol:
    """Each target in its own future ego grid; IoU, mIoU over the 17 classes, counts summed over all windows.

    Args:
        name: what a report calls it.
        released_rule: a class that the truth lacks counts as 1, as in OccWorld's code; otherwise one that truth and
            forecast lack is not counted.
    """

    name: str
    released_rule: bool

    def scores(self, counts: IoUCounts) -> dict[str, np.ndarray]:
        """Arrays [F]: iou, miou, movable_iou, movable_miou."""
        return {"iou": counts.iou(), "miou": counts.miou(self.released_rule),
                "movable_iou": counts.movable_iou(), "movable_miou": counts.movable_miou()}


PROTOCOLS = {protocol.name: protocol for protocol in (Protocol("occworld", True), Protocol("occworld-strict", False))}


def protocol_named(name: str) -> Protocol:
    """A protocol by its name.

    Raises:
        InputError: no such protocol.
    """
    if name not in PROTOCOLS:
        raise InputError(f"eval.protocol: no protocol '{name}'; known: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def horizon_frames(frame_interval_s: float, num_horizon: int) -> list[int]:
    """Indices of the frames at 1, 2 and 3 s.

    Raises:
        InputError: the horizon has no frame at one of them.
    """
    indices = [round(second / frame_interval_s) - 1 for second in HORIZONS_S]
    exact = all(abs((index + 1) * frame_interval_s - second) < 1e-6 for index, second in zip(indices, HORIZONS_S))
    if not exact or max(indices) >= num_horizon:
        raise InputError(f"data.horizon: {num_horizon} frames every {frame_interval_s} s do not hold 1, 2 and 3 s")
    return indices
