"""Ego settings: what a forecaster is told about the vehicle's own future (docs/scores.md, "Windows")."""

from __future__ import annotations

from dataclasses import replace

from occflow.errors import InputError
from occflow.forecasting.forecast import Forecast, Forecaster
from occflow.occupancy.tasks import EXTRAPOLATED, GIVEN, Task

EGO_SETTINGS = {
    GIVEN: "the true future ego trajectory is given, as the poses of the target grids",
    EXTRAPOLATED: "the ego future is extrapolated from the history's poses at constant velocity and yaw rate; "
                  "forecasts are compared voxel by voxel with the targets in the true future ego grids, not warped",
}


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
