"""A distillation of one window: its feed and its settings."""

import torch

from occflow.models.flow_model import FlowModel
from occflow.training.feeding import FlowBatch

VALUES = {"windows": 1, "auxiliary_warmup": 2, "auxiliary_updates": 1, "betas": [0.0, 0.99],
          "student": {"steps": 3, "learning_rate": 1e-3, "warmup_steps": 1, "clip_norm": 1.0, "ema_decay": 0.5},
          "auxiliary": {"learning_rate": 1e-3, "warmup_steps": 1, "clip_norm": 1.0, "ema_decay": 0.5}}


class OneWindow:
    """A feed of one window."""

    def __init__(self, forecaster: FlowModel, window) -> None:
        observation = forecaster.observe(window.task, window.truth)
        with torch.no_grad():
            condition = forecaster.condition(observation)
        self.batch = FlowBatch(condition, condition.residual(observation.target))

    def seek(self, draws: int) -> None:
        pass

    def held_back(self, conditions: int, windows: int) -> list[FlowBatch]:
        return [self.batch]

    def next(self, windows: int) -> FlowBatch:
        return self.batch
