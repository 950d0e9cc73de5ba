"""The study of the distillation methods on points: what python -m studies.toy trains and measures, part by part.

ring: eight Gaussians, one-step students of every method. lag: one auxiliary update a student update. resampling: what
a noised point leaves open. variance: of the student's gradient at equal network evaluations. error: what an error of
the auxiliary does to it. futures: two futures of weights .7 and .3 under a condition, with the right auxiliary, longer,
with wrong auxiliaries, and against a guided teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from occflow.distill.protocol import Method
from occflow.flow.path import data_prediction, noised
from occflow.flow.posterior import posterior_velocity
from occflow.flow.solvers import resampled, sample_flow
from occflow.models.student_networks import sample_student
from occflow.occupancy.settings import refuse_unknown
from studies.gradient_noise import ERRORS, ESTIMATORS, change_by_error, gradient, noise_to_signal
from studies.ledger import Ledger
from studies.toy.points import (
    METHODS,
    PointDistillation,
    PointToy,
    distillation,
    energy_distance,
    mapped,
    noise_and_truth,
    ring,
    score,
    started,
    two_futures,
)
from studies.toy.report import toy_markdown, write_figure

# Eight Gaussians on a ring: every method, and an auxiliary that lags

LAGGING = ("mfd", "vsd", "vsd, 3 draws", "mfd, plain", "vsd, plain", "dmd")
DRAWN_POINTS = 400  # of a picture


def ring_jobs(values: Mapping) -> dict[str, Callable[[], dict]]:
    """Data, the exact teacher, and every method by seed, or those of toy.methods.

    Raises:
        InputError: a method that is not there.
    """
    for name in values["methods"]:
        refuse_unknown("toy.methods", name, tuple(METHODS))
    jobs = {"data": lambda: exact_row(values, 0)}
    jobs |= {f"teacher-{steps}": partial(exact_row, values, steps) for steps in (1, 10, 50)}
    return jobs | {f"{name}/{seed}": partial(trained_row, values, name, seed)
                   for seed in values["seeds"] for name in values["methods"] or METHODS}


def lag_jobs(values: Mapping) -> dict[str, Callable[[], dict]]:
    """The methods with an auxiliary that is updated once a student update, without a head start."""
    return {f"{name}/{seed}": partial(trained_row, values, name, seed, 1)
            for seed in values["seeds"] for name in LAGGING}


def exact_row(values: Mapping, steps: int) -> dict:
    """The exact teacher at so many Euler steps; 0: fresh data."""
    toy, count = ring(), values["samples"]
    noise, _ = noise_and_truth(toy, count)
    if steps == 0:
        return score(toy, toy.draw(count, torch.Generator().manual_seed(4321))[0])
    condition = torch.zeros(count)
    return score(toy, sample_flow(lambda x, t: toy.velocity(x, t, condition), noise, torch.arange(count), count, steps))


def trained_row(values: Mapping, name: str, seed: int, auxiliary_updates: int | None = None) -> dict:
    """A student's scores after its training, at a few moments of it, and with more steps where its method takes them.

    The first seed's samples are kept for the picture.
    """
    toy, start = started(False, seed)
    few_steps = METHODS[name].few_steps
    training = distillation(values, toy, start, METHODS[name], seed, auxiliary_updates,
                            teacher_map=mapped(False, seed) if METHODS[name].needs_map else None)
    noise, curve = noise_and_truth(toy, values["samples"])[0], []
    for until in (values["updates"] // 12, values["updates"] // 6, values["updates"] // 3, values["updates"]):
        student = training.run(until - training.student.count)
        samples = student_samples(student, noise, 1, few_steps)
        curve.append([until, score(toy, samples)["energy"]])
    row = {**score(toy, samples), "curve": curve}
    if few_steps != "none":
        row["steps"] = {str(steps): score(toy, student_samples(student, noise, steps, few_steps)) for steps in (2, 4)}
    if seed == values["seeds"][0] and auxiliary_updates is None:
        row["points"] = " ".join(map(str, samples[:DRAWN_POINTS].mul(100).round().int().flatten().tolist()))
    return row


@torch.no_grad()
def student_samples(student: torch.nn.Module, noise: Tensor, steps: int, few_steps: str) -> Tensor:
    """Samples [N, 2] without a condition."""
    return sample_student(student, noise, len(noise), steps, few_steps, torch.zeros(len(noise)))


# Re-sampling of noised points

DECIDED = (0.3, 0.6, 0.9)  # times that points are noised to


def resampling_jobs(values: Mapping) -> dict[str, Callable[[], dict]]:
    """The teacher's posterior mean and exact posterior flow, and meta flow maps."""
    jobs = {"posterior mean": partial(resampling_row, values, exact_resampling(0)),
            "teacher-50": partial(resampling_row, values, exact_resampling(50))}
    return jobs | {f"meta flow map/{seed}": partial(learned_row, values, seed) for seed in values["seeds"]}


def exact_resampling(steps: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """(x_t, t, noise) -> sample of p(x | x_t) by so many Euler steps of the exact velocity; 0: its mean."""
    toy = ring()

    def resample(x_t: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        index, condition = torch.arange(len(x_t)), torch.zeros(len(x_t))

        def velocity(x: Tensor, s: Tensor) -> Tensor:
            return toy.velocity(x, s, condition)

        if steps == 0:
            return data_prediction(x_t, velocity(x_t, t), t, index)
        return sample_flow(lambda y, s: posterior_velocity(velocity, y, s, x_t, t, index), noise, index, len(x_t),
                           steps)

    return resample


def learned_row(values: Mapping, seed: int) -> dict:
    """One step of a meta flow map."""
    toy, start = started(False, seed)
    student = distillation(values, toy, start, METHODS["meta flow map"], seed).run()

    @torch.no_grad()
    def resample(x_t: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        condition = torch.zeros(len(x_t))
        return resampled(lambda *inputs: student.posterior(*inputs, condition), x_t, t, noise)

    return resampling_row(values, resample)


def resampling_row(values: Mapping, resample: Callable[[Tensor, Tensor, Tensor], Tensor]) -> dict:
    """By t: energy distance of the pairs (x_t, sample) to pairs (x_t, x) of the data, and the share of samples that
    stay in the mode that x_t came from."""
    toy, count, row = ring(), values["samples"], {}
    generator = torch.Generator().manual_seed(99)
    for time_now in DECIDED:
        t, index = torch.full((count,), time_now), torch.arange(count)
        (data, _), (other, _) = (toy.draw(count, generator) for _ in range(2))
        x_t, other_t = (noised(x, torch.randn(x.shape, generator=generator), t, index).x_t for x in (data, other))
        samples = resample(x_t, t, torch.randn(x_t.shape, generator=generator))
        stayed = (toy.nearest_mode(samples) == toy.nearest_mode(data)).float().mean()
        row[f"{time_now:g}"] = {"energy": energy_distance(torch.cat([x_t, samples], 1), torch.cat([other_t, other], 1)),
                                "stayed": float(stayed)}
    return row


# Two futures under a condition: does a student keep the rarer one?

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


# The student's gradient: its noise at equal cost, and what an error of the auxiliary does to it

DRAWN = 200  # gradients that a variance is measured on
PAIRED = 60  # gradients with and without the error


def variance_jobs(values: Mapping) -> dict[str, Callable[[], dict]]:
    """At two moments of a training."""
    return {f"{share:g}/{seed}": partial(variances, values, share, seed)
            for seed in values["seeds"] for share in (0.1, 1.0)}


def variances(values: Mapping, share: float, seed: int) -> dict:
    """Noise-to-signal of the student's gradient, tr Cov / |mean|^2, by estimator, at one state of the networks."""
    training = trained(values, share, seed)
    return {name: noise_to_signal([drawn(training, method)]) for name, method in ESTIMATORS.items()}


def trained(values: Mapping, share: float, seed: int) -> PointDistillation:
    """MFD's training on the ring, a share of the way."""
    toy, start = started(False, seed)
    training = distillation(values, toy, start, METHODS["mfd"], seed)
    training.run(max(1, int(share * values["updates"])))
    return training


def drawn(training: PointDistillation, method: Method) -> Iterator[Tensor]:
    """Gradients of the method in the student's parameters."""
    return (gradient(method, *training.batch(), training.generator, training.student.parameters) for _ in range(DRAWN))


def error_jobs(values: Mapping) -> dict[str, Callable[[], dict]]:
    """By kind of error and seed."""
    return {f"{kind}/{seed}": partial(error_row, values, kind, seed) for seed in values["seeds"] for kind in ERRORS}


def error_row(values: Mapping, kind: str, seed: int) -> dict:
    """Root mean square change of a gradient by an error of the auxiliary, same draws, by estimator.

    A tenth into MFD's training. Absolute: the estimators' own gradients have the same mean but for their noise.
    """
    training = trained(values, 0.1, seed)
    return {name: change_by_error(method, kind, training.batch, training.generator, training.student.parameters,
                                  PAIRED, training.student.count) for name, method in ESTIMATORS.items()}


# All parts

PARTS = {"ring": ring_jobs, "lag": lag_jobs, "resampling": resampling_jobs, "futures": futures_jobs,
         "variance": variance_jobs, "error": error_jobs}
SETTINGS = ("updates", "longer", "batch", "auxiliary_updates", "samples")


def run_toy_study(values: Mapping) -> str:
    """Make what is missing of all parts; returns the report. OUTPUT.json and .md are written after each result,
    OUTPUT.svg at the end.

    Raises:
        InputError: an unknown part, or results of other settings or of outdated methods in OUTPUT.json.
    """
    for part in values["parts"]:
        refuse_unknown("toy.parts", part, tuple(PARTS))
    ledger = Ledger(Path(values["output"]), toy_markdown, {"settings": {name: values[name] for name in SETTINGS}},
                    "settings of group toy", kind=dict[str, dict])
    page = ledger.make(((part, name), job) for part in values["parts"] for name, job in PARTS[part](values).items())
    write_figure(Path(f"{values['output']}.svg"), ledger.found.get("ring", {}))
    return page
