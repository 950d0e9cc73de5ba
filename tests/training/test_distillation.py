"""The distillation loop on the small forecaster: it runs, it is reproducible, the teacher stays as it was."""

import json

import pytest
import torch

from occflow.command_line import CONFIG_DIR, compose_config
from occflow.distill.methods import METHODS, method_from_config
from occflow.distill.mfd import MeanFlowDistillation
from occflow.models.forecaster import FlowForecaster
from occflow.training.distillation import distill
from occflow.training.feeding import FlowBatch
from occflow.training.run import TrainingRun

VALUES = {"windows": 1, "auxiliary_warmup": 2, "auxiliary_updates": 1, "betas": [0.0, 0.99],
          "student": {"steps": 3, "learning_rate": 1e-3, "warmup_steps": 1, "clip_norm": 1.0, "ema_decay": 0.5},
          "auxiliary": {"learning_rate": 1e-3, "warmup_steps": 1, "clip_norm": 1.0, "ema_decay": 0.5}}
TWO_STEPS = MeanFlowDistillation(steps=2)


class OneWindow:
    """A feed of one window."""

    def __init__(self, forecaster: FlowForecaster, window) -> None:
        observation = forecaster.observe(window, with_target=True)
        with torch.no_grad():
            condition = forecaster.condition(observation)
        self.batch = FlowBatch(condition, condition.residual(observation.target))

    def seek(self, draws: int) -> None:
        pass

    def next(self, windows: int) -> FlowBatch:
        return self.batch


def distilled(settings, window, run_dir, method=TWO_STEPS) -> tuple[FlowForecaster, FlowForecaster, dict]:
    torch.manual_seed(0)
    teacher = FlowForecaster(settings).eval()
    torch.nn.init.normal_(teacher.velocity.out.weight, std=0.2)  # a teacher that differs from its start
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    return teacher, distill(teacher, OneWindow(teacher, window), method, VALUES, 0, TrainingRun(run_dir)), before


def test_student_moves_teacher_stays_and_runs_repeat(small_settings, street_window, tmp_path):
    teacher, student, before = distilled(small_settings, street_window, tmp_path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    moved = [name for name, tensor in student.state_dict().items() if not torch.equal(tensor, before[name])]
    assert moved and all(name.startswith("velocity.") for name in moved)
    _, again, _ = distilled(small_settings, street_window, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(student.state_dict().values(), again.state_dict().values()))


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"mfd"}))
def test_every_configured_method_trains_the_student(small_settings, street_window, tmp_path, name):
    """Sparse convolutions, their forward-mode derivatives, data, auxiliary: whatever the method asks for is there."""
    method = method_from_config(compose_config([f"distill={name}"])["distill"])
    teacher, student, before = distilled(small_settings, street_window, tmp_path, method)
    moved = [key for key, tensor in student.state_dict().items() if not torch.equal(tensor, before[key])]
    assert moved and all(key.startswith("velocity.") for key in moved)
    lines = [json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert all(line["network_evaluations"] > 0 for line in lines)
    assert ("auxiliary_loss" in lines[-1]) == method.needs_auxiliary


def test_every_method_has_a_configuration():
    assert {path.stem for path in (CONFIG_DIR / "distill").glob("*.yaml")} == {*METHODS, "base"}
