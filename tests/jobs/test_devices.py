"""Networks on another device than the host's: every tensor of forecasts, samples and losses is made there, or moved."""

import copy
import math
import warnings
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from one_window import VALUES, OneWindow
from small_bodies import Windows as Source
from small_bodies import feed_of, motion_model, street
from two_devices import DEVICE, Host, Mixed, Waits, libraries_of_one_device, moved_when_registered

from occflow.distill.methods import METHODS, method_from_config
from occflow.forecasting.checkpoint import load_forecaster, save_checkpoint
from occflow.forecasting.consensus import ConsensusForecaster
from occflow.forecasting.networks import Sampler
from occflow.forecasting.rows import rows_of
from occflow.jobs.reconstruction import reconstruction
from occflow.jobs.resample import FutureResampler
from occflow.models.flow_model import FlowModel
from occflow.models.landing import LandingNetwork, LandingSettings
from occflow.models.motion import MotionModel
from occflow.models.regression import TrueFuture
from occflow.models.student_networks import around
from occflow.stream.clock import SystemClock
from occflow.stream.forecaster import StreamNetwork
from occflow.stream.latency import LatencyRecord
from occflow.stream.settings import DELIVERS
from occflow.training.autoencoder import PatchSet, train_autoencoder
from occflow.training.distillation import distill
from occflow.training.feeding import WindowFeed
from occflow.training.landing import LandingFeed, train_landing
from occflow.training.motion import MotionFeed, train_motion_flow, train_motion_mean
from occflow.training.run import TrainingRun
from occflow.training.support import ProposalFeed, train_support
from occflow.training.teacher import train_flow, train_mean, train_regression

ONE_STEP = {"steps": 1, "learning_rate": 1e-3, "warmup_steps": 1, "clip_norm": 1.0, "ema_decay": 0.5, "windows": 1}


@pytest.fixture()
def two_devices(monkeypatch):
    """As if the networks were on a device of their own; its waits are counted."""
    from_numpy = torch.from_numpy
    monkeypatch.setattr(torch, "from_numpy", lambda array: from_numpy(array).as_subclass(Host))
    monkeypatch.setattr(FlowModel, "device", DEVICE)
    moved_when_registered(monkeypatch)
    libraries_of_one_device(monkeypatch)
    with Waits() as waits:
        yield waits


def of_a_step(found: Counter, job) -> dict[str, float]:
    """What a step of a training waits for: what `job(steps)` has found after five steps, less after two."""
    counts = []
    for steps in (2, 5):
        found.clear()
        job(steps)
        counts.append(found.copy())
    return {name: number / 3 for name, number in (counts[1] - counts[0]).items()}


class Windows(WindowFeed):
    """A feed of one window, observed when it is drawn."""

    def __init__(self, forecaster: FlowModel, window) -> None:
        super().__init__(1, 0, 1)
        self.forecaster, self.observed = forecaster, window

    def make(self, index: int):
        return self.forecaster.observe(self.observed.task, self.observed.truth), 1

    def forget(self, index: int) -> None:
        """The trainings after it find it, too."""

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
    distill(small_forecaster, OneWindow(small_forecaster, street_window), one, values, 0, TrainingRun(tmp_path),
            teacher_map=small_forecaster.velocity if one.needs_map else None)


@pytest.mark.parametrize("head_channels", [0, 4])
def test_a_window_is_laid_out_on_the_device_and_waits_for_sizes_alone(two_devices, small_forecaster, street_window,
                                                                      head_channels):
    """Of the cells that movers are in, of the support, and of each coarser level: a head adds none."""
    small_forecaster = with_head(small_forecaster) if head_channels else small_forecaster
    settings = small_forecaster.settings
    prepared = small_forecaster.preparation.prepare(street_window.task)
    assert prepared.layout is None and isinstance(prepared.outline.touched, Host)
    history, _ = small_forecaster.encode_frames(street_window.history)
    moved = prepared.base.to(DEVICE)
    two_devices.found.clear()
    layout = small_forecaster.preparation.layout(prepared.outline.to(DEVICE), history, settings.grid, moved)
    assert two_devices.found == {"nonzero": 2 + len(settings.support.level_strides)}
    assert not any(isinstance(one, Host) for one in (layout.unseen, layout.history_table, layout.support.coords))


def with_head(forecaster: FlowModel) -> FlowModel:
    """A forecaster of the same settings with a head for its support."""
    settings = forecaster.settings
    return FlowModel(replace(settings, support=replace(settings.support, head_channels=4))).to(forecaster.device).eval()


def trainings_of(forecaster: FlowModel, model: MotionModel, window, run: TrainingRun) -> dict:
    """train(steps) by the name of a training, on one window that is laid out once."""
    windows, batches, motions = Windows(forecaster, window), OneWindow(forecaster, window), Motions()
    headed = with_head(forecaster)
    proposals = ProposalFeed(Source((window,)), [0], headed, 0)
    lander = LandingNetwork(LandingSettings(4, 4, 6), forecaster.settings.grid.shape[2]).to(forecaster.device)
    fallen = LandingFeed(Source((window,)), [0], 0, 0.0, device=forecaster.device)
    fallen.get(0)
    windows.next(1)
    proposals.get(0)

    def voxels(train, *seed, **values):
        return lambda steps: train(copy.deepcopy(forecaster), windows, {**ONE_STEP, "steps": steps, **values},
                                   *seed, run)

    def bodies(train, feed_of_model, **values):
        def job(steps: int) -> None:
            trained = copy.deepcopy(model)
            train(trained, feed_of_model(trained), {**ONE_STEP, "steps": steps, **values}, 0, run)
        return job

    def support(steps: int) -> None:
        values = {**ONE_STEP, "steps": steps, "positive_weight": 2.0, "recall": 0.9, "calibration_windows": 1}
        headed.support.requires_grad_(True)
        train_support(headed, proposals, values, 0, run)

    def landing(steps: int) -> None:
        lander.requires_grad_(True)
        train_landing(lander, fallen, {**ONE_STEP, "steps": steps, "calibration_windows": 1}, run)

    def mfd(steps: int) -> None:
        student = {**VALUES["student"], "steps": steps}
        distill(copy.deepcopy(forecaster), batches, method_from_config({"method": "mfd", "equal_share": 0.5}),
                {**VALUES, "student": student}, 0, run)

    flow = {"time_mean": 0.0, "time_scale": 1.0, "history_dropout": 0.5}
    return {"mean": voxels(train_mean, centre="median", scale_weight=0.1), "flow": voxels(train_flow, 0, **flow),
            "motion mean": bodies(train_motion_mean, lambda trained: motions, scale_weight=0.1),
            "motion flow": bodies(train_motion_flow, lambda trained: MotionFeed(motions, trained, 0), **flow),
            "support": support, "landing": landing, "mfd": mfd}


class Motions:
    """A feed of the bodies of one street, as on the host."""

    def __init__(self) -> None:
        self.batch, _ = feed_of(street()).make(0)

    def seek(self, draws: int) -> None:
        pass

    def fastest(self) -> float:
        return 20.0

    def next(self, windows: int, generator: torch.Generator):
        return self.batch


each_training = pytest.mark.parametrize("training, updates", [("mean", 1), ("flow", 1), ("motion mean", 1),
                                                              ("motion flow", 1), ("support", 1), ("landing", 1),
                                                              ("mfd", 2)])


@each_training
def test_a_step_waits_for_its_device_once_an_update(two_devices, small_forecaster, street_window, tmp_path, training,
                                                    updates):
    """There it is asked whether loss and gradient are finite, before weights are changed."""
    train = trainings_of(small_forecaster, motion_model(), street_window, TrainingRun(tmp_path))[training]
    assert of_a_step(two_devices.found, train) == {"__bool__": updates}


@pytest.mark.cuda
@each_training
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_waits_for_a_gpu_once_an_update(small_forecaster, street_window, tmp_path, training, updates, precision):
    """As torch itself tells it."""
    run, found = TrainingRun(tmp_path, precision=precision), Counter()
    train = trainings_of(small_forecaster.cuda(), motion_model().cuda(), street_window, run)[training]

    def watched(steps: int) -> None:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                train(steps)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        found.update(f"{one.filename}:{one.lineno}" for one in told if "synchronizing" in str(one.message))

    waits = of_a_step(found, watched)
    assert sum(waits.values()) == updates, waits
