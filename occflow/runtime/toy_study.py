"""The study of the distillation methods on points: what tools/study_toy.py trains and measures, part by part.

ring: eight Gaussians, one-step students of every method. lag: one auxiliary update a student update. variance: of the
student's gradient at equal network evaluations. futures: two futures of weights .7 and .3 under a condition, with the
right auxiliary, with wrong ones, and against a guided teacher.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor

from occflow.atomic import atomic_file, write_json
from occflow.distill.consistency import ContinuousConsistency, DiscreteConsistency
from occflow.distill.flow_maps import LagrangianMap, SemigroupMap, TerminalVelocityMatching
from occflow.distill.free_flow import FreeFlow
from occflow.distill.mean_flow import MeanFlow, StabilisedMeanFlow
from occflow.distill.mfd import MeanFlowDistillation
from occflow.distill.protocol import Method
from occflow.distill.vsd import VariationalScoreDistillation
from occflow.flow.solvers import sample_flow
from occflow.flow.toys import PointToy, energy_distance, ring, two_futures
from occflow.occupancy.settings import refuse_unknown
from occflow.runtime.toy_study_report import toy_markdown, write_samples
from occflow.training.points import PointDistillation, PointNetwork, PointTraining, fitted

METHODS: dict[str, Method] = {
    "mfd": MeanFlowDistillation(normalise=False), "mfd, normalised": MeanFlowDistillation(),
    "vsd": VariationalScoreDistillation(), "vsd, 3 draws": VariationalScoreDistillation(draws=3),
    "dmd": VariationalScoreDistillation(normalise=True), "consistency": DiscreteConsistency(),
    "continuous consistency": ContinuousConsistency(), "mean flow (eulerian)": MeanFlow(),
    "mean flow, data": MeanFlow(from_data=True), "stabilised mean flow": StabilisedMeanFlow(),
    "lagrangian": LagrangianMap(), "semigroup": SemigroupMap(), "free flow": FreeFlow(),
    "terminal velocity": TerminalVelocityMatching(), "terminal velocity, data": TerminalVelocityMatching(True)}
LEARNS_MAP = {name for name, method in METHODS.items() if not isinstance(
    method, (MeanFlowDistillation, VariationalScoreDistillation, FreeFlow))}  # FreeFlow learns u at t = 1 only
LAGGING = ("mfd", "vsd", "vsd, 3 draws", "mfd, normalised", "dmd")
DRAWN = 200  # gradients that a variance is measured on
GUIDANCE = 2.0  # OccFM's
REGRESSION_BETAS = (0.9, 0.99)  # methods with an auxiliary forget at once, (0, 0.99): their target moves


def run_toy_study(values: Mapping) -> str:
    """Make what is missing of all parts; returns the report, which lies in OUTPUT/README.md too.

    Raises:
        InputError: an unknown part.
    """
    output = Path(values["output"])
    found = json.loads((output / "results.json").read_text()) if (output / "results.json").is_file() else {}
    output.mkdir(parents=True, exist_ok=True)
    for part in values["parts"]:
        refuse_unknown("toy.parts", part, tuple(PARTS))
    for part in values["parts"]:
        for name, job in PARTS[part](values).items():
            if name not in found.setdefault(part, {}):
                found[part][name] = job()
                found["settings"] = {key: values[key] for key in ("updates", "batch", "auxiliary_updates", "samples")}
                write_json(output / "results.json", found)
    report = toy_markdown(found)
    with atomic_file(output / "README.md") as partial_file:
        partial_file.write_text(report)
    return report


@lru_cache(maxsize=2)
def started(conditional: bool, seed: int) -> tuple[PointToy, PointNetwork]:
    """A toy and the network at which its students start."""
    toy = two_futures() if conditional else ring()
    return toy, fitted(toy.velocity, toy.draw, seed)


def distillation(values: Mapping, toy: PointToy, start: PointNetwork, method: Method, seed: int, lag: bool = False,
                 **changes) -> PointDistillation:
    """A method on a toy with the study's settings."""
    settings = PointTraining(values["updates"], values["batch"], 1 if lag else values["auxiliary_updates"],
                             betas=(0.0, 0.99) if method.needs_auxiliary else REGRESSION_BETAS)
    return PointDistillation(method, changes.pop("teacher", toy.velocity), start, toy.draw, settings, seed, **changes)


def noise_and_truth(toy: PointToy, count: int) -> tuple[Tensor, Tensor]:
    """Fixed noise and fixed exact data [count, 2] for the scores."""
    generator = torch.Generator().manual_seed(1234)
    return torch.randn(count, 2, generator=generator), toy.draw(count, generator)[0]


def score(toy: PointToy, samples: Tensor) -> dict:
    """Energy distance to exact data, and the share off the modes."""
    return {"energy": energy_distance(samples, noise_and_truth(toy, len(samples))[1]), "off": toy.off_mode(samples)}


# ring and lag

def ring_jobs(values: Mapping) -> dict[str, Callable[[], dict]]:
    """Data, the exact teacher, and every method by seed."""
    jobs = {"data": lambda: exact_row(values, 0)}
    jobs |= {f"teacher-{steps}": partial(exact_row, values, steps) for steps in (1, 10, 50)}
    return jobs | {f"{name}/{seed}": partial(trained_row, values, name, seed, False)
                   for seed in values["seeds"] for name in METHODS}


def lag_jobs(values: Mapping) -> dict[str, Callable[[], dict]]:
    """The methods with an auxiliary that is updated once a student update, without a head start."""
    return {f"{name}/{seed}": partial(trained_row, values, name, seed, True)
            for seed in values["seeds"] for name in LAGGING}


def exact_row(values: Mapping, steps: int) -> dict:
    """The exact teacher at so many Euler steps; 0: fresh data."""
    toy, count = ring(), values["samples"]
    noise, _ = noise_and_truth(toy, count)
    if steps == 0:
        return score(toy, toy.draw(count, torch.Generator().manual_seed(4321))[0])
    condition = torch.zeros(count)
    return score(toy, sample_flow(lambda x, t: toy.velocity(x, t, condition), noise, torch.arange(count), count, steps))


def trained_row(values: Mapping, name: str, seed: int, lag: bool) -> dict:
    """A student's scores after its training, at a few moments of it, and with more steps where it learns a map."""
    toy, start = started(False, seed)
    training = distillation(values, toy, start, METHODS[name], seed, lag)
    noise, _ = noise_and_truth(toy, values["samples"])
    condition, curve, began, seconds = torch.zeros(len(noise)), [], time.perf_counter(), 0.0
    for until in (values["updates"] // 12, values["updates"] // 6, values["updates"] // 3, values["updates"]):
        student = training.run(until - training.student.count)
        seconds += time.perf_counter() - began
        with torch.no_grad():
            samples = student.sample(noise, condition)
        curve.append([until, score(toy, samples)["energy"]])
        began = time.perf_counter()
    row = {**score(toy, samples), "curve": curve, "seconds": round(seconds, 1)}
    if name in LEARNS_MAP:
        with torch.no_grad():
            row["steps"] = {str(steps): score(toy, student.sample(noise, condition, steps)) for steps in (2, 4)}
    if seed == values["seeds"][0] and not lag:
        write_samples(Path(values["output"]), name, samples)
    return row


# variance

def variance_jobs(values: Mapping) -> dict[str, Callable[[], dict]]:
    """At two moments of a training."""
    return {f"{share:g}/{seed}": partial(variances, values, share, seed)
            for seed in values["seeds"] for share in (0.1, 1.0)}


def variances(values: Mapping, share: float, seed: int) -> dict:
    """Noise-to-signal of the student's gradient, tr Cov / |mean|^2, by estimator, at one state of the networks.

    All estimators draw t alike (the larger of two uniforms) and are not normalised; "mfd" and "vsd, 3 draws" ask each
    network three times.
    """
    toy, start = started(False, seed)
    training = distillation(values, toy, start, METHODS["mfd"], seed)
    training.run(max(1, int(share * values["updates"])))
    estimators = {"vsd": MeanFlowDistillation(equal_share=1.0, normalise=False),
                  "vsd, 3 draws": MeanFlowDistillation(equal_share=1.0, draws=3, normalise=False),
                  "mfd": MeanFlowDistillation(steps=3, normalise=False)}
    return {name: noise_to_signal(training, method) for name, method in estimators.items()}


def noise_to_signal(training: PointDistillation, method: Method) -> float:
    """tr Cov / |E g|^2 of the method's gradient in the student's parameters."""
    gradients, kept = [], training.method
    training.method = method
    for _ in range(DRAWN):
        loss = training.student_loss()
        found = torch.autograd.grad(loss, training.student.parameters, allow_unused=True)
        gradients.append(torch.cat([gradient.flatten() for gradient in found if gradient is not None]))
    training.method = kept
    stacked = torch.stack(gradients)
    noise = float(stacked.var(dim=0).sum())
    return noise / max(float(stacked.mean(0).pow(2).sum()) - noise / DRAWN, 1e-12)  # the mean's own noise taken off


# futures

def futures_jobs(values: Mapping) -> dict[str, Callable[[], dict]]:
    """Weight of the common future (true: .7) by case and seed."""
    def without(condition: Tensor) -> Tensor:
        return torch.full_like(condition, 0.5)

    def shuffled(condition: Tensor) -> Tensor:
        return condition[torch.randperm(len(condition), generator=torch.Generator().manual_seed(len(condition)))]

    guided = partial(two_futures().guided, scale=GUIDANCE)
    cases = {"mfd": {}, "vsd": {}, "mean flow (eulerian)": {}, "stabilised mean flow": {},
             "mfd, auxiliary without condition": {"shown": without}, "vsd, auxiliary without condition":
             {"shown": without}, "mfd, auxiliary with shuffled condition": {"shown": shuffled},
             "mfd, teacher guided": {"teacher": guided}, "vsd, teacher guided": {"teacher": guided},
             "mean flow (eulerian), teacher guided": {"teacher": guided}}
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
    """A one-step student's."""
    toy, start = started(True, seed)
    method = METHODS[next(name for name in sorted(METHODS, key=len, reverse=True) if case.startswith(name))]
    student = distillation(values, toy, start, method, seed, **changes).run()
    noise, condition = noise_and_truth(toy, values["samples"])[0], torch.arange(values["samples"]).remainder(2).float()
    with torch.no_grad():
        return common_weight(toy, student.sample(noise, condition), condition)


PARTS = {"ring": ring_jobs, "lag": lag_jobs, "variance": variance_jobs, "futures": futures_jobs}
