"""A training of a tiny network: test_processes.py does it alone and as rank 0, and runs this file as rank 1."""

import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.func import jvp

from occflow.training.engine import train
from occflow.training.feeding import WindowFeed
from occflow.training.optimiser import OptimiserSettings
from occflow.training.processes import join_processes, rank, rank_zero_first, world_size
from occflow.training.run import ResumeState, TrainingRun

STEPS = 30
SETTINGS = OptimiserSettings(steps=STEPS, learning_rate=1e-2, warmup_steps=2, clip_norm=1.0, ema_decay=0.5)


class Lines(WindowFeed):
    """Five samples that differ."""

    def make(self, index: int):
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(index))
        return (x, x.pow(2).sum(1, keepdim=True)), 1


def trained(folder: Path, windows: int) -> torch.nn.Module:
    """The network after STEPS steps of 2 windows, shared by all processes."""
    torch.manual_seed(rank())  # the processes start apart: rank 0's weights count
    net, feed = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)), Lines(5, 0, 1)

    def loss_of_step(step: int):
        losses = [((net(x) - y) ** 2).mean() + (jvp(net, (x,), (torch.ones_like(x),))[1] ** 2).mean()
                  for x, y in feed.draw(windows)]  # its gradient flows through a forward-mode derivative, too
        return sum(losses) / len(losses), {}

    run = TrainingRun(folder, save_seconds=1e9)
    return train(run, "toy", net, SETTINGS, loss_of_step, feed=feed, samples=windows)


if __name__ == "__main__":
    join_processes(torch.device("cpu"))
    folder = Path(sys.argv[1])
    with rank_zero_first():
        assert (folder / "made_by_rank_0").exists()
    look = ResumeState.load

    def late(state: ResumeState) -> int:
        time.sleep(1.0)  # what rank 0 has written by then is not an earlier training's
        return look(state)

    ResumeState.load = late
    average = trained(folder, 2 // world_size())
    save_file(average.state_dict(), str(folder / f"average-{rank()}.safetensors"))
    torch.distributed.destroy_process_group()
