"""Ego settings: what a forecaster is told about the vehicle's own future (docs/scores.md, "Windows")."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from occflow.errors import InputError
from occflow.forecasting.forecast import Forecast, Forecaster
from occflow.occupancy.ego_motion import extrapolated_poses
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.windows import Window

GIVEN, EXTRAPOLATED = "G", "H-extrapolated"
EGO_SETTINGS = {
    GIVEN: "the true future ego trajectory is given, as the poses of the target grids",
    EXTRAPOLATED: "the ego future is extrapolated from the history's poses at constant velocity and yaw rate; "
                  "forecasts are compared voxel by voxel with the targets in the true future ego grids, not warped",
}


class ExtrapolatedEgo:
    """A forecaster that sees nothing of the horizon: its grids are where the ego would be if it drove on as before.

    Each frame is then scored in the target's own grid as it is, as OccWorld does: a wrong guess of the ego costs.
    """

    def __init__(self, forecaster: Forecaster) -> None:
        self.forecaster, self.name, self.nfe = forecaster, forecaster.name, forecaster.nfe

    def forecast(self, window: Window, seed: int) -> Forecast:
        return _at_targets(self.forecaster.forecast(blind_window(window), seed), window)

    def samples(self, window: Window, seeds: list[int]) -> list[Forecast]:
        return [_at_targets(one, window) for one in self.forecaster.samples(blind_window(window), seeds)]


def blind_window(window: Window) -> Window:
    """The window with an empty horizon at the extrapolated ego poses."""
    present = window.present
    future_s = np.array([frame.stamp_s - present.stamp_s for frame in window.horizon])
    poses = extrapolated_poses(np.stack([frame.world_from_grid for frame in window.history]),
                               np.array([frame.stamp_s for frame in window.history]), future_s)
    nothing = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint8)
    return replace(window, horizon=tuple(OccupancyFrame(*nothing, pose, frame.stamp_s)
                                         for pose, frame in zip(poses, window.horizon)))


def _at_targets(forecast: Forecast, window: Window) -> Forecast:
    return replace(forecast, frames=tuple(replace(frame, world_from_grid=target.world_from_grid)
                                          for frame, target in zip(forecast.frames, window.horizon)))


def in_ego_setting(name: str, forecasters: list[Forecaster]) -> list[Forecaster]:
    """The forecasters under an ego setting; those that have one of their own (imported ones) keep it.

    Raises:
        InputError: no such setting.
    """
    if name not in EGO_SETTINGS:
        raise InputError(f"eval.ego: no setting '{name}'; known: {', '.join(EGO_SETTINGS)}")
    return forecasters if name == GIVEN else [one if hasattr(one, "ego") else ExtrapolatedEgo(one)
                                                     for one in forecasters]
