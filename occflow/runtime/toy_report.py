"""The toys of distillation as Markdown."""

from __future__ import annotations

from collections.abc import Mapping

from occflow.runtime.toy_gradients import FREQUENCIES

STEPS = (1, 2, 4)  # of a student


def page(found: Mapping) -> str:
    """All that was found, as Markdown."""
    results, settings = found["results"], found["settings"]
    lines = ["# Distillation on toys", "", "Exact teachers in two dimensions, the code that distils the forecaster. "
             f"{settings['steps']} student updates of {settings['samples']} samples, energy distances of "
             f"{settings['scored']} samples by seed, x 1000; lower is better. Made by `python tools/study_toy.py`. "
             "A toy proves an implementation; it does not rank methods.", "", "## Eight Gaussians", "",
             "| sampler | 1 step | 2 steps | 4 steps | evaluations an update |", "|---|---|---|---|---|"]
    for name, distances in results.get("teacher", {"energy_distance": {}})["energy_distance"].items():
        lines.append(f"| {name} | {thousandths(distances)} | | | |")
    for name, own in by_name(results, "ring/").items():
        cells = [thousandths([one["energy_distance"].get(str(steps)) for one in own]) for steps in STEPS]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {own[0]['evaluations']:.0f} |")
    lines += ["", "![One-step samples of every method, first seed](toy.svg)"] if by_name(results, "ring/") else []
    futures = by_name(results, "futures/")
    if futures:
        lines += ["", "## Two futures of weights .7 and .3", "",
                  "| student | rare future, teacher | rare future, student | energy distance |", "|---|---|---|---|"]
        lines += [f"| {name} | {shares(own, 'rare_teacher')} | {shares(own, 'rare')} | "
                  f"{thousandths([one['energy_distance'] for one in own])} |" for name, own in futures.items()]
    if "gradients" in results:
        lines += ["", "## Noise of the student's gradient", "", "Exact student and teacher. Noise-to-signal: variance "
                  "of a batch's gradient over its squared mean. The others: squared change of the gradient, over the "
                  "same, by an auxiliary's error of unit size that oscillates with frequency w in time.", "",
                  "| method | evaluations | noise-to-signal | "
                  + " | ".join(f"error, w = {one:g}" for one in FREQUENCIES) + " |", "|---|---|---|---|---|---|"]
        lines += [f"| {name} | {one['evaluations']} | {one['noise_to_signal']:.2f} | "
                  + " | ".join(f"{one[f'error_{w:g}']:.2f}" for w in FREQUENCIES) + " |"
                  for name, one in results["gradients"].items()]
    return "\n".join(lines) + "\n"


def by_name(results: Mapping, start: str) -> dict[str, list]:
    """Results of a part, those of all seeds under one name."""
    found: dict[str, list] = {}
    for place, one in results.items():
        if place.startswith(start):
            found.setdefault(place[len(start):].rpartition("/")[0], []).append(one)
    return found


def thousandths(values: list) -> str:
    return " ".join(f"{1000 * value:.1f}" for value in values if value is not None)


def shares(own: list, name: str) -> str:
    return " ".join(f"{one[name]:.3f}" for one in own)
