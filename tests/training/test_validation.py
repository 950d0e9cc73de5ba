"""What trainings are validated on, and the best weights."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from small_bodies import Windows, disturbed, feed_of, motion_model, street
from small_perception import SightedStreet, small_perception

from occflow.errors import InputError
from occflow.jobs.held_out import (
    held_out_bodies,
    held_out_landings,
    held_out_patches,
    held_out_sightings,
    held_out_windows,
)
from occflow.jobs.standing import shaping
from occflow.models.flow_model import FlowModel
from occflow.models.landing import LandingNetwork, LandingSettings
from occflow.training.autoencoder import train_autoencoder
from occflow.training.engine import step_generator, train
from occflow.training.feeding import ObservationFeed
from occflow.training.landing import LandingFeed, train_landing
from occflow.training.motion import MotionFeed, train_motion_flow, train_motion_mean
from occflow.training.optimiser import NonFiniteLoss, OptimiserSettings, Trainer
from occflow.training.perception import train_perception
from occflow.training.run import TrainingRun
from occflow.training.support import ProposalFeed, train_support
from occflow.training.teacher import TwinFeed, train_flow, train_mean, train_regression
from occflow.training.validation import HeldOut, Validation, averaged_weights, evenly

pytestmark = pytest.mark.chaotic
SETTINGS = OptimiserSettings(steps=30, learning_rate=0.1, warmup_steps=2, clip_norm=1.0, ema_decay=0.5)
STEPS = {"steps": 3, "learning_rate": 1e-2, "warmup_steps": 1, "clip_norm": 1.0, "ema_decay": 0.5, "windows": 1}
VALIDATE = {"every": 2, "windows": 2, "split": "val", "keep_best": False}
CONFIG = {"train": {"validate": VALIDATE, "crop": {"voxels": 0, "a_window": 1}, "perceived_share": 0.0,
                    "mirrored_share": 0.0, "true_motions": True, "autoencoder": {"patches": 20}}}


def lines(folder) -> list[dict]:
    records = [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if "second" not in name} for record in records]


def overtrained(folder, keep_best: bool, save_seconds: float | None = None) -> tuple[torch.nn.Module, list[float]]:
    """A training that moves past what is held out, and its losses there."""
    torch.manual_seed(0)
    net, losses = torch.nn.Linear(1, 1), []
    torch.nn.init.zeros_(net.weight)
    x = torch.ones(4, 1)

    def loss_of_step(step: int):
        noise = 0.1 * torch.randn(4, 1, generator=step_generator(0, step))
        return ((net(x) - 2.0 + noise) ** 2).mean(), {}

    def held_out_loss(index: int) -> torch.Tensor:
        losses.append(float(((net(x) - 1.0 - 0.1 * index) ** 2).mean()))
        return torch.tensor(losses[-1])

    validation = Validation(HeldOut(None, 2, 4, keep_best), held_out_loss)
    run = TrainingRun(folder, {"seed": 0}, save_seconds)
    return train(run, "toy", net, SETTINGS, loss_of_step, validation=validation), losses


def test_the_best_weights_are_the_result_where_they_are_kept(tmp_path):
    best, losses = overtrained(tmp_path / "best", True)
    last, same = overtrained(tmp_path / "last", False)
    assert losses == same and len(losses) == 2 * 8  # after 4, 8, ... 28 steps and the last one
    means = [(a + b) / 2 for a, b in zip(losses[::2], losses[1::2])]
    assert min(means) < means[-1]
    x = torch.ones(4, 1)

    def held_out_loss(net: torch.nn.Module) -> float:
        return sum(float(((net(x) - 1.0 - 0.1 * index) ** 2).mean()) for index in range(2)) / 2

    assert held_out_loss(best) == pytest.approx(min(means)) and held_out_loss(last) == pytest.approx(means[-1])
    told = [line["validation_loss"] for line in lines(tmp_path / "best")]
    assert told == pytest.approx([sum(means[:6]) / 6, sum(means[6:]) / 2])  # in the lines of 25 and of 30 steps


@pytest.mark.parametrize("updates", [3, 4, 13, 29])
def test_an_interrupted_training_knows_its_best(cut, tmp_path, updates):
    whole, _ = overtrained(tmp_path / "whole", True)
    assert cut(lambda: overtrained(tmp_path / "cut", True, 0.0), updates)
    again, _ = overtrained(tmp_path / "cut", True, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values()))
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")


def test_to_be_validated_changes_no_training(tmp_path):
    found, _ = overtrained(tmp_path, False)
    torch.manual_seed(0)
    net = torch.nn.Linear(1, 1)
    torch.nn.init.zeros_(net.weight)
    x = torch.ones(4, 1)
    wanted = train(TrainingRun(tmp_path), "plain", net, SETTINGS, lambda step: (
        ((net(x) - 2.0 + 0.1 * torch.randn(4, 1, generator=step_generator(0, step))) ** 2).mean(), {}))
    assert all(torch.equal(a, b) for a, b in zip(found.state_dict().values(), wanted.state_dict().values()))


def test_the_averaged_weights_are_judged_and_put_back_whatever_happens():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)).train()
    trainer = Trainer(net, SETTINGS)
    with torch.no_grad():
        net[0].weight += 1.0
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(KeyboardInterrupt), averaged_weights(trainer):
        assert not net[1].training and torch.allclose(net[0].weight, before["0.weight"] - 1.0, atol=1e-6)
        raise KeyboardInterrupt
    assert net[1].training and all(torch.equal(net.state_dict()[name], tensor) for name, tensor in before.items())
    trainer.step(net(torch.randn(3, 2)).square().sum())  # the optimiser has the network's weights still
    assert not torch.equal(net[0].weight, before["0.weight"])


def test_a_loss_that_is_not_finite_is_one_line():
    trainer = Trainer(torch.nn.Linear(1, 1), SETTINGS)
    with pytest.raises(NonFiniteLoss, match="held-out items is nan after 0 steps"):
        Validation(HeldOut(None, 1, 1), lambda index: torch.tensor(math.nan)).judge(trainer)


def test_few_items_are_taken_from_all_over():
    assert evenly(list(range(100)), 4, "") == [12, 37, 62, 87] and evenly([5, 6], 9, "") == [5, 6]
    with pytest.raises(InputError, match="runs/store, split 'x': nothing to validate on; name another"):
        evenly([], 4, "runs/store, split 'x'")


def test_what_chooses_weights_shapes_them():
    plain, chosen = ({"train": {"validate": {"every": every, "keep_best": True}}} for every in (0, 5))
    for group in ("train", "perception"):
        assert "validate" not in shaping(plain, group) and shaping(chosen, group)["validate"]["every"] == 5
    assert "validate" not in shaping(chosen, "distill") and "validate" not in shaping(plain, "train")["train"]


@pytest.fixture()
def model(small_settings) -> FlowModel:
    torch.manual_seed(0)
    found = FlowModel(small_settings).eval()
    found.autoencoder.requires_grad_(False)
    return found


def told(folder, title: str) -> float:
    """The loss after two of three steps and after the last."""
    [line] = [line for line in lines(folder) if line["training"] == title]
    return line["validation_loss"]


def test_the_forecasters_trainings_are_validated(model, street_window, tmp_path):
    source = Windows((street_window, street_window))
    source.store.path = "memory"
    run, feeds = TrainingRun(tmp_path), [kind(source, [0, 1], model, 3) for kind in (ObservationFeed, TwinFeed)]
    held_out = held_out_windows(CONFIG, feeds[0])
    assert held_out.count == 2 and isinstance(held_out.items, ObservationFeed)
    train_mean(model, feeds[0], {**STEPS, "centre": "median", "scale_weight": 0.1}, run, held_out)
    flow = {**STEPS, "time_mean": 0.0, "time_scale": 1.0, "history_dropout": 0.0}
    train_flow(model, feeds[0], flow, 0, run, held_out)
    train_regression(model, feeds[1], STEPS, run, held_out_windows(CONFIG, feeds[1]))
    assert math.isfinite(told(tmp_path, "mean")) and told(tmp_path, "teacher") > 0 and told(tmp_path, "regression") > 0
    off = {"train": {**CONFIG["train"], "validate": {**VALIDATE, "every": 0}}}
    assert held_out_windows(off, None) is held_out_bodies(off, None) is held_out_sightings(off, None) is None


def test_the_training_of_what_moves_a_present_is_validated(small_settings, street_window, tmp_path):
    source, network = Windows((street_window, street_window)), LandingNetwork(LandingSettings(4, 4, 6), 8)
    source.store.path = "memory"
    feed = LandingFeed(source, [0, 1], 3, 0.0)
    held_out = held_out_landings({"train": {**CONFIG["train"], "perceived_share": 0.0}}, feed)
    train_landing(network, feed, {**STEPS, "calibration_windows": 1}, TrainingRun(tmp_path), held_out)
    assert 0 < told(tmp_path, "landing") < math.inf


def test_the_training_of_the_supports_head_is_validated(small_settings, street_window, tmp_path):
    headed = replace(small_settings, support=replace(small_settings.support, head_channels=4))
    source, model = Windows((street_window, street_window)), FlowModel(headed).eval()
    source.store.path = "memory"
    feed = ProposalFeed(source, [0, 1], model, 3)
    held_out = held_out_windows(CONFIG, feed)
    assert isinstance(held_out.items, ProposalFeed)
    values = {**STEPS, "positive_weight": 2.0, "recall": 0.9, "calibration_windows": 1}
    train_support(model, feed, values, 0, TrainingRun(tmp_path), held_out)
    assert 0 < told(tmp_path, "support") < math.inf


def test_the_trainings_of_the_motions_are_validated(tmp_path):
    feed, network, run = feed_of(street(), street()), disturbed(motion_model()), TrainingRun(tmp_path)
    feed.windows.store.path = "memory"
    held_out = held_out_bodies(CONFIG, feed)
    train_motion_mean(network, feed, {**STEPS, "scale_weight": 0.1}, 0, run, held_out)
    flow = {**STEPS, "time_mean": 0.0, "time_scale": 1.0, "history_dropout": 0.0}
    train_motion_flow(network, MotionFeed(feed, network, 0), flow, 0, run, held_out)
    assert math.isfinite(told(tmp_path, "motion")) and told(tmp_path, "motion_flow") > 0
    silent = feed_of(street(annotated=()))
    silent.windows.store.path = "memory"
    assert held_out_bodies(CONFIG, silent) is None


def test_perception_and_autoencoder_are_validated(model, street_window, tmp_path):
    store, run = SightedStreet(), TrainingRun(tmp_path)
    held_out = held_out_sightings(CONFIG, store)
    assert held_out.items == [("street", 1), ("street", 3)]
    values = {**STEPS, "split": "train", "batch": 2, "lovasz_weight": 1.0, "calibration_frames": 2}
    train_perception(small_perception(), store, values, 0, run, held_out)
    frames = SimpleNamespace(grid=store.grid, path="memory", parts=store.parts, frame=store.frame)
    model.autoencoder.requires_grad_(True)
    values = {**STEPS, "patches": 20, "latent_noise": 0.3, "unlabelled_share": 0.1, "lovasz_weight": 0.0}
    train_autoencoder(model, frames, values, 0, run, held_out=held_out_patches(CONFIG, frames, model))
    assert told(tmp_path, "perception") > 0 and told(tmp_path, "autoencoder") > 0
