"""What tells a distillation that goes astray, and what is kept then."""

import copy
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from one_window import VALUES, OneWindow

from occflow.distill.mfd import MeanFlowDistillation
from occflow.errors import InputError
from occflow.flow.solvers import sample_flow
from occflow.models.flow_model import Condition
from occflow.models.networks import MeanForecast
from occflow.training.distillation import distill
from occflow.training.feeding import FlowBatch
from occflow.training.optimiser import NonFiniteLoss
from occflow.training.run import TrainingRun
from occflow.training.stability import StabilitySettings, StabilityWatch, distance_under, mean_distance


def open_window(forecaster, window) -> FlowBatch:
    """A window whose sites may all be there or not."""
    batch = OneWindow(forecaster, window).next(1)
    forecast = batch.condition.forecast
    wide = replace(forecast, scale=torch.ones_like(forecast.scale))
    return replace(batch, condition=replace(batch.condition, forecast=wide))


@pytest.fixture()
def watch_of(small_forecaster, street_window):
    """A watch of students of a teacher that differs from an untrained network, by settings; on one condition, of which
    much is open."""
    torch.nn.init.normal_(small_forecaster.velocity.out.weight, std=0.2)
    small_forecaster.requires_grad_(False)
    batch = open_window(small_forecaster, street_window)
    return lambda batches=(batch,), **values: StabilityWatch(StabilitySettings(every=1, **values), small_forecaster,
                                                             batches, "none")


@pytest.mark.chaotic
def test_energy_and_spread_tell_a_student_that_collapses_or_strays(watch_of, small_forecaster, figure):
    watch, teacher = watch_of(samples=3), small_forecaster.velocity
    collapsed = torch.nn.Module()
    collapsed.forward = lambda x, r, t, *context: x  # every noise ends at zero
    strayed = copy.deepcopy(teacher)
    strayed.out.bias.data += 3.0
    like, flat, off = (watch.compare(1, student) for student in (teacher, collapsed, strayed))
    assert flat["spread"] == 0
    figure("spread", like["spread"], above=0.5, below=1.5)
    for name, other in (("collapsed", flat), ("strayed", off)):
        figure(f"energy over that of {name}", like["energy_to_teacher"] / other["energy_to_teacher"], below=1.0)


def test_a_blow_up_of_the_auxiliary_is_told_and_stops_where_asked(watch_of):
    watch = watch_of(auxiliary_limit=2.0)
    quiet = [watch.follow(torch.tensor(loss).double())["auxiliary_ratio"] for loss in (1.0, 0.8, 0.7)]
    assert max(quiet) == 1 and not watch.over
    while watch.follow(torch.tensor(3.0).double())["auxiliary_ratio"] < 2:
        assert not watch.over
    assert watch.over and not watch_of().over


@pytest.mark.chaotic
def test_patience_keeps_the_best_student(watch_of, small_forecaster):
    watch, good = watch_of(patience=2), copy.deepcopy(small_forecaster.velocity)
    bad = copy.deepcopy(good)
    bad.out.bias.data += 3.0
    for student in (bad, good, bad, bad):
        assert not watch.over
        watch.compare(1, student)
    assert watch.over
    restored = watch_of(patience=2)
    restored.load({name: tensor.clone() for name, tensor in watch.tensors().items()}, watch.count)
    kept = restored.chosen(bad)
    assert restored.over and torch.equal(kept.out.bias, good.out.bias)


def test_a_student_that_is_not_finite_is_never_the_best_and_ends_the_training(watch_of, small_forecaster):
    watch, good = watch_of(patience=2), copy.deepcopy(small_forecaster.velocity)
    watch.compare(1, good)
    lowest = float(watch.lowest_energy)
    for value in (float("nan"), float("inf")):
        broken = copy.deepcopy(good)
        broken.out.bias.data[0] = value
        with pytest.raises(NonFiniteLoss, match="7 updates"):
            watch.compare(7, broken)
    assert float(watch.lowest_energy) == lowest and torch.equal(watch.chosen(broken).out.bias, good.out.bias)


def test_a_student_is_compared_with_the_teacher_that_it_is_distilled_from(small_forecaster, street_window, tmp_path,
                                                                          monkeypatch):
    """Guided: its samples are those of the guided velocity, not of the plain one."""
    torch.nn.init.normal_(small_forecaster.velocity.out.weight, std=0.2)
    made, values = [], {**VALUES, "student": {**VALUES["student"], "steps": 1},
                        "stability": {"every": 1, "teacher_steps": 2}, "guidance": 3.0}
    monkeypatch.setattr(StabilityWatch, "compare", lambda watch, *inputs: made.append(watch) or {})
    distill(small_forecaster, OneWindow(small_forecaster, street_window), MeanFlowDistillation(steps=1), values, 0,
            TrainingRun(tmp_path))
    [watch] = made
    [batch], [truth], (own, others) = watch.batches, watch.teachers, watch.noises(0, watch.batches[0].condition)
    assert not any(torch.equal(a, b) for a in own for b in others)  # independent of the student's
    guided, plain = (sample_flow(small_forecaster.velocity_field(batch.condition, scale), others[-1],
                                 batch.condition.sample, 1, 2, "heun") for scale in (3.0, 1.0))
    assert torch.equal(truth[-1], guided) and not torch.allclose(guided, plain, atol=1e-3)


@pytest.mark.chaotic
def test_a_training_stops_early_and_tells_why(small_forecaster, street_window, tmp_path, figure):
    """At this rate nothing can improve."""
    values = {**VALUES, "student": {**VALUES["student"], "steps": 20, "learning_rate": 1.0},
              "stability": {"every": 1, "teacher_steps": 1, "patience": 1}}
    torch.nn.init.normal_(small_forecaster.velocity.out.weight, std=0.2)
    distill(small_forecaster, OneWindow(small_forecaster, street_window), MeanFlowDistillation(steps=1), values, 0,
            TrainingRun(tmp_path))
    [line] = [json.loads(text) for text in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert {"auxiliary_ratio", "energy_to_teacher", "spread"} <= set(line)
    figure("step", line["step"], below=2 + 20)


@pytest.mark.chaotic
def test_the_figure_is_the_mean_over_conditions(watch_of, small_forecaster, street_window):
    """Each has noises of its own."""
    one = open_window(small_forecaster, street_window)
    watch, student = watch_of(batches=(one, one, one), samples=2), small_forecaster.velocity
    found = torch.stack([watch._compared(student, place, one, truth) for place, truth in enumerate(watch.teachers)])
    assert len({tuple(row.tolist()) for row in found}) == 3
    assert watch.compare(1, student)["energy_to_teacher"] == pytest.approx(float(found[:, 0].mean()))


def condition_of(rows_by_window: list[int]) -> Condition:
    """A condition of empty windows; a residual is the state itself, whose second channel says what is there."""
    sample = torch.repeat_interleave(torch.arange(len(rows_by_window)), torch.tensor(rows_by_window))
    rows = len(sample)
    forecast = MeanForecast(torch.zeros(rows, 3), torch.ones(rows, 3), torch.zeros(rows, 1))
    layout = SimpleNamespace(sample=sample, num_samples=len(rows_by_window))
    return Condition(layout, forecast, torch.full((rows, 3), -1.0), stays=True)


def sites(*there: int, rows: int, stays: tuple = ()) -> torch.Tensor:
    """Samples of which sites are there, and which stay as the base is: empty."""
    state = torch.full((rows, 3), -1.0)
    state[list(there), 1] = 1.0
    state[list(stays), 2] = 1.0
    return state


def test_samples_of_voxels_are_compared_by_the_sites_where_something_is():
    """By hand, window by window: {0, 1} and {1, 2}: 1 - 1/3; nothing and nothing: 0; {6} and nothing: 1; no sites: 0.
    A site that stays is the base's, whatever its other channels say."""
    distance = distance_under(condition_of([4, 2, 1, 0]))
    a, b = sites(0, 1, 6, rows=7), sites(1, 2, 3, rows=7, stays=(3,))
    assert distance(a, b).tolist() == pytest.approx([2 / 3, 0.0, 1.0, 0.0])
    assert mean_distance([a, b], [a, b], distance).tolist() == pytest.approx([2 / 3, 0.0, 1.0, 0.0])  # none with itself
    assert mean_distance([a], [a.clone(), b], distance).tolist() == pytest.approx([1 / 3, 0.0, 0.5, 0.0])
    broken = a.clone()
    broken[5, 0] = float("inf")
    assert distance(broken, b).isnan().tolist() == [False, True, False, False]


def test_motions_are_compared_by_the_norm_of_their_losses():
    """Two windows, of one body and of two; the second's weigh double: 3, and sqrt(2 (16 + 0) / 2)."""
    condition = SimpleNamespace(sample=torch.tensor([0, 1, 1]), layout=SimpleNamespace(num_samples=3),
                                weight=torch.tensor([[1.0], [2.0], [2.0]]))
    a, b = torch.tensor([[0.0], [0.0], [0.0]]), torch.tensor([[3.0], [4.0], [0.0]])
    assert distance_under(condition)(a, b).tolist() == pytest.approx([3.0, 4.0, 0.0])


@pytest.mark.chaotic
def test_the_weights_of_the_lowest_energy_are_the_student(watch_of, small_forecaster):
    """Not the last ones, unless that is asked for; the last update is looked at whatever its number."""
    good = copy.deepcopy(small_forecaster.velocity)
    bad = copy.deepcopy(good)
    bad.out.bias.data += 3.0
    for keep_best, wanted in ((True, good), (False, bad)):
        watch, last = watch_of(keep_best=keep_best), copy.deepcopy(bad)
        watch.compare(1, good)
        watch.compare(2, last)
        assert torch.equal(watch.chosen(last).out.bias, wanted.out.bias) and not watch.over
    rare = StabilityWatch(StabilitySettings(every=7), small_forecaster, watch_of().batches, "none")
    assert rare.compare(5, good) == {} and rare.compare(5, good, last=True) and rare.compare(7, good)


@pytest.mark.parametrize("values", [{"samples": 1}, {"conditions": 0}, {"teacher_solver": "rk4"},
                                    {"patience": 2, "every": 0}, {"auxiliary_limit": -1.0}])
def test_settings_that_cannot_be_are_refused(values):
    with pytest.raises(InputError, match="distill.stability"):
        StabilitySettings(**values)
