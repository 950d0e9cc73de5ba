"""The toy study of two futures under a condition: does a student keep the rarer one?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from occflow.flow.solvers import sample_flow
from occflow.models.student_networks import sample_student
from studies.toy.distributions import PointToy, two_futures
from studies.toy.training import METHODS, distillation, noise_and_truth, started

GUIDANCE = 2.0  # OccFM's
CURVE_POINTS = 8  # of a training


def futures_jobs(values: Mapping) -> dict[str, Callable[[], dict]]:
    """Weight of the common future (true: .7) by case and seed."""
    def without(condition: Tensor) -> Tensor:
        return torch.full_like(condition, 0.5)

    def shuffled(condition: Tensor) -> Tensor:
        return condition[torch.randperm(len(condition), generator=torch.Generator().manual_seed(len(condition)))]

    guided, blind, mixed = {"teacher": partial(two_futures().guided, scale=GUIDANCE)}, {"shown": without}, \
        {"shown": shuffled}
    longer = {"updates": values["updates"] * values["longer"]}
    both = ("mfd", "vsd")
    cases = {"mfd": {}, "vsd": {}, "mean flow (eulerian)": {},
             **{f"{name}, {count} auxiliary updates": {"auxiliary_updates": count}
                for name in both for count in (1, 6)},
             **{f"{name}, longer": longer for name in both}, "mfd, auxiliary without condition": blind,
             "mfd, auxiliary with shuffled condition": mixed,
             **{f"{name}, teacher guided": guided for name in (*both, "mean flow (eulerian)")}}
    jobs: dict = {"teacher-50": partial(exact_weight, values, 1.0),
                  "teacher-50, guided": partial(exact_weight, values, GUIDANCE)}
    return jobs | {f"{case}/{seed}": partial(student_weight, values, case, changes, seed)
                   for seed in values["seeds"] for case, changes in cases.items()}


def common_weight(toy: PointToy, samples: Tensor, condition: Tensor) -> dict:
    """Share of samples in the future that is common under their condition, and off the modes."""
    return {"weight": float((toy.nearest_mode(samples) == condition.long()).float().mean()),
            "off": toy.off_mode(samples)}


def exact_weight(values: Mapping, scale: float) -> dict:
    """The exact teacher's, by 50 Euler steps."""
    toy, count = two_futures(), values["samples"]
    noise, condition = noise_and_truth(toy, count)[0], torch.arange(count).remainder(2).float()
    samples = sample_flow(lambda x, t: toy.guided(x, t, condition, scale), noise, torch.arange(count), count, 50)
    return common_weight(toy, samples, condition)


def student_weight(values: Mapping, case: str, changes: Mapping, seed: int) -> dict:
    """A one-step student's, and along its training."""
    toy, start = started(True, seed)
    method = METHODS[next(name for name in sorted(METHODS, key=len, reverse=True) if case.startswith(name))]
    training = distillation(values, toy, start, method, seed, **changes)
    count, updates = values["samples"], training.settings.updates
    noise, condition = noise_and_truth(toy, count)[0], torch.arange(count).remainder(2).float()
    curve = []
    for part in range(1, CURVE_POINTS + 1):
        student = training.run(updates * part // CURVE_POINTS - training.student.count)
        with torch.no_grad():
            found = common_weight(toy, sample_student(student, noise, count, 1, method.few_steps, condition), condition)
        curve.append([training.student.count, round(found["weight"], 4)])
    return {**found, "curve": curve}
