"""An interrupted training that goes on equals one that was never interrupted, bit for bit."""

import dataclasses
import errno
import json
import os
import sys

import pytest
import torch
from fuzzing.edits import edited
from fuzzing.judging import digest
from safetensors import SafetensorError
from small_bodies import Windows, disturbed, feed_of, motion_model, street
from small_forecaster import street_frame

from occflow import weights_file
from occflow.distill.flow_maps import TerminalVelocityMatching
from occflow.distill.mfd import MeanFlowDistillation
from occflow.errors import InputError
from occflow.models.flow_model import FlowModel
from occflow.models.landing import LandingNetwork, LandingSettings
from occflow.models.regression import TrueFuture
from occflow.models.support_head import KEEPS_ALL
from occflow.occupancy.windows import Window
from occflow.run_record import read_seconds
from occflow.training.distillation import distill
from occflow.training.engine import step_generator, train
from occflow.training.feeding import FlowFeed, WindowFeed
from occflow.training.landing import LandingFeed, train_landing
from occflow.training.motion import MotionFeed, train_motion_flow, train_motion_mean
from occflow.training.optimiser import OptimiserSettings, Trainer
from occflow.training.run import ResumeState, TrainingRun
from occflow.training.support import ProposalFeed, train_support
from occflow.training.teacher import train_flow, train_mean, train_regression
from occflow.weights_file import read_weights, write_weights

pytestmark = pytest.mark.chaotic
OPTIMISER = {"learning_rate": 1e-2, "warmup_steps": 2, "clip_norm": 1.0, "ema_decay": 0.9}
MEAN = {**OPTIMISER, "steps": 6, "windows": 1, "centre": "median", "scale_weight": 0.1}
FLOW = {**OPTIMISER, "steps": 6, "windows": 1, "time_mean": 0.0, "time_scale": 1.0, "history_dropout": 0.5}
DISTILL = {"windows": 1, "auxiliary_warmup": 2, "auxiliary_updates": 2, "betas": [0.0, 0.99],
           "student": {**OPTIMISER, "steps": 4}, "auxiliary": OPTIMISER,
           "stability": {"every": 1, "teacher_steps": 1, "patience": 3}}
REGRESSION = {**OPTIMISER, "steps": 6, "windows": 1}
DISTILLATIONS = {"distillation": (MeanFlowDistillation(steps=1), DISTILL),
                 "distillation by slow targets": (TerminalVelocityMatching(from_data=True),
                                                  {**DISTILL, "slow_targets": True})}


class Drives(WindowFeed):
    """A feed of three observations that differ."""

    def __init__(self, forecaster: FlowModel, window) -> None:
        super().__init__(3, seed=5, bytes_a_site=1)
        self.forecaster, self.observation = forecaster, forecaster.observe(window.task, window.truth)

    def make(self, index: int):
        return dataclasses.replace(self.observation, target=self.observation.target + 0.1 * index), 1

    def next(self, windows: int):
        return self.draw(1)[0]


class Futures(Drives):
    """The same observations, each with its true voxels."""

    def __init__(self, forecaster: FlowModel, window) -> None:
        super().__init__(forecaster, window)
        self.truth = TrueFuture.of(forecaster, window.truth, forecaster.settings.grid)

    def make(self, index: int):
        return (self.observation, self.truth), 1


def run_of(folder, save_seconds=0.0, **configuration) -> TrainingRun:
    return TrainingRun(folder, {"seed": 0, **configuration}, save_seconds)


def lines(folder) -> list[dict]:
    """stats.jsonl without its clock."""
    records = [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if "second" not in name} for record in records]


def assert_same(a: torch.nn.Module, b: torch.nn.Module) -> None:
    assert a.state_dict().keys() == b.state_dict().keys()
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))


def toy(folder, steps: int = 40, save_seconds: float | None = 0.0, **configuration) -> torch.nn.Module:
    """A small network whose data and noise depend on the step."""
    torch.manual_seed(0)
    net, feed = torch.nn.Linear(3, 1), WindowFeed(7, seed=1, bytes_a_site=1)
    feed.make = lambda index: (torch.full((4, 3), 0.1 * index), 1)

    def loss_of_step(step):
        [x] = feed.draw(1)
        noise = torch.randn(4, 3, generator=step_generator(0, step))
        return ((net(x + noise) - x.sum(1, keepdim=True)) ** 2).mean(), {}

    run = run_of(folder, save_seconds, **configuration)
    return train(run, "toy", net, OptimiserSettings(steps=steps, **OPTIMISER), loss_of_step, feed=feed)


@pytest.mark.parametrize("updates", [1, 33])
def test_a_resumed_training_equals_an_uninterrupted_one(cut, tmp_path, updates):
    whole = toy(tmp_path / "whole", save_seconds=None)
    assert cut(lambda: toy(tmp_path / "cut"), updates)
    assert_same(toy(tmp_path / "cut"), whole)
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")


def test_steps_after_the_last_state_are_made_again_and_logged_once(cut, tmp_path):
    whole = toy(tmp_path / "whole", save_seconds=None)
    assert cut(lambda: toy(tmp_path / "cut", save_seconds=1e9), 30)  # only the state of the start is there
    assert len(lines(tmp_path / "cut")) == 1
    with (tmp_path / "cut" / "stats.jsonl").open("a") as file:
        file.write('3\n[]\n{}\n{"training": "toy"}\n{"step": 30, "loss": 1}\n{"training": "toy", "step": null}\n\0\n')
        file.write('{"training": "toy", "step": "4"}\n' + "[" * 10**5 + "\n")  # nobody's lines
        file.write('{"training": "to')  # cut off while it wrote
    assert_same(toy(tmp_path / "cut"), whole)
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")


def test_a_finished_training_is_not_repeated_until_it_is_forgotten(cut, tmp_path):
    whole = toy(tmp_path, save_seconds=1e9)
    assert not cut(lambda: assert_same(toy(tmp_path), whole), 0)
    run_of(tmp_path).forget("toy")
    assert not (tmp_path / "resume").exists()
    assert cut(lambda: toy(tmp_path), 0)


def test_the_state_of_another_configuration_is_refused(cut, tmp_path):
    cut(lambda: toy(tmp_path, rate=1), 3)
    with pytest.raises(InputError, match="rate: interrupted 1, configured 2.*remove .*resume/toy"):
        toy(tmp_path, rate=2)


def test_a_damaged_state_is_refused_in_one_line(tmp_path):
    toy(tmp_path, steps=2)
    (tmp_path / "resume" / "toy" / "state.safetensors").write_bytes(b"damaged")
    with pytest.raises(InputError, match="cannot be read; remove"):
        toy(tmp_path, steps=2)


def test_no_edit_of_a_state_changes_what_a_training_goes_on_from(cut, tmp_path):
    """Random edits: refused in one line with the remedy, or the training is what it would have been."""
    cut(lambda: toy(tmp_path), 5)
    path = tmp_path / "resume" / "toy" / "state.safetensors"
    content, sound, refused = path.read_bytes(), digest(read_weights(path)), 0
    for number in range(100):
        path.write_bytes(edited(content, "state", ("bytes",), number).content)
        try:
            found = read_weights(path)
        except ValueError:
            refused += 1
            with pytest.raises(InputError, match="state.safetensors: .* cannot be read; remove .*resume/toy to start"):
                toy(tmp_path)
        else:
            assert digest(found) == sound
    assert refused > 80


def test_the_seconds_of_interrupted_processes_are_counted(cut, tmp_path):
    run, path = run_of(tmp_path), tmp_path / "resume" / "toy" / "state.safetensors"

    def timed(seconds_before: float) -> float:
        with run.timed("toy", "step"):
            toy(tmp_path, steps=8)
        return read_seconds(tmp_path)["step"] - seconds_before

    assert cut(lambda: timed(0.0), 3) and read_seconds(tmp_path) == {}
    record, tensors = read_weights(path)
    assert record["log"]["seconds"] > 0
    record["log"]["seconds"] = 1000.0  # as if the first process had taken so long
    write_weights(path, {name: tensor.clone() for name, tensor in tensors.items()}, record)
    assert cut(lambda: timed(0.0), 3)  # and the second was interrupted, too
    assert 0 < timed(1000.0) < 500 and lines(tmp_path)[-1]["step"] == 8


@pytest.mark.parametrize("change", [{"log": 3}, {"counts": {}}, {"counts": {"network": "5"}}, {"configuration": []}])
def test_a_forged_state_is_refused_in_one_line(cut, tmp_path, change):
    cut(lambda: toy(tmp_path), 5)
    path = tmp_path / "resume" / "toy" / "state.safetensors"
    record, tensors = read_weights(path)
    write_weights(path, {name: tensor.clone() for name, tensor in tensors.items()}, {**record, **change})
    with pytest.raises(InputError, match="cannot be read; remove"):
        toy(tmp_path)


def test_figures_that_are_not_finite_leave_a_state_that_can_be_read(tmp_path):
    run = run_of(tmp_path)
    log, net = run.log("toy", 3, 1), torch.nn.Linear(2, 2)
    log.add({"ratio": float("nan"), "loss": 1.0})
    trainer = Trainer(net, OptimiserSettings(3, **OPTIMISER))
    ResumeState(run, log, {"network": trainer}, net).save()
    again = run.log("toy", 3, 1)
    assert ResumeState(run, again, {"network": trainer}, net).load() == 1 and again.sums["loss"] == 1.0


@pytest.mark.parametrize("fault", ["safetensors", "sync"])
def test_a_full_disk_ends_a_training_in_one_line_and_leaves_the_last_state(cut, tmp_path, monkeypatch, fault):
    """And with room again it goes on as if nothing had been."""
    whole = toy(tmp_path / "whole", save_seconds=None)
    assert cut(lambda: toy(tmp_path / "full"), 10)
    state = tmp_path / "full" / "resume" / "toy" / "state.safetensors"
    before = state.read_bytes()

    def full(*arguments):
        if fault == "sync":
            raise OSError(errno.ENOSPC, "No space left on device")
        raise SafetensorError("Error while serializing: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync") if fault == "sync" else (weights_file, "save_file")), full)
        with pytest.raises(InputError, match=r"toy/state.safetensors: cannot be written \(.*No space") as found:
            toy(tmp_path / "full")
    assert "\n" not in str(found.value) and state.read_bytes() == before
    assert [path.name for path in state.parent.iterdir()] == [state.name]
    assert_same(toy(tmp_path / "full"), whole)


def trained(settings, window, folder, training: str) -> FlowModel:
    """One training of the small forecaster."""
    torch.manual_seed(0)
    forecaster = FlowModel(settings).eval()
    forecaster.autoencoder.requires_grad_(False)
    torch.nn.init.normal_(forecaster.velocity.out.weight, std=0.2)
    feed, run = Drives(forecaster, window), run_of(folder)
    if training == "regression":
        return train_regression(forecaster, Futures(forecaster, window), REGRESSION, run)
    if training == "mean":
        train_mean(forecaster, feed, MEAN, run)
    elif training == "flow":
        train_flow(forecaster, feed, FLOW, 0, run)
    else:
        forecaster.requires_grad_(False)
        method, values = DISTILLATIONS[training]
        return distill(forecaster, FlowFeed(feed, 1), method, values, 0, run)
    return forecaster


@pytest.mark.parametrize("training, updates", [("mean", 2), ("flow", 3), ("distillation", 6),
                                               ("distillation by slow targets", 2), ("regression", 4)])
def test_the_forecasters_trainings_resume_exactly(cut, small_settings, street_window, tmp_path, training, updates):
    def job(folder):
        return trained(small_settings, street_window, tmp_path / folder, training)

    whole = job("whole")
    assert cut(lambda: job("cut"), updates)
    assert_same(job("cut"), whole)
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")


def trained_head(settings, window, folder) -> torch.nn.Module:
    """The head of the support, of windows that differ."""
    torch.manual_seed(0)
    model = FlowModel(dataclasses.replace(settings, support=dataclasses.replace(settings.support, head_channels=4)))
    later = Window.of(window.key, (window.history[-1], window.truth[0]), tuple(street_frame(i) for i in (3, 4, 5)))
    feed = ProposalFeed(Windows((window, later)), [0, 1], model.eval(), 3)
    values = {**OPTIMISER, "steps": 6, "windows": 2, "positive_weight": 2.0, "recall": 0.9, "calibration_windows": 2}
    train_support(model, feed, values, 0, run_of(folder))
    return model.support


def trained_landing(settings, window, folder) -> torch.nn.Module:
    """The network that moves a present, of windows that differ."""
    torch.manual_seed(0)
    network = LandingNetwork(LandingSettings(4, 4, 6), settings.grid.shape[2])
    later = Window.of(window.key, (window.history[-1], window.truth[0]), tuple(street_frame(i) for i in (3, 4, 5)))
    feed = LandingFeed(Windows((window, later)), [0, 1], 3, 0.0)
    train_landing(network, feed, {**OPTIMISER, "steps": 6, "windows": 2, "calibration_windows": 2}, run_of(folder))
    return network


def test_the_training_of_what_moves_a_present_resumes_exactly(cut, small_settings, street_window, tmp_path):
    def job(folder):
        return trained_landing(small_settings, street_window, tmp_path / folder)

    whole = job("whole")
    assert lines(tmp_path / "whole")[-1]["training"] == "landing"
    assert cut(lambda: job("cut"), 3)
    assert_same(job("cut"), whole)
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")


def test_the_training_of_the_supports_head_resumes_exactly(cut, small_settings, street_window, tmp_path):
    def job(folder):
        return trained_head(small_settings, street_window, tmp_path / folder)

    whole = job("whole")
    assert float(whole.threshold) > KEEPS_ALL and lines(tmp_path / "whole")[-1]["training"] == "support"
    assert cut(lambda: job("cut"), 3)
    assert_same(job("cut"), whole)
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")


def trained_motions(folder) -> torch.nn.Module:
    """Centre, flow and student of the motions, of windows that differ."""
    model, run = disturbed(motion_model()), run_of(folder)
    feed = feed_of(street(), street(annotated=("ahead", "standing")), street(names=("turning", "leaving")))
    train_motion_mean(model, feed, {**MEAN, "steps": 4}, 0, run)
    train_motion_flow(model, MotionFeed(feed, model, 0), {**FLOW, "steps": 4}, 0, run)
    values = {**DISTILL, "checkpoint": "student_motion"}
    return distill(model, MotionFeed(feed, model, 1), MeanFlowDistillation(steps=1), values, 0, run)


def test_the_trainings_of_the_motions_resume_exactly(cut, tmp_path):
    """Cut off in the midst of the centre's, then of the flow's, then of the distillation."""
    whole = trained_motions(tmp_path / "whole")
    for updates in (2, 4, 6):
        assert cut(lambda updates=updates: trained_motions(tmp_path / "cut"), updates)
    assert_same(trained_motions(tmp_path / "cut"), whole)
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")


def test_unknown_precision_is_refused():
    with pytest.raises(InputError, match="use auto, fp32, bf16"):
        TrainingRun(None, precision="fp8")


def test_bf16_trains_in_reduced_precision():
    with TrainingRun(None, precision="bf16").autocast(torch.device("cpu")):
        assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.bfloat16
    with TrainingRun(None, precision="auto").autocast(torch.device("cpu")):
        assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.float32


def test_missing_tensorboard_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=r"occflow\[log\]"):
        dataclasses.replace(run_of(tmp_path), tensorboard=True).log("toy", 1, 1)
