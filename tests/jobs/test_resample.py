"""Futures that agree with a partly decided one, by a teacher and by a meta flow map."""

import pytest
import torch

from occflow.command_line import compose_config
from occflow.errors import InputError
from occflow.forecasting.checkpoint import save_checkpoint
from occflow.jobs.resample import FutureResampler, agreement_table, resample_window, resampling_model
from occflow.models.student_networks import PosteriorNetwork
from studies.forecaster.study import changed


@pytest.fixture(params=["teacher", "student"])
def resampler(request, small_forecaster):
    """An untrained model, whose flow is that of unit Gaussian residuals: its posterior is known."""
    small_forecaster.requires_grad_(False)
    if request.param == "student":
        small_forecaster.velocity = PosteriorNetwork(small_forecaster.velocity).requires_grad_(False)
    return FutureResampler(small_forecaster, request.param, 60)


def test_residuals_have_the_exact_posterior(resampler, street_window):
    """Of unit Gaussian data at t: mean (1 - t) / v x_t and variance t^2 / v, v = (1 - t)^2 + t^2."""
    model, t = resampler.model, 0.4
    condition = model.condition(model.observe(street_window.task))
    decided = torch.randn(condition.forecast.mean.shape, generator=torch.Generator().manual_seed(1))
    samples = torch.stack([resampler.residual(condition, decided, t, seed) for seed in range(1, 9)])
    x_t = (1 - t) * decided + t * torch.randn(decided.shape, generator=torch.Generator().manual_seed(0))
    variance = (1 - t) ** 2 + t**2
    off = samples - (1 - t) / variance * x_t
    assert off.mean().item() == pytest.approx(0, abs=0.01)
    assert off.std().item() == pytest.approx(t / variance**0.5, rel=0.05)


def test_the_less_is_noised_the_nearer_samples_are_to_what_was_decided(resampler, street_window):
    model = resampler.model
    condition = model.condition(model.observe(street_window.task))
    decided = torch.randn(condition.forecast.mean.shape, generator=torch.Generator().manual_seed(1))
    off = [(resampler.residual(condition, decided, t, 3) - decided).pow(2).mean().item() for t in (0.05, 0.5, 1.0)]
    assert off[0] < 0.02 and off[0] < off[1] < off[2] == pytest.approx(2, rel=0.1)


def test_a_windows_own_future_is_resampled_and_told_of(resampler, street_window):
    kept, found = resampler.futures(street_window, "truth", [0.3], [1, 2])
    assert kept is street_window.truth and [len(futures) for futures in found.values()] == [2]
    assert agreement_table(kept, found).splitlines()[2].startswith("| 0.3 | ")
    own, _ = resampler.futures(street_window, "sample", [], [1, 2])
    assert len(own) == len(street_window.truth)


def test_a_missing_student_names_what_makes_one(tmp_path):
    with pytest.raises(InputError, match=r"student_meta_flow_map.safetensors does not exist; run distill with "
                                         r"distill=meta_flow_map, or name a teacher"):
        resample_window(compose_config([f"run_dir={tmp_path}"]))


def test_other_networks_are_resampled_other_windows_are_refused(small_forecaster, small_settings, tmp_path):
    grid = small_settings.grid.to_dict()
    config = {"device": "cpu", **changed(compose_config([]), {
        "data.grid": grid, "data.history": 2, "data.horizon": 3, "data.frame_interval_s": 0.5})}
    save_checkpoint(tmp_path / "teacher.safetensors", small_forecaster, "teacher", small_settings, {})
    assert resampling_model(tmp_path / "teacher.safetensors", config)[1] == "teacher"
    config["data"]["horizon"] = 4
    with pytest.raises(InputError, match="num_horizon: checkpoint 3, configured 4"):
        resampling_model(tmp_path / "teacher.safetensors", config)


def test_a_student_of_another_method_is_refused(small_forecaster):
    with pytest.raises(InputError, match="meta_flow_map"):
        FutureResampler(small_forecaster, "student")
