"""What tells a distillation that goes astray, and what is kept then."""

import copy
import json

import pytest
import torch
from one_window import VALUES, OneWindow

from occflow.distill.mfd import MeanFlowDistillation
from occflow.errors import InputError
from occflow.flow.solvers import sample_flow
from occflow.training.distillation import distill
from occflow.training.optimiser import NonFiniteLoss
from occflow.training.run import TrainingRun
from occflow.training.stability import StabilitySettings, StabilityWatch, distances


@pytest.fixture()
def watch_of(small_forecaster, street_window):
    """A watch of students of a teacher that differs from an untrained network, by settings; on one condition."""
    torch.nn.init.normal_(small_forecaster.velocity.out.weight, std=0.2)
    small_forecaster.requires_grad_(False)
    batch = OneWindow(small_forecaster, street_window).next(1)
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
def test_the_figure_is_the_mean_over_conditions(watch_of, small_forecaster, street_window, figure):
    """Windows one by one, or in one batch: what is beside a window in it makes no difference to the distance of samples
    that are given."""
    torch.manual_seed(0)
    one = OneWindow(small_forecaster, street_window).next(1)
    parts = [[torch.randn(len(one.data), one.data.shape[1]) for _ in range(2)] for _ in range(2)]
    weight, sample = one.condition.weight, one.condition.sample
    apart = [distances(*lists, weight, sample, 1) for lists in zip(parts, parts[::-1])]
    joined = distances(*([torch.cat([a, b]) for a, b in zip(*pair)] for pair in (parts, parts[::-1])),
                       torch.cat([weight, weight]), torch.cat([sample, sample + 1]), 2)
    assert torch.allclose(joined, torch.cat(apart))
    watch, student = watch_of(batches=(one, one, one), samples=2), small_forecaster.velocity
    found = torch.stack([watch._compared(student, place, one, truth) for place, truth in enumerate(watch.teachers)])
    assert len({tuple(row.tolist()) for row in found}) == 3  # each condition has noises of its own
    assert watch.compare(1, student)["energy_to_teacher"] == pytest.approx(float(found[:, 0].mean()))


def test_distances_of_given_samples_by_hand():
    """Two windows, of one row and of two; the second weighs double: root mean squares 3, and sqrt(2 * (16 + 0) / 2)."""
    a, b = torch.tensor([[0.0], [0.0], [0.0]]), torch.tensor([[3.0], [4.0], [0.0]])
    weight, sample = torch.tensor([[1.0], [2.0], [2.0]]), torch.tensor([0, 1, 1])
    assert distances([a], [b], weight, sample, 3).tolist() == pytest.approx([3.0, 4.0, 0.0])
    assert distances([a, b], [a, b], weight, sample, 2).tolist() == pytest.approx([3.0, 4.0])  # not with itself


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
