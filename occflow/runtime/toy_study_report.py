"""The report of the toy study: tables in markdown, the samples of the first seed and the training curves as SVG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import mean

from torch import Tensor

from occflow.atomic import atomic_file

DRAWN_POINTS, SIDE, REACH = 500, 150, 3.0  # points of a picture; its pixels; half its width in the toy's units


def write_samples(output: Path, name: str, samples: Tensor) -> None:
    """OUTPUT/samples/NAME.svg: a picture of the first points [N, 2]; those out of reach are left out."""
    points = ((samples[:DRAWN_POINTS] / REACH + 1) * SIDE / 2).round(decimals=1).tolist()
    path = "".join(f"M{x:g} {SIDE - y:g}h0" for x, y in points if 0 <= x <= SIDE and 0 <= y <= SIDE)
    (output / "samples").mkdir(parents=True, exist_ok=True)
    with atomic_file(output / "samples" / f"{name.replace(', ', '_').replace(' ', '_')}.svg") as partial:
        partial.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" width="{SIDE}" height="{SIDE + 16}" '
                           'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
                           f'<path d="{path}" stroke="#1b6ca8" stroke-width="2" stroke-linecap="round" fill="none"/>'
                           f'<text x="{SIDE / 2:g}" y="{SIDE + 11}" text-anchor="middle">{name}</text></svg>\n')


def by_name(rows: Mapping[str, dict]) -> dict[str, list]:
    """Rows named NAME/SEED -> the seeds' rows by name."""
    found: dict[str, list] = {}
    for name, row in rows.items():
        found.setdefault(name.rpartition("/")[0] or name, []).append(row)
    return found


def toy_markdown(found: Mapping) -> str:
    """The report of what has been measured so far."""
    settings = found.get("settings", {})
    lines = ["# The methods on points", "",
             "Written by `python tools/study_toy.py`; "
             + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in settings.items()) + ". A toy checks that "
             "a method is built right. It does not rank methods: only the forecaster can.", ""]
    for part, write in (("ring", ring_lines), ("lag", lag_lines), ("variance", variance_lines),
                        ("futures", futures_lines)):
        if found.get(part):
            lines += [*write(by_name(found[part])), ""]
    return "\n".join(lines).rstrip() + "\n"


def cell(values: list[float], digits: int = 4) -> str:
    """Mean of the seeds, and each."""
    each = " ".join(f"{value:.{digits}f}" for value in values)
    return each if len(values) == 1 else f"**{mean(values):.{digits}f}** ({each})"


def ring_lines(rows: Mapping[str, list]) -> list[str]:
    """Eight Gaussians."""
    lines = ["## Eight Gaussians, one step", "",
             "Energy distance to exact data (0 is best; fresh data show the floor), mean and every seed; share of "
             "samples beyond four standard deviations of every mode; energy distance at two and four steps where the "
             "method learns a flow map; seconds of training.", "",
             "| | energy distance | off the modes | 2 steps | 4 steps | s |", "|---|---|---|---|---|---|"]
    for name, seeds in rows.items():
        more = [f"{mean(row['steps'][steps]['energy'] for row in seeds):.4f}" if "steps" in seeds[0] else "-"
                for steps in ("2", "4")]
        seconds = f"{mean(row['seconds'] for row in seeds):.0f}" if "seconds" in seeds[0] else "-"
        off = mean(row["off"] for row in seeds)
        lines.append(f"| {name} | {cell([row['energy'] for row in seeds])} | {off:.3f} | {' | '.join(more)} | "
                     f"{seconds} |")
    return [*lines, "", "Samples of the first seed: `samples/`."]


def lag_lines(rows: Mapping[str, list]) -> list[str]:
    """A stale auxiliary."""
    return ["## An auxiliary that lags", "", "One auxiliary update a student update. Energy distance.", "",
            "| | energy distance |", "|---|---|",
            *(f"| {name} | {cell([row['energy'] for row in seeds])} |" for name, seeds in rows.items())]


def variance_lines(rows: Mapping[str, list]) -> list[str]:
    """Gradient variance."""
    names = list(next(iter(rows.values()))[0])
    lines = ["## Noise of the student's gradient", "",
             "tr Cov / |mean|^2 of 200 gradients, relative to VSD's, at a share of MFD's training; `mfd` (three Euler "
             "steps) and `vsd, 3 draws` ask the networks equally often, `vsd` a third as often.", "",
             "| share of the training | " + " | ".join(names) + " |", "|---" * (1 + len(names)) + "|"]
    for share, seeds in rows.items():
        lines.append(f"| {share} | " + " | ".join(cell([row[name] / row['vsd'] for row in seeds], 2)
                                                  for name in names) + " |")
    return lines


def futures_lines(rows: Mapping[str, list]) -> list[str]:
    """The conditional toy."""
    return ["## Two futures, weights .7 and .3", "",
            "Weight of the common future in the samples, mean and every seed; share off both.", "",
            "| | weight of the common future | off |", "|---|---|---|",
            *(f"| {name} | {cell([row['weight'] for row in seeds], 3)} | {mean(row['off'] for row in seeds):.3f} |"
              for name, seeds in rows.items())]
