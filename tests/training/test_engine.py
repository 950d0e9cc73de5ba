"""The optimiser: what a user of a training may rely on."""

import json

import pytest
import torch

from occflow.training.engine import train
from occflow.training.feeding import WindowFeed, epoch_order
from occflow.training.optimiser import NonFiniteLoss, OptimiserSettings, Trainer
from occflow.training.run import TrainingRun

SETTINGS = OptimiserSettings(steps=200, learning_rate=0.05, warmup_steps=5, clip_norm=1.0, ema_decay=0.9)


@pytest.mark.chaotic
def test_training_fits_and_logs(tmp_path, figure):
    torch.manual_seed(0)
    net, x = torch.nn.Linear(3, 1), torch.randn(64, 3)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]])
    average = train(TrainingRun(tmp_path), "toy", net, SETTINGS,
                    lambda step: (((net(x) - y) ** 2).mean(), {"extra": 1.0}))
    figure("error", ((average(x) - y) ** 2).mean(), below=0.05)
    lines = [json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 200 and lines[-1]["extra"] == 1.0
    figure("last loss over first", lines[-1]["loss"] / lines[0]["loss"], below=0.5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_loss_leaves_the_weights(bad):
    net = torch.nn.Linear(2, 1)
    before = net.weight.clone()
    with pytest.raises(NonFiniteLoss, match="step 0"):
        Trainer(net, SETTINGS).step(net(torch.ones(1, 2)).sum() * bad)
    assert torch.equal(net.weight, before)


def test_a_gradient_that_is_not_finite_leaves_the_weights():
    net = torch.nn.Linear(1, 1)
    before = net.weight.clone()
    with pytest.raises(NonFiniteLoss, match="gradient"):
        Trainer(net, SETTINGS).step((net.weight - net.weight.detach()).abs().pow(0.5).sum())  # 0, its slope is not
    assert torch.equal(net.weight, before)


def test_figures_on_a_device_are_told_as_those_of_the_host(tmp_path):
    for name, kind in (("host", float), ("device", torch.tensor)):
        log = TrainingRun(tmp_path / name).log("toy", 27, 1)
        for step in range(27):
            log.add({"loss": kind(step / 7), **({"rare": kind(0.1 * step)} if step % 4 == 0 else {}), "plain": 1.0})
        sums = log.record()["sums"]
        assert sums["plain"] == 2.0 and sums["loss"] == pytest.approx(51 / 7)
        log.finish()
        log.close()
    one, other = ([json.loads(line) for line in (tmp_path / name / "stats.jsonl").read_text().splitlines()]
                  for name in ("host", "device"))
    assert [line["step"] for line in one] == [25, 27] and "rare" in one[0]
    for line, like in zip(one, other, strict=True):
        assert {key: line[key] for key in ("loss", "rare", "plain") if key in line} == pytest.approx(
            {key: like[key] for key in ("loss", "rare", "plain") if key in like})


def test_learning_rate_warms_up_and_decays():
    trainer = Trainer(torch.nn.Linear(1, 1), SETTINGS)
    rates = []
    for trainer.count in (0, 4, 5, 199):
        rates.append(trainer.learning_rate())
    assert rates[0] == pytest.approx(0.01) and rates[1] == pytest.approx(0.05) == rates[2]
    assert rates[3] == pytest.approx(0.005, rel=0.1)


def test_every_window_once_an_epoch_in_the_seeds_order():
    order = epoch_order(5, seed=3)
    epochs = [[next(order) for _ in range(5)] for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(5)) and epochs[0] != epochs[1]
    again = epoch_order(5, seed=3)
    assert [next(again) for _ in range(5)] == epochs[0]
    later = epoch_order(5, seed=3, position=7)
    assert [next(later) for _ in range(3)] == epochs[1][2:]


def test_feed_stays_within_its_memory(monkeypatch):
    monkeypatch.setattr("occflow.training.feeding.MAX_KEPT_BYTES", 250)

    class Numbers(WindowFeed):
        made = 0

        def make(self, index):
            self.made += 1
            return index, 100

    feed = Numbers(4, seed=0, bytes_a_site=1)
    assert [feed.get(i) for i in (0, 1, 2, 2, 0)] == [0, 1, 2, 2, 0]
    assert feed.made == 4 and len(feed.kept) == 2  # 0 was dropped when 2 came, and made anew
    monkeypatch.setattr("occflow.training.feeding.LARGE_ITEM_BYTES", 99)
    monkeypatch.setattr("occflow.training.feeding.MAX_KEPT_LARGE_BYTES", 150)
    feed.get(3)
    assert list(feed.kept) == [3] and feed.kept_bytes == 100  # of large ones fewer
