"""Futures that agree with a partly decided one: p(x | x_t) of a noised future x_t, by a student or by its teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from occflow.errors import InputError
from occflow.eval.ensemble import energy_score
from occflow.eval.evaluate import forecast_seed
from occflow.eval.sections import table
from occflow.flow.path import noised
from occflow.flow.posterior import PosteriorVelocity, posterior_velocity
from occflow.flow.solvers import resampled, sample_flow
from occflow.forecasting.checkpoint import forecaster_of, read_checkpoint, refuse_other_windows
from occflow.jobs.sources import configured_device, configured_windows, open_configured_store, prepare_torch
from occflow.models.flow_model import Condition, FlowModel
from occflow.models.settings import settings_from_config
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.settings import refuse_unknown
from occflow.occupancy.storage.forecast_file import save_forecasts
from occflow.occupancy.window_index import scored_windows
from occflow.occupancy.windows import Window

DECIDED = ("truth", "sample")


class FutureResampler:
    """Samples of p(x | x_t) for one window.

    Args:
        model: with the network of `MetaFlowMap`, one step a sample; or a teacher, `teacher_steps` Euler steps of the
            flow to p(x | x_t), whose velocity its own network gives exactly.

    Raises:
        InputError: a student of another method, which knows no posterior.
    """

    def __init__(self, model: FlowModel, kind: str, teacher_steps: int = 10) -> None:
        self.model, self.teacher_steps = model.eval(), teacher_steps
        self.learned = hasattr(model.velocity, "posterior")
        if kind == "student" and not self.learned:
            raise InputError("resample.checkpoint: a student of a method that learns no posterior; use one of "
                             "distill=meta_flow_map, or a teacher")

    @torch.no_grad()
    def residual(self, condition: Condition, decided: Tensor, time: float, seed: int) -> Tensor:
        """A sample [N, C] of p(x | x_t); x_t is the residual `decided` [N, C] noised to `time` in [0, 1], by a noise
        that is always the same. The seed is of what is sampled."""
        first, second = (torch.randn(decided.shape, generator=torch.Generator().manual_seed(one)).to(decided)
                         for one in (0, seed))
        sample, t = condition.sample, torch.full((condition.layout.num_samples,), float(time)).to(decided)
        x_t = noised(decided, first, t, sample).x_t
        if self.learned:
            return resampled(self._posterior(condition), x_t, t, second)
        velocity = self.model.velocity_field(condition)
        return sample_flow(lambda y, s: posterior_velocity(velocity, y, s, x_t, t, sample), second, sample, len(t),
                           self.teacher_steps)

    def _posterior(self, condition: Condition) -> PosteriorVelocity:
        return lambda *inputs: self.model.velocity.posterior(*inputs, condition.forecast, condition.layout)

    @torch.no_grad()
    def futures(self, window: Window, decided: str, times: Sequence[float], seeds: Sequence[int]
                ) -> tuple[tuple[OccupancyFrame, ...], dict[float, list[tuple[OccupancyFrame, ...]]]]:
        """The decided future, and for every time as many that agree with it as there are seeds."""
        observation = self.model.observe(window.task, window.truth if decided == "truth" else None)
        condition, decode = self.model.condition(observation), self.model.decoder(observation, window.task.targets)
        if decided == "truth":
            residual, kept = condition.residual(observation.target), window.truth
        else:
            residual = self.residual(condition, torch.zeros_like(condition.forecast.mean), 1.0, seeds[0] + 1)
            kept = decode(condition.state(residual))
        return kept, {time: [decode(condition.state(self.residual(condition, residual, time, seed)))
                             for seed in seeds] for time in times}


def resample_window(config: Mapping) -> str:
    """Re-sample one held-out window as group `resample` asks; writes resample.output, returns a table.

    Raises:
        InputError: an unknown `decided`, times out of [0, 1], a window or checkpoint that is not there.
    """
    values = config["resample"]
    refuse_unknown("resample.decided", values["decided"], DECIDED)
    if values["samples"] < 2 or not all(0 <= time <= 1 for time in values["times"]):
        raise InputError("resample: wants samples >= 2 and times in [0, 1]")
    prepare_torch(config)
    model, kind = resampling_model(Path(values["checkpoint"]), config)
    resampler = FutureResampler(model, kind, values["teacher_steps"])
    window = chosen_window(config, values["window"])
    seeds = [forecast_seed(config["seed"], window.key, number) for number in range(values["samples"])]
    decided, found = resampler.futures(window, values["decided"], values["times"], seeds)
    save_forecasts(Path(values["output"]), model.settings.grid, window.task, {"decided": decided},
                   {f"t={time:g}": futures for time, futures in found.items()}, window.truth)
    return agreement_table(decided, found)


def resampling_model(path: Path, config: Mapping) -> tuple[FlowModel, str]:
    """The model of resample.checkpoint, with networks of its own, and its kind.

    Raises:
        InputError: no such file, one of another kind, or of other windows than the configured ones.
    """
    if not path.is_file():
        raise InputError(f"resample.checkpoint: {path} does not exist; run distill with "
                         "distill=meta_flow_map, or name a teacher (RUN_DIR/teacher.safetensors)")
    checkpoint = read_checkpoint(path)
    model = forecaster_of(checkpoint, ("student", "teacher"), configured_device(config))
    refuse_other_windows(path, model.settings, settings_from_config(config["data"], config["model"]))
    return model, checkpoint.record["kind"]


def chosen_window(config: Mapping, number: int) -> Window:
    """The window of that number among the scored ones."""
    data, values, store = config["data"], config["eval"], open_configured_store(config)
    keys = scored_windows(store, values["split"], data["history"], data["horizon"], values["window_rule"],
                          values["window_stride"])
    if not 0 <= number < len(keys):
        raise InputError(f"resample.window: {number} is not there; {store.path} has windows 0 to {len(keys) - 1}")
    return configured_windows(config, store).read(keys[number])


def agreement_table(decided: Sequence[OccupancyFrame], found: Mapping[float, list]) -> str:
    """Jaccard distances of whole futures, all voxels / movable ones."""
    rows = []
    for time, futures in found.items():
        scores = [energy_score(futures, decided, movable_only) for movable_only in (False, True)]
        rows.append([f"{time:g}", *(" / ".join(f"{getattr(one, name):.3f}" for one in scores)
                                    for name in ("distance", "diversity"))])
    return "\n".join(table(("t", "to the decided future", "between samples"), rows)).rstrip()
