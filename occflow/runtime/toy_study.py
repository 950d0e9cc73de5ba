"""The toys of distillation: what tools/study_toy.py trains, training by training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from occflow.atomic import atomic_file, write_json
from occflow.distill.methods import method_from_config
from occflow.errors import InputError
from occflow.flow.few_steps import sample_jumps, sample_renoised
from occflow.flow.solvers import sample_flow
from occflow.runtime.toy import (
    ToyNetwork,
    ToyProblem,
    distil,
    energy_distance,
    rare_share,
    ring,
    start_network,
    two_futures,
)
from occflow.runtime.toy_gradients import gradient_noise
from occflow.runtime.toy_picture import write_scatter
from occflow.runtime.toy_report import by_name, page

SHOWN = 300  # samples of a panel
STEPS = (1, 2, 4)  # of a student
TEACHER_STEPS = (1, 10, 50)
SPOILED = {"its own condition": lambda c: c, "no condition": lambda c: torch.full_like(c, 1 / c.shape[1]),
           "a shuffled condition": lambda c: c.roll(1, 0)}
FUTURES = ("mfd", "vsd", "stabilised_mean_flow")


def run_toys(config: Mapping, groups: Mapping[str, Mapping]) -> str:
    """Make the missing results; after each, toy.json, README.md and toy.svg are written. Returns the page.

    Raises:
        InputError: results of other settings are there.
    """
    torch.set_num_threads(1)
    values = config["toy_study"]
    folder, path = Path(values["output"]), Path(values["output"]) / "toy.json"
    settings = {name: values[name] for name in ("samples", "start_steps", "steps", "auxiliary_updates",
                                                "learning_rate", "scored")}
    found = json.loads(path.read_text()) if path.is_file() else {"settings": settings, "results": {}}
    if found["settings"] != settings:
        raise InputError(f"{path}: results of other settings of toy_study; remove it or name another toy_study.output")
    for place, job in jobs(values, groups):
        if place not in found["results"]:
            found["results"][place] = job()
            write_json(path, found)
            with atomic_file(folder / "README.md") as partial:
                partial.write_text(page(found))
            write_scatter(folder / "toy.svg", panels(found["results"]))
    return page(found)


def jobs(values: Mapping, groups: Mapping[str, Mapping]) -> Iterator:
    """All results by place "part/name/seed"."""
    starts: dict = {}
    parts, seeds = values["parts"], values["seeds"]
    if "teacher" in parts:
        yield "teacher", lambda: teacher_result(values)
    if "gradients" in parts:
        yield "gradients", gradient_noise
    for seed in seeds if "ring" in parts else ():
        for name in values["methods"]:
            yield f"ring/{name}/{seed}", lambda name=name, seed=seed: ring_result(
                start(starts, ring(), values, seed), groups[name], values, seed)
    for guidance in values["guidance"] if "two_futures" in parts else ():
        for seed in seeds:
            for name in FUTURES:
                yield f"futures/{name}, guidance {guidance:g}/{seed}", lambda name=name, seed=seed, guidance=guidance: \
                    futures_result(starts, groups[name], values, seed, guidance)
    for name, seen in SPOILED.items() if "two_futures" in parts else ():
        yield f"futures/mfd, auxiliary sees {name}/{seeds[0]}", lambda seen=seen: futures_result(
            starts, groups["mfd"], values, seeds[0], 1.0, seen)


def start(kept: dict, problem: ToyProblem, values: Mapping, seed: int) -> ToyNetwork:
    """The network that students of a seed start at, fitted once."""
    key = len(problem.mixtures), problem.guidance, seed
    if key not in kept:
        kept[key] = start_network(problem, values, seed)
    return kept[key]


def exact(problem: ToyProblem, values: Mapping, seed: int) -> tuple[Tensor, Tensor]:
    """Samples [N, 2] of the data and their conditions."""
    generator = torch.Generator().manual_seed(seed)
    condition = problem.conditions(values["scored"], generator)
    return problem.data(condition, generator), condition


def teacher_result(values: Mapping) -> dict:
    """Data against data and the exact teacher by Euler steps, for every seed."""
    problem, rows = ring(), {}
    for seed in values["seeds"]:
        (data, condition), (other, _) = exact(problem, values, 1000 + seed), exact(problem, values, 2000 + seed)
        rows.setdefault("data against data", []).append(energy_distance(data, other))
        noise = torch.randn(data.shape, generator=torch.Generator().manual_seed(3000 + seed))
        for steps in TEACHER_STEPS:
            samples = taught_samples(problem, condition, noise, steps)
            rows.setdefault(f"teacher, {steps} Euler", []).append(energy_distance(samples, data))
    return {"energy_distance": rows, "shown": data[:SHOWN].tolist()}


def taught_samples(problem: ToyProblem, condition: Tensor, noise: Tensor, steps: int) -> Tensor:
    """The teacher's samples [N, 2] of noises [N, 2] by Euler steps."""
    return sample_flow(lambda x, t: problem.velocity(x, t, condition), noise, torch.arange(len(noise)), len(noise),
                       steps)


@torch.no_grad()
def student_samples(student: ToyNetwork, condition: Tensor, few_steps: str, steps: int, seed: int) -> Tensor:
    """Samples [N, 2] in so many steps."""
    generator, count = torch.Generator().manual_seed(seed), len(condition)
    noises = [torch.randn(count, 2, generator=generator) for _ in range(steps)]

    def average(x: Tensor, r: Tensor, t: Tensor) -> Tensor:
        return student(x, r, t, condition)

    return sample_renoised(average, noises, count) if few_steps == "renoised" else \
        sample_jumps(average, noises[0], count, steps)


def ring_result(first: ToyNetwork, group: Mapping, values: Mapping, seed: int) -> dict:
    """Energy distance of a student of the ring in 1, 2, 4 steps where its method allows them."""
    method, problem = method_from_config(group), ring()
    made = distil(problem, first, method, values, tuple(group["betas"]), seed)
    data, condition = exact(problem, values, 1000 + seed)
    samples = {steps: student_samples(made.student, condition, method.few_steps, steps, 3000 + seed)
               for steps in STEPS if steps == 1 or method.few_steps != "none"}
    return {"energy_distance": {str(steps): energy_distance(one, data) for steps, one in samples.items()},
            "evaluations": made.evaluations,
            "shown": np.round(samples[1][:SHOWN].numpy(), 3).tolist()}


def futures_result(starts: dict, group: Mapping, values: Mapping, seed: int, guidance: float,
                   seen=SPOILED["its own condition"]) -> dict:
    """Share of the rare future, .3 in the data, in a student's samples and in its teacher's."""
    method, problem = method_from_config(group), two_futures(guidance)
    made = distil(problem, start(starts, problem, values, seed), method, values, tuple(group["betas"]), seed, seen)
    data, condition = exact(problem, values, 1000 + seed)
    samples = student_samples(made.student, condition, method.few_steps, 1, 3000 + seed)
    noise = torch.randn(data.shape, generator=torch.Generator().manual_seed(3000 + seed))
    taught = taught_samples(problem, condition, noise, 50)
    joint = [torch.cat([points, 3 * condition], 1) for points in (samples, data)]  # far apart by condition
    return {"rare": rare_share(samples, condition), "rare_teacher": rare_share(taught, condition),
            "energy_distance": energy_distance(*joint)}


def panels(results: Mapping) -> dict[str, list]:
    """Points to draw by title: the data, and every method's one-step samples of its first seed."""
    data = {"data": results["teacher"]["shown"]} if "teacher" in results else {}
    return data | {name: own[0]["shown"] for name, own in by_name(results, "ring/").items()}
