"""The loop that every training runs in: what is resumed, told, saved and closed, and when; random numbers of a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from occflow.training.feeding import WindowFeed
from occflow.training.optimiser import OptimiserSettings, Trainer
from occflow.training.processes import joint_norms, start_alike
from occflow.training.run import Resumable, ResumeState, TrainingRun
from occflow.training.run_log import Figures, RunLog
from occflow.training.validation import Validation

FORMER_RANK = 0  # stood between seed and step when every process had numbers of its own: one process draws as it did


def train(run: TrainingRun, title: str, module: nn.Module, settings: OptimiserSettings,
          loss_of_step: Callable[[int], tuple[Tensor, Figures]], start: nn.Module | None = None,
          feed: WindowFeed | None = None, samples: int = 1, unit: str = "window",
          validation: Validation | None = None) -> nn.Module:
    """Minimise `loss_of_step(step)` over the module's parameters; returns the moving average of the weights, the best
    that a validation has found where it keeps them.

    Args:
        title: of the training: in stats.jsonl, and of its resume state.
        loss_of_step: the loss, and further figures for stats.jsonl; of a process such that the mean over all of them
            is the joint batch's (flow.share).
        start: as in `make_steps`; the module itself if None.
        feed: what the step draws its samples from, if it is a feed.
        samples: of a step, of all processes; `unit` says what they are.
        validation: what the average is judged by now and then.
    """
    module.train()
    log, device = run.log(title, settings.steps, samples, unit), next(module.parameters()).device
    start_alike(module)
    trainer = Trainer(module, settings)

    def make_step(step: int) -> Figures:
        with run.autocast(device), joint_norms(module):
            loss, figures = loss_of_step(step)
        norm = trainer.step(loss)
        figures = {"loss": trainer.loss, **figures, "gradient_norm": norm}
        if validation is None or not validation.is_due(trainer):
            return figures
        with run.autocast(device):
            return {**figures, "validation_loss": validation.judge(trainer)}

    keeps = validation is not None and validation.held_out.keep_best
    trainers = {"network": trainer, **({"validation": validation} if keeps else {})}
    make_steps(run, log, trainers, start or module, make_step, feed)
    return (validation.chosen(trainer.average) if keeps else trainer.average).eval()


def make_steps(run: TrainingRun, log: RunLog, trainers: Mapping[str, Resumable], start: nn.Module,
               make_step: Callable[[int], Figures], feed: WindowFeed | None = None,
               over: Callable[[], bool] = lambda: False) -> None:
    """Make the steps of a training that are left to make. However it ends, the state that was saved last stands.

    Args:
        log: of the training; it says how many steps there are and how many samples a step draws.
        trainers: by name all that a step changes and the next one needs.
        start: holds all weights that the training starts from, frozen ones included.
        make_step: makes one step; returns its figures.
        feed: put where the first step that is left begins to draw.
        over: asked before each step: whether the training ends early.
    """
    state = ResumeState(run, log, trainers, start)
    try:
        first = state.load()
        if feed is not None:
            feed.seek(first * log.samples_a_step)
        for step in range(first, log.total_steps):
            if over():
                break
            log.add(make_step(step))
            state.save_if_due()
        log.finish()
        state.save()  # until the checkpoint stands, or the next training of the same tool has ended
    finally:
        log.close()


def step_rng(seed: int, step: int) -> np.random.Generator:
    """NumPy's generator of one step, the same in every process: a function of (seed, step), so that a resumed run draws
    the same numbers. Processes draw for all and keep what is theirs."""
    return np.random.default_rng((seed, FORMER_RANK, step))


def step_generator(seed: int, step: int) -> torch.Generator:
    """Torch's generator (CPU) of one step, likewise."""
    state = np.random.SeedSequence((seed, FORMER_RANK, step)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]) >> 1)
