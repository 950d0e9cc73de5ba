"""What the numbers of a report mean: named protocols, and ego settings, what a forecaster is told about the vehicle's
own future (docs/scores.md, "Windows").
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from occflow.errors import InputError
from occflow.eval.iou import IoUCounts
from occflow.forecasting.forecast import Forecast, Forecaster
from occflow.occupancy.tasks import EXTRAPOLATED, GIVEN, Task

HORIZONS_S = (1, 2, 3)
EGO_SETTINGS = {
    GIVEN: "the true future ego trajectory is given, as the poses of the target grids",
    EXTRAPOLATED: "the ego future is extrapolated from the history's poses at constant velocity and yaw rate; "
                  "forecasts are compared voxel by voxel with the targets in the true future ego grids, not warped",
}


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


class ExtrapolatedEgo:
    """A forecaster that is told nothing of the future: its grids are where the ego would be if it drove on as before.

    Each frame is then scored in the target's own grid as it is, as OccWorld does: a wrong guess of the ego costs.
    """

    def __init__(self, forecaster: Forecaster) -> None:
        self.forecaster, self.name, self.nfe = forecaster, forecaster.name, forecaster.nfe

    def forecast(self, task: Task, seed: int) -> Forecast:
        return _at_targets(self.forecaster.forecast(task.extrapolated(), seed), task)

    def samples(self, task: Task, seeds: list[int]) -> list[Forecast]:
        return [_at_targets(one, task) for one in self.forecaster.samples(task.extrapolated(), seeds)]


def _at_targets(forecast: Forecast, task: Task) -> Forecast:
    return replace(forecast, frames=tuple(replace(frame, world_from_grid=target.world_from_grid)
                                          for frame, target in zip(forecast.frames, task.targets)))


def in_ego_setting(name: str, forecasters: list[Forecaster]) -> list[Forecaster]:
    """The forecasters under an ego setting; those that have one of their own (imported ones) keep it.

    Raises:
        InputError: no such setting.
    """
    if name not in EGO_SETTINGS:
        raise InputError(f"eval.ego: no setting '{name}'; known: {', '.join(EGO_SETTINGS)}")
    return forecasters if name == GIVEN else [one if hasattr(one, "ego") else ExtrapolatedEgo(one)
                                                     for one in forecasters]
