"""The toy study on a ring of eight Gaussians: every method, a lagging auxiliary, re-sampling of noised points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from occflow.flow.few_steps import resampled
from occflow.flow.path import data_prediction, noised
from occflow.flow.posterior import posterior_velocity
from occflow.flow.solvers import sample_flow
from occflow.models.student_networks import sample_student
from studies.toy.distributions import energy_distance, ring
from studies.toy.training import METHODS, distillation, noise_and_truth, score, started

LAGGING = ("mfd", "vsd", "vsd, 3 draws", "mfd, plain", "vsd, plain", "dmd")
DRAWN_POINTS = 400  # of a picture


def ring_jobs(values: Mapping) -> dict[str, Callable[[], dict]]:
    """Data, the exact teacher, and every method by seed."""
    jobs = {"data": lambda: exact_row(values, 0)}
    jobs |= {f"teacher-{steps}": partial(exact_row, values, steps) for steps in (1, 10, 50)}
    return jobs | {f"{name}/{seed}": partial(trained_row, values, name, seed)
                   for seed in values["seeds"] for name in METHODS}


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
    training = distillation(values, toy, start, METHODS[name], seed, auxiliary_updates)
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


# resampling

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
