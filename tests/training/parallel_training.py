"""Trainings of every kind, of tiny networks on a few windows: test_processes.py makes them alone and as rank 0, and
runs this file as rank 1."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))  # as pytest has it

import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from small_bodies import Windows, disturbed, feed_of, motion_model, street  # noqa: E402
from small_forecaster import SMALL_SETTINGS, street_frame  # noqa: E402
from small_perception import SightedStreet, small_perception  # noqa: E402

from occflow.distill.methods import method_from_config  # noqa: E402
from occflow.models.flow_model import FlowModel  # noqa: E402
from occflow.models.landing import LandingNetwork, LandingSettings  # noqa: E402
from occflow.occupancy.windows import Window, WindowKey  # noqa: E402
from occflow.training.autoencoder import train_autoencoder  # noqa: E402
from occflow.training.distillation import distill  # noqa: E402
from occflow.training.engine import step_generator, train  # noqa: E402
from occflow.training.feeding import FlowFeed, ObservationFeed, WindowFeed  # noqa: E402
from occflow.training.landing import LandingFeed, train_landing  # noqa: E402
from occflow.training.motion import MotionFeed, train_motion_flow, train_motion_mean  # noqa: E402
from occflow.training.optimiser import OptimiserSettings, Trainer  # noqa: E402
from occflow.training.perception import train_perception  # noqa: E402
from occflow.training.processes import (  # noqa: E402
    _joint_norm,
    join_processes,
    rank,
    rank_zero_first,
    share_of_items,
    share_of_rows,
)
from occflow.training.run import TrainingRun  # noqa: E402
from occflow.training.support import ProposalFeed, train_support  # noqa: E402
from occflow.training.teacher import TwinFeed, train_flow, train_mean, train_regression  # noqa: E402

OPTIMISER = {"learning_rate": 1e-3, "warmup_steps": 1, "clip_norm": 1.0, "ema_decay": 0.5, "steps": 3, "windows": 3}
MEAN = {**OPTIMISER, "centre": "median", "scale_weight": 0.1}
FLOW = {**OPTIMISER, "time_mean": 0.0, "time_scale": 1.0, "history_dropout": 0.5}
PATCHES = {**OPTIMISER, "patches": 41, "latent_noise": 0.3, "unlabelled_share": 0.2, "lovasz_weight": 0.5}
SIGHTINGS = {**OPTIMISER, "batch": 3, "lovasz_weight": 1.0, "calibration_frames": 3, "split": "train"}
DISTILL = {"windows": 3, "auxiliary_warmup": 1, "auxiliary_updates": 1, "betas": [0.0, 0.99], "slow_targets": True,
           "student": {**OPTIMISER, "steps": 1}, "auxiliary": OPTIMISER,
           "stability": {"every": 1, "teacher_steps": 1, "patience": 3}}
METHODS = ("mfd",)  # what differs between methods is tested in tests/distill
OPTIONS = {"steps_a_mean_velocity": 1}
RESUMED = {"steps": 90, "cuts": (40, 33)}  # of two processes after 40 steps, which have saved 25; of one 33 steps later


class Lines(WindowFeed):
    """Five samples of differing numbers of rows."""

    def make(self, index: int):
        x = torch.randn(3 + index, 3, generator=torch.Generator().manual_seed(index))
        return (x, x.pow(2).sum(1, keepdim=True)), 1


def toy(run: TrainingRun, steps: int = 30, feed: WindowFeed | None = None) -> torch.nn.Module:
    torch.manual_seed(rank())  # the processes start apart: rank 0's weights count
    net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    feed = feed or Lines(5, 0, 1)

    def loss_of_step(step: int):
        x, y = (torch.cat(parts) for parts in zip(*feed.draw(3)))
        rows = share_of_rows(len(x))
        x = x + 0.1 * rows.noise(3, step_generator(0, step), x)
        return rows.mean((net(x) - y) ** 2), {"rows": share_of_items(3).processes * float(len(x))}

    settings = OptimiserSettings(steps=steps, learning_rate=1e-2, warmup_steps=2, clip_norm=1.0, ema_decay=0.5)
    return train(run, "toy", net, settings, loss_of_step, feed=feed, samples=3)


def windows() -> Windows:
    """Windows of differing numbers of sites."""
    frames = [[street_frame(index, speed) for index in range(start, start + 5)]
              for start, speed in ((0, 2.0), (1, 3.0), (2, 1.0), (3, 2.0))]
    return Windows(tuple(Window.of(WindowKey("street", 0), tuple(some[:2]), tuple(some[2:])) for some in frames))


def forecaster() -> FlowModel:
    torch.manual_seed(0)
    found = FlowModel(SMALL_SETTINGS).eval()
    found.autoencoder.requires_grad_(False)
    return disturbed(found, 0.1)


def observations(model: FlowModel, kind: type[ObservationFeed] = ObservationFeed) -> ObservationFeed:
    return kind(windows(), list(range(4)), model, 3)


def mean(run: TrainingRun) -> torch.nn.Module:
    model = forecaster()
    train_mean(model, observations(model), MEAN, run)
    return model.mean


def flow(run: TrainingRun) -> torch.nn.Module:
    model = forecaster()
    train_flow(model, observations(model), FLOW, 0, run)
    return model.velocity


def regression(run: TrainingRun) -> torch.nn.Module:
    model = forecaster()
    return train_regression(model, observations(model, TwinFeed), OPTIMISER, run)


def support(run: TrainingRun) -> torch.nn.Module:
    """The head that thins out the support, and its threshold."""
    torch.manual_seed(0)
    headed = replace(SMALL_SETTINGS, support=replace(SMALL_SETTINGS.support, head_channels=4))
    model = FlowModel(headed).eval()
    values = {**OPTIMISER, "positive_weight": 2.0, "recall": 0.9, "calibration_windows": 4}
    train_support(model, observations(model, ProposalFeed), values, 0, run)
    return model.support


def landing(run: TrainingRun) -> torch.nn.Module:
    """The network that moves a present, and its threshold."""
    torch.manual_seed(0)
    network = LandingNetwork(LandingSettings(4, 4, 6), SMALL_SETTINGS.grid.shape[2])
    train_landing(network, LandingFeed(windows(), list(range(4)), 3, 0.0), {**OPTIMISER, "calibration_windows": 2}, run)
    return network


def motions(run: TrainingRun) -> torch.nn.Module:
    """Centre, flow and student, one after the other."""
    model = disturbed(motion_model())
    feed = feed_of(street(), street(annotated=("ahead", "standing")), street(names=("turning", "leaving")))
    train_motion_mean(model, feed, MEAN, 0, run)
    train_motion_flow(model, MotionFeed(feed, model, 0), FLOW, 0, run)
    method = method_from_config({"method": "mfd", **OPTIONS})
    return distill(model, MotionFeed(feed, model, 1), method, {**DISTILL, "checkpoint": "student_motion"}, 0, run)


def student(name: str) -> Callable[[TrainingRun], torch.nn.Module]:
    def made(run: TrainingRun) -> torch.nn.Module:
        model = forecaster()
        method = method_from_config({"method": name, **OPTIONS})
        return distill(model, FlowFeed(observations(model), 1), method, DISTILL, 0, run).velocity

    return made


def perception(run: TrainingRun) -> torch.nn.Module:
    """By one formula of batch normalisation: torch's own for CPUs is off by 1.5e-5 of the gradient."""
    network = small_perception()
    for norm in network.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.forward = partial(_joint_norm, norm)
    return train_perception(network, SightedStreet(), SIGHTINGS, 0, run)


class Frames:
    """A store of five frames in memory."""

    grid, path = SMALL_SETTINGS.grid, Path("memory")

    def parts(self, split: str):
        return [("street", range(5))]

    def frame(self, scene: str, index: int):
        return street_frame(index)


def autoencoder(run: TrainingRun) -> torch.nn.Module:
    model = forecaster()
    model.autoencoder.requires_grad_(True)
    train_autoencoder(model, Frames(), PATCHES, 0, run)
    return model.autoencoder


TRAININGS: Mapping[str, Callable[[TrainingRun], torch.nn.Module]] = {
    "toy": toy, "mean": mean, "flow": flow, "regression": regression, "support": support, "landing": landing,
    "motions": motions,
    "perception": perception, "autoencoder": autoencoder, **{name: student(name) for name in METHODS}}


def made(name: str, folder: Path) -> torch.nn.Module:
    """One of TRAININGS in a run directory of its own."""
    return TRAININGS[name](TrainingRun(folder / name))


class PowerCut(BaseException):
    """What no training expects."""


@contextmanager
def cut_after(updates: int) -> Iterator[None]:
    """In the block a training is cut off after so many updates of its network."""
    step, left = Trainer.step, [updates]

    def counted(trainer: Trainer, loss: torch.Tensor) -> torch.Tensor:
        if not left[0]:
            raise PowerCut
        left[0] -= 1
        return step(trainer, loss)

    with patch.object(Trainer, "step", counted), suppress(PowerCut):
        yield


@contextmanager
def together(process: int, port: str) -> Iterator[None]:
    """In the block this is one of two processes."""
    named = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "RANK": str(process),
             "LOCAL_RANK": str(process)}
    with patch.dict(os.environ, named):
        join_processes(torch.device("cpu"))
        try:
            yield
        finally:
            torch.distributed.destroy_process_group()


def resumable(folder: Path) -> torch.nn.Module:
    """A training that is saved as often as it may be."""
    return toy(TrainingRun(folder, save_seconds=0.0), RESUMED["steps"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, *ports = Path(sys.argv[1]), *sys.argv[2:]
    with together(1, ports[0]):
        with rank_zero_first():
            assert (folder / "made_by_rank_0").exists()
        for name in TRAININGS:
            weights = {key: weight.contiguous() for key, weight in made(name, folder).state_dict().items()}
            save_file(weights, str(folder / f"{name}-1.safetensors"))
        with cut_after(RESUMED["cuts"][0]):
            resumable(folder / "resumed")
    with together(1, ports[1]):
        resumable(folder / "resumed")
