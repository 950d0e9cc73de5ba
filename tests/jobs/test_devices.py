"""Networks on another device than the host's: every tensor of forecasts, samples and losses is made there, or moved."""

import math

import numpy as np
import pytest
import torch
from one_window import VALUES, OneWindow
from two_devices import DEVICE, Host, Mixed, TwoDevices, libraries_of_one_device, moved_when_registered

from occflow.distill.methods import METHODS, method_from_config
from occflow.forecasting.checkpoint import load_forecaster, save_checkpoint
from occflow.forecasting.consensus import ConsensusForecaster
from occflow.forecasting.networks import Sampler
from occflow.forecasting.rows import rows_of
from occflow.jobs.reconstruction import reconstruction
from occflow.jobs.resample import FutureResampler
from occflow.models.flow_model import FlowModel
from occflow.models.regression import TrueFuture
from occflow.models.student_networks import around
from occflow.stream.clock import SystemClock
from occflow.stream.forecaster import StreamNetwork
from occflow.stream.latency import LatencyRecord
from occflow.stream.settings import DELIVERS
from occflow.training.autoencoder import PatchSet, train_autoencoder
from occflow.training.distillation import distill
from occflow.training.feeding import WindowFeed
from occflow.training.run import TrainingRun
from occflow.training.teacher import train_flow, train_mean, train_regression

ONE_STEP = {"steps": 1, "learning_rate": 1e-3, "warmup_steps": 1, "clip_norm": 1.0, "ema_decay": 0.5, "windows": 1}


@pytest.fixture()
def two_devices(monkeypatch):
    """As if the networks were on a device of their own."""
    from_numpy = torch.from_numpy
    monkeypatch.setattr(torch, "from_numpy", lambda array: from_numpy(array).as_subclass(Host))
    monkeypatch.setattr(FlowModel, "device", DEVICE)
    moved_when_registered(monkeypatch)
    libraries_of_one_device(monkeypatch)
    with TwoDevices():
        yield


class Windows(WindowFeed):
    """A feed of one window, observed when it is drawn."""

    def __init__(self, forecaster: FlowModel, window) -> None:
        super().__init__(1, 0, 1)
        self.forecaster, self.observed = forecaster, window

    def make(self, index: int):
        return self.forecaster.observe(self.observed.task, self.observed.truth), 1

    def next(self, windows: int):
        return self.draw(1)[0]


class Futures(Windows):
    """The same with its true voxels."""

    def make(self, index: int):
        return (self.forecaster.observe(self.observed.task),
                TrueFuture.of(self.forecaster, self.observed.truth, self.forecaster.settings.grid)), 1


def test_tensors_of_both_devices_do_not_mix(two_devices):
    on_device, on_host = torch.ones(3, device=DEVICE), torch.ones(3)
    for mixed in (lambda: on_device + on_host, lambda: on_device.numpy(), lambda: torch.cat([on_host, on_device]),
                  lambda: torch.randn(3, device=DEVICE, generator=torch.Generator())):
        with pytest.raises(Mixed):
            mixed()
    assert (on_device + on_host.to(DEVICE)).cpu().numpy().sum() == (on_device.cpu() + on_host).sum() == 6


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_a_forecaster_is_loaded_onto_the_device(small_forecaster, small_settings, tmp_path, monkeypatch, device):
    moved = []
    to = FlowModel.to
    monkeypatch.setattr(FlowModel, "to", lambda model, place: moved.append(place) or to(model, place))
    save_checkpoint(tmp_path / "t.safetensors", small_forecaster, "teacher", small_settings, {})
    load_forecaster(tmp_path / "t.safetensors", ("teacher",), device)
    rows_of(tmp_path / "t.safetensors", small_settings, [Sampler(1)], device=device)
    assert moved == [device, device]


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_a_teachers_forecasts(two_devices, small_forecaster, small_settings, street_window, tmp_path, guidance):
    save_checkpoint(tmp_path / "t.safetensors", small_forecaster, "teacher", small_settings, {})
    rows = rows_of(tmp_path / "t.safetensors", small_settings, [Sampler(2, "heun", 2.0, guidance)], device=DEVICE)
    for row in (*rows, ConsensusForecaster(rows[1], 2)):
        [forecast] = row.samples(street_window.task, [0])
        assert all(isinstance(frame.flat, np.ndarray) for frame in forecast.frames)


@pytest.mark.parametrize("method", ["mfd", "meta_flow_map", "transition"])
def test_a_students_forecasts(two_devices, small_forecaster, small_settings, street_window, tmp_path, method):
    parts = method_from_config({"method": method}).student_network
    small_forecaster.velocity = around(small_forecaster.velocity, parts)
    path = tmp_path / "s.safetensors"
    save_checkpoint(path, small_forecaster, "student", small_settings, {"distill": {"method": method}})
    for row in rows_of(path, small_settings, [], (1, 2), DEVICE):
        assert row.forecast(street_window.task, 0).frames


@pytest.mark.parametrize("delivers", DELIVERS)
def test_a_streams_forecasts(two_devices, small_forecaster, street_window, delivers):
    network = StreamNetwork(small_forecaster, LatencyRecord(SystemClock()), delivers)
    encoded = [network.encode(frame) for frame in street_window.history]
    assert network.forecast(street_window.task, encoded, 0)
    assert network.futures(street_window.task, encoded, 0).other([1])


@pytest.mark.parametrize("decided", ["truth", "sample"])
def test_futures_are_resampled(two_devices, small_forecaster, street_window, decided):
    resampler = FutureResampler(small_forecaster, "teacher", 1)
    assert resampler.futures(street_window, decided, [0.5], [1])[1]


def test_frames_are_reconstructed(two_devices, small_forecaster, street_window):
    assert reconstruction(small_forecaster, street_window.history, 0.1)["frames"] == 2


def test_the_trainings_before_a_distillation(two_devices, small_forecaster, street_window, tmp_path, monkeypatch):
    run, feed = TrainingRun(tmp_path), Windows(small_forecaster, street_window)
    stride = small_forecaster.settings.autoencoder.total_stride
    labels = np.random.default_rng(0).integers(17, size=(5, math.prod(stride)), dtype=np.uint8)
    monkeypatch.setattr(PatchSet, "from_store", lambda *arguments: PatchSet(labels, np.full(5, 0.2), stride))
    train_autoencoder(small_forecaster, None, {**ONE_STEP, "patches": 8, "latent_noise": 0.1, "unlabelled_share": 0.5,
                                               "lovasz_weight": 1.0}, 0, run)
    train_mean(small_forecaster, feed, {**ONE_STEP, "centre": "median", "scale_weight": 0.1}, run)
    flow = {**ONE_STEP, "time_mean": 0.0, "time_scale": 1.0, "history_dropout": 1.0}
    train_flow(small_forecaster, feed, flow, 0, run)
    train_regression(small_forecaster, Futures(small_forecaster, street_window), ONE_STEP, run)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_distillation(two_devices, small_forecaster, street_window, tmp_path, method):
    small_forecaster.requires_grad_(False)
    values = {**VALUES, "student": {**VALUES["student"], "steps": 1}, "auxiliary_warmup": 1,
              "stability": {"every": 1, "teacher_steps": 1}}
    one = method_from_config({"method": method, "steps_a_mean_velocity": 1})
    distill(small_forecaster, OneWindow(small_forecaster, street_window), one, values, 0, TrainingRun(tmp_path))
