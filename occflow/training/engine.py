"""The training loop: what every training of one network shares."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from occflow.training.optimiser import OptimiserSettings, Trainer
from occflow.training.processes import averaging
from occflow.training.run import TrainingRun
from occflow.training.run_log import RunLog


def train(module: nn.Module, settings: OptimiserSettings, log: RunLog,
          loss_of_step: Callable[[int], tuple[Tensor, dict[str, float]]], run: TrainingRun | None = None,
          start: nn.Module | None = None, seek: Callable[[int], None] = lambda step: None) -> nn.Module:
    """Minimise `loss_of_step(step)` over the module's parameters; returns the moving average of the weights.

    Args:
        run: how it runs and is resumed; None for fp32 without a resume state.
        start: holds all weights that the training starts from, frozen ones included; the module itself if None.
        seek: puts the data where the given step begins.
    """
    module.train()
    run, device = run or TrainingRun(log.path.parent), next(module.parameters()).device
    loss_of_step = averaging(module, loss_of_step)  # first: all processes then start from rank 0's weights
    trainer = Trainer(module, settings)
    state = run.state(log, {"network": trainer}, start or module)
    try:
        first = state.load()
        seek(first)
        for step in range(first, settings.steps):
            with run.autocast(device):
                loss, figures = loss_of_step(step)
            norm = trainer.step(loss)
            log.add({"loss": loss.item(), **figures, "gradient_norm": norm})
            state.save_if_due()
        log.finish()
        state.save()  # until the checkpoint stands, or the next training of the same tool has ended
    finally:
        log.close()
    return trainer.average.eval()
