"""The distillation loop on the small forecaster: it runs, it is reproducible, the teacher stays as it was."""

import json

import pytest
import torch
from one_window import VALUES, OneWindow

from occflow.distill.consistency import ContinuousConsistency, DiscreteConsistency
from occflow.distill.dmd import DistributionMatching
from occflow.distill.energy import EnergyStudent
from occflow.distill.flow_maps import LagrangianMap, SemigroupMap, TerminalVelocityMatching
from occflow.distill.free_flow import FreeFlow
from occflow.distill.mean_flow import MeanFlow, StabilisedMeanFlow
from occflow.distill.meta_flow_map import MetaFlowMap
from occflow.distill.mfd import MeanFlowDistillation
from occflow.distill.mfd_map import MappedMeanFlowDistillation
from occflow.distill.transition import TransitionMatching
from occflow.distill.vsd import VariationalScoreDistillation
from occflow.models.flow_model import FlowModel
from occflow.training.distillation import distill, method_batch
from occflow.training.run import TrainingRun

pytestmark = pytest.mark.chaotic
MFD = MeanFlowDistillation(steps=2)
# with the network evaluations of a student's update, one auxiliary update (two evaluations) included where there is one
METHODS = [(VariationalScoreDistillation(draws=3), 2 + 1 + 6), (DiscreteConsistency(), 4), (ContinuousConsistency(), 4),
           (LagrangianMap(), 4), (SemigroupMap(), 4), (MeanFlow(), 4), (MeanFlow(from_data=True), 3),
           (StabilisedMeanFlow(warmup=0.0), 2 + 4 + 3), (FreeFlow(), 2 + 4 + 3), (TerminalVelocityMatching(), 3),
           (TerminalVelocityMatching(from_data=True), 4), (MetaFlowMap(warmup=0.0), 4),
           (TransitionMatching(warmup=0.0), 2 + 2 + 3), (DistributionMatching(adversarial=1e-2), 2 + 2 + 3 + 1),
           (EnergyStudent(), 2), (EnergyStudent(teacher_steps=3), 2 + 6),
           (MeanFlowDistillation(energy=0.3), 2 + 1 + 6 + 1), (MeanFlowDistillation(student_steps=2), 3 + 2 + 6),
           (MeanFlowDistillation(steps=1, solver="ralston"), 2 + 1 + 4),
           (MappedMeanFlowDistillation(auxiliary_equal_share=1.0), 2 + 1 + 2),
           (MappedMeanFlowDistillation(auxiliary_equal_share=0.0), 2 + 2 + 1 + 2)]


def distilled(settings, window, run_dir, method=MFD, **changes) -> tuple[FlowModel, FlowModel, dict]:
    torch.manual_seed(0)
    teacher = FlowModel(settings).eval()
    torch.nn.init.normal_(teacher.velocity.out.weight, std=0.2)  # a teacher that differs from its start
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    values = {**VALUES, **changes}
    student = distill(teacher, OneWindow(teacher, window), method, values, 0, TrainingRun(run_dir),
                      teacher_map=teacher.velocity if method.needs_map else None)
    return teacher, student, before


def test_student_moves_teacher_stays_and_runs_repeat(small_settings, street_window, tmp_path):
    teacher, student, before = distilled(small_settings, street_window, tmp_path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    moved = [name for name, tensor in student.state_dict().items() if not torch.equal(tensor, before[name])]
    assert moved and all(name.startswith("velocity.") for name in moved)
    _, again, _ = distilled(small_settings, street_window, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(student.state_dict().values(), again.state_dict().values()))


@pytest.mark.parametrize("method, evaluations", METHODS, ids=lambda value: type(value).__name__)
def test_every_method_moves_the_sparse_student_at_its_known_cost(small_settings, street_window, tmp_path, method,
                                                                 evaluations):
    changes = {"auxiliary_warmup": 0, "student": {**VALUES["student"], "steps": 1}, "slow_targets": True}
    _, student, before = distilled(small_settings, street_window, tmp_path, method, **changes)
    weights = {name.replace(".base.", "."): tensor for name, tensor in student.state_dict().items()}
    assert any(not torch.equal(weights[name], tensor) for name, tensor in before.items())
    [line] = [json.loads(text) for text in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert line["network_evaluations"] == evaluations and line["update_seconds"] > 0


def test_a_student_goes_on_from_a_given_one_and_without_updates_stays_it(small_settings, street_window, tmp_path):
    torch.manual_seed(3)
    start = FlowModel(small_settings).velocity
    torch.nn.init.normal_(start.out.weight, std=0.1)
    for steps, same in ((0, True), (1, False)):
        teacher = FlowModel(small_settings).eval()
        values = {**VALUES, "student": {**VALUES["student"], "steps": steps}}
        student = distill(teacher, OneWindow(teacher, street_window), EnergyStudent(), values, 0,
                          TrainingRun(tmp_path / str(steps)), start=start)
        pairs = list(zip(student.velocity.state_dict().values(), start.state_dict().values()))
        assert all(torch.equal(*pair) for pair in pairs) is same
        assert all(torch.allclose(*pair, atol=0.01) for pair in pairs)


def test_a_guided_teacher_costs_two_evaluations(small_settings, street_window, tmp_path):
    student = {**VALUES["student"], "steps": 1}
    distilled(small_settings, street_window, tmp_path, guidance=2.0, auxiliary_warmup=0, student=student)
    [line] = [json.loads(text) for text in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert line["network_evaluations"] == 2 + 1 + 2 * 2 + 2


def test_conditions_alone_reach_a_method_that_needs_no_data(small_settings, street_window, small_forecaster):
    batch = OneWindow(small_forecaster, street_window).next(1)
    assert method_batch(batch, False, 0.0).data is None
    assert method_batch(batch, True, 0.0).data is batch.data
