"""The report of the toy study: tables in markdown, and a picture of the first seed's samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from occflow.charts import COLOURS, figure, look, save

SIDE_IN, REACH = 1.6, 3.0  # inches of a picture; half its width in the toy's units
COLUMNS = 6


def write_figure(path: Path, ring: Mapping[str, dict]) -> None:
    """The samples of the first seed, a picture a method."""
    shown = pictures(ring)
    if not shown:
        return
    with look():
        rows = -(-len(shown) // COLUMNS)
        page = figure(SIDE_IN * COLUMNS, SIDE_IN * rows)
        places = page.subplots(rows, COLUMNS, squeeze=False).flatten()
        for axes in places:
            axes.set_axis_off()
        for axes, (name, points) in zip(places, shown.items()):
            axes.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect="equal")
            axes.scatter(*zip(*points), s=1, color=COLOURS[0], linewidths=0, rasterized=True)
            axes.set_title(name, y=-0.12, fontsize=7)
        save(path, page)


def pictures(ring: Mapping[str, dict]) -> dict[str, list[tuple[float, float]]]:
    """The points (x, y) by method, which results hold as "x y x y ..." in hundredths of the toy's unit."""
    found = {}
    for name, row in ring.items():
        if "points" in row:
            values = [int(value) / 100 for value in row["points"].split()]
            found[name.rpartition("/")[0]] = list(zip(values[::2], values[1::2]))
    return found


def by_name(rows: Mapping[str, dict]) -> dict[str, list]:
    """Rows named NAME/SEED -> the seeds' rows by name."""
    found: dict[str, list] = {}
    for name, row in rows.items():
        found.setdefault(name.rpartition("/")[0] or name, []).append(row)
    return found


def toy_markdown(found: Mapping) -> str:
    """The report of what has been measured so far."""
    pictures(found.get("ring", {}))  # results that they cannot be drawn of are refused here, too
    settings = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in found["settings"].items())
    lines = ["# The methods on points", "",
             f"Written by `python -m studies.toy` ({settings}). Students start at a network that was fitted to the "
             "exact teacher's velocity, and see few updates. A toy checks that a method is built right. It does not "
             "rank methods: only the forecaster can. Where fewer figures stand in brackets, fewer seeds have been run.",
             ""]
    lines += [f"*{found['outdated']}.*", ""] if "outdated" in found else []
    for part, write in WRITERS.items():
        if found.get(part):
            lines += [*write(by_name(found[part])), ""]
    return "\n".join(lines).rstrip() + "\n"


def cell(values: list[float], digits: int = 4) -> str:
    """Mean of the seeds, and each."""
    each = " ".join(f"{value:.{digits}f}" for value in values)
    return each if len(values) == 1 else f"**{mean(values):.{digits}f}** ({each})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in markdown."""
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]


def ring_lines(rows: Mapping[str, list]) -> list[str]:
    """Eight Gaussians."""
    def more(seeds: list, steps: str) -> str:
        return f"{mean(row['steps'][steps]['energy'] for row in seeds):.4f}" if "steps" in seeds[0] else "-"

    cells = [[name, cell([row["energy"] for row in seeds]), f"{mean(row['off'] for row in seeds):.3f}",
              more(seeds, "2"), more(seeds, "4")] for name, seeds in rows.items()]
    return ["## Eight Gaussians, one step", "",
            "Energy distance to exact data (0 is best; fresh data show the floor), mean and every seed; share of "
            "samples beyond four standard deviations of every mode; energy distance at two and four steps where the "
            "method takes them (of `transition`: inner steps).", "",
            *table(["", "energy distance", "off the modes", "2 steps", "4 steps"], cells), "",
            "Samples of the first seed:", "", "![Samples of every method](toy.svg)"]


def lag_lines(rows: Mapping[str, list]) -> list[str]:
    """A stale auxiliary."""
    return ["## An auxiliary that lags", "", "One auxiliary update a student update. Energy distance.", "",
            *table(["", "energy distance"], [[name, cell([row["energy"] for row in seeds])]
                                             for name, seeds in rows.items()])]


def resampling_lines(rows: Mapping[str, list]) -> list[str]:
    """What a noised point leaves open."""
    times = list(next(iter(rows.values()))[0])
    cells = [[name, *(f"{cell([row[t]['energy'] for row in seeds])}; {mean(row[t]['stayed'] for row in seeds):.3f}"
                      for t in times)] for name, seeds in rows.items()]
    return ["## Re-sampling what a noised point leaves open", "",
            "A point of the data is noised to x_t and re-sampled. Energy distance of the pairs (x_t, sample) to pairs "
            "(x_t, x) of the data; share of samples in the mode that x_t came from, which should be the exact "
            "teacher's.", "", *table(["", *(f"t = {t}" for t in times)], cells)]


def futures_lines(rows: Mapping[str, list]) -> list[str]:
    """The conditional toy."""
    def along(seeds: list) -> str:
        curves = [row["curve"] for row in seeds if "curve" in row]
        return " ".join(f"{mean(values):.3f}" for values in zip(*([w for _, w in one] for one in curves))) or "-"

    cells = [[name, cell([row["weight"] for row in seeds], 3), f"{mean(row['off'] for row in seeds):.3f}",
              along(seeds)] for name, seeds in rows.items()]
    return ["## Two futures, weights .7 and .3", "",
            "Weight of the common future in the samples, mean and every seed; share off both; the mean weight after "
            "each eighth of the training.", "",
            *table(["", "weight of the common future", "off", "along the training"], cells)]


def variance_lines(rows: Mapping[str, list]) -> list[str]:
    """Gradient variance."""
    names = list(next(iter(rows.values()))[0])
    cells = [[share, *(cell([row[name] / row["vsd"] for row in seeds], 2) for name in names)]
             for share, seeds in rows.items()]
    return ["## Noise of the student's gradient", "",
            "tr Cov / |mean|^2 of 200 gradients, relative to VSD's, at a share of MFD's training; `mfd` (three Euler "
            "steps) and `vsd, 3 draws` ask the networks equally often, `vsd` a third as often.", "",
            *table(["share of the training", *names], cells)]


def error_lines(rows: Mapping[str, list]) -> list[str]:
    """Robustness to an error of the auxiliary."""
    names = list(next(iter(rows.values()))[0])
    cells = [[kind, *(cell([row[name] / row["vsd"] for row in seeds], 2) for name in names)]
             for kind, seeds in rows.items()]
    return ["## An error of the auxiliary", "",
            "How much it changes the gradient (root mean square over draws), relative to VSD's. The error has one size "
            "and is the same everywhere, a wave in t of angular frequency 10 or 30, or new at every call.", "",
            *table(["error", *names], cells)]


WRITERS = {"ring": ring_lines, "lag": lag_lines, "resampling": resampling_lines, "futures": futures_lines,
           "variance": variance_lines, "error": error_lines}
