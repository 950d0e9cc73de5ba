"""The study of distillation as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from occflow.eval.intervals import paired_difference
from occflow.eval.sections import spanned

SCORES = ("iou", "miou", "movable_iou")
HEAD = ("method", "NFE", "seeds", "updates", "IoU 1/2/3 s", "mIoU 1/2/3 s", "movable IoU 1/2/3 s", "energy",
        "energy of movers", "distance", "distance of movers", "diversity / teacher's", "evaluations an update",
        "seconds an update", "minutes")
BEFORE = ("Percent; energy scores are of the Jaccard distance of whole futures, lower is better; diversity is the mean "
          "distance of two samples, here divided by that of the teacher with most steps; distance is the energy "
          "distance to the samples of the reference, the teacher in many more steps (docs/scores.md). An update of the "
          "student counts its auxiliary updates; evaluations are forward passes of any network over a batch (a "
          "forward-mode derivative is one more), backward passes are not counted. In brackets: standard deviation over "
          "seeds of the distillation, all from one teacher.")


def study_markdown(found: Mapping) -> str:
    """All parts that were found, each a table."""
    results, settings = found["results"], found["settings"]
    reference = teacher_reference(results)
    lines = ["# Distillation, studied", "", f"{found['windows']} held-out windows, {settings['samples']} samples of "
             f"every {ordinal(settings['sample_every'])} for the distribution. {BEFORE} Made by "
             "`python -m studies.distillation`; all digits are in the .json beside this page."]
    lines += ["", f"*{found['outdated']}.*"] if "outdated" in found else []
    lines += distance_tables(results, settings)
    if "teacher" in results:
        lines += ["", "## Teacher: its centre and its samples", "", *table([[*cells([row], reference, {})]
                                                              for row in results["teacher"]["rows"]])]
    for part, title in (("updates", "Equal updates"), ("evaluations", "As many network evaluations as MFD")):
        rows = method_rows(results, part, reference)
        if rows:
            lines += ["", f"## {title}", "", *table(rows)]
    lines += aims(results, reference)
    curves = {place.split("/")[-1]: one for place, one in results.items() if place.startswith("stability/")}
    if curves:
        lines += ["", "## MFD trained longer", "", *curve_table(curves)]
    lines += gradient_tables(results) + guidance_table(results, reference)
    lines += ["", f"Machine: {found['machine']['cpu']}, {found['machine']['cores']} cores, GPU: "
              f"{found['machine']['gpu']}. Commit {found['versions']['commit']}."]
    return "\n".join(lines) + "\n"


def teacher_reference(results: Mapping) -> Mapping | None:
    """The teacher's row with most steps."""
    rows = results.get("teacher", {"rows": []})["rows"]
    return max(rows, key=lambda row: row["nfe"], default=None)


def method_rows(results: Mapping, part: str, reference: Mapping | None) -> list[list[str]]:
    """A line for every method and number of steps, averaged over its seeds."""
    names = dict.fromkeys(place.split("/")[1] for place in results if place.startswith(f"{part}/"))
    lines = []
    for name in names:
        own = [one for place, one in results.items() if place.startswith(f"{part}/{name}/")]
        for index in range(len(own[0]["rows"])):
            rows = [one["rows"][index] for one in own]
            lines.append([name, *cells(rows, reference, own[0])[1:]])
    return lines


def cells(rows: Sequence[Mapping], reference: Mapping | None, cost: Mapping) -> list[str]:
    """The cells of one forecaster's rows, one a seed."""
    shown = [" / ".join(spread([one[score][k] for one in rows], 1, 100) for k in range(len(rows[0][score])))
             for score in SCORES]
    energies = [spread([one.get(name) for one in rows], 4)
                for name in ("energy", "movable_energy", "to_teacher", "movable_to_teacher")]
    diversity = spread([ratio(one, reference, "diversity") for one in rows], 2)
    costs = [f"{cost['network_evaluations']:.0f}", f"{cost['update_seconds']:.2f}", f"{cost['minutes']:.1f}"] \
        if cost else ["-", "-", "-"]
    return [rows[0]["name"], str(rows[0]["nfe"]), str(len(rows)) if cost else "-", str(cost.get("updates", "-")),
            *shown, *energies, diversity, *costs]


def aims(results: Mapping, reference: Mapping | None) -> list[str]:
    """MFD at one step against the teacher."""
    rows = [one["rows"][0] for place, one in results.items() if place.startswith("updates/mfd/")]
    if not rows or reference is None:
        return []
    shares = {score: [one["average"][score] / reference["average"][score] for one in rows] for score in SCORES}
    energy = [one["energy"] / reference["energy"] - 1 for one in rows]
    diversity = [ratio(one, reference, "diversity") - 1 for one in rows]
    iou, miou, movable_iou = (spread(shares[score], 1, 100) for score in SCORES)
    energy, diversity = spread(energy, 1, 100, "+"), spread(diversity, 1, 100, "+")
    return ["", f"MFD at one step against `{reference['name']}`, mean of 1, 2 and 3 s: IoU {iou} % (aim 99), "
            f"mIoU {miou} % (aim 98), movable IoU {movable_iou} %, energy score {energy} % (aim within 2), "
            f"diversity {diversity} % (aim within 10)."]


FARTHER = "teacher-5"  # the row that the others' distances are compared with


def distance_tables(results: Mapping, settings: Mapping) -> list[str]:
    """Rows by their distance to the reference: all voxels, and movers."""
    found = {place.partition("/")[2]: one["row"] for place, one in results.items() if place.startswith("distance/")}
    if not found:
        return []
    reference = found.pop("reference", None)
    name = reference["name"] if reference else f"teacher-{settings['reference_steps']}"
    windows = f", {reference['windows']} windows" if reference else ""
    lines = ["", f"## The distance to {name}", "", "Energy distance of Jaccard distances of whole futures, "
             f"{settings['samples']} samples to as many of other noises{windows}. In brackets: 95 % intervals, scenes "
             "drawn anew. Beyond the floor: minus the reference's own distance in the same windows, of the same "
             f"noises. Minus {FARTHER}: paired by scenes, too."]
    rows = {**found, **({f"{name}, against itself": reference} if reference else {})}
    for part, voxels in (("", "all voxels"), ("movable_", "movers")):
        lines += ["", f"| {voxels} | distance | beyond the floor | minus {FARTHER} | diversity / {name}'s | energy |",
                  "|---|" + "---|" * 5]
        lines += [f"| {row_name} | " + " | ".join(distance_cells(row, found.get(FARTHER), part)) + " |"
                  for row_name, row in rows.items()]
    return lines


def distance_cells(row: Mapping, farther: Mapping | None, part: str) -> list[str]:
    """Distance, that beyond the floor and that minus FARTHER's, diversity and energy, with their intervals."""
    distance, beyond, diversity, energy = (
        spanned(row[part + score], row["intervals"][part + score], digits, 1)
        for score, digits in (("to_teacher", 4), ("beyond_floor", 4), ("diversity_ratio", 2), ("energy", 4)))
    if farther is None or farther is row:
        return [distance, beyond, "-", diversity, energy]
    gap, span = paired_difference(farther["scenes"], row["scenes"], f"{part}to_teacher", 0)
    return [distance, beyond, spanned(gap, span, 4, 1), diversity, energy]


CURVE = {"distance": ("to_teacher", 4), "distance of movers": ("movable_to_teacher", 4),
         "diversity / reference's": ("diversity_ratio", 2), "energy": ("energy", 4)}


def curve_table(curves: Mapping[str, Mapping]) -> list[str]:
    """Distance, diversity and energy score along the way, columns a seed."""
    counts = list(next(iter(curves.values()))["curve"])
    shown = {title: one for title, one in CURVE.items() if any(one[0] in point for curve in curves.values()
                                                                for point in curve["curve"].values())}
    lines = ["| student updates | " + " | ".join(f"{title}, seed {seed}" for seed in curves for title in shown) + " |",
             "|---|" + "---|" * len(curves) * len(shown)]
    for count in counts:
        points = [one["curve"][count] for one in curves.values() if count in one["curve"]]
        lines.append(f"| {count} | " + " | ".join(f"{point[score]:.{digits}f}" for point in points
                                                  for score, digits in shown.values()) + " |")
    return lines


def gradient_tables(results: Mapping) -> list[str]:
    """Noise of the student's gradient, and its change by an error of the auxiliary, relative to VSD's."""
    found = {place.split("/")[-1]: one for place, one in results.items() if place.startswith("gradients/")}
    if not found:
        return []
    names = list(next(iter(found.values()))["noise"])
    lines = ["", "## The student's gradient", "", "tr Cov / |mean|^2 of the gradient in the student's parameters under "
             "one condition (its value for VSD in brackets), and the root mean square change of the gradient by an "
             "error of the auxiliary of one size: the same everywhere, a wave in t of angular frequency 10 or 30, or "
             "new at every call. Relative to VSD's. `mfd` (three Euler steps) and `vsd, 3 draws` ask the networks "
             "equally often, `vsd` a third as often.", "",
             "| student updates | | " + " | ".join(names) + " |", "|---|---|" + "---|" * len(names)]
    for updates, one in found.items():
        noise = one["noise"]
        cells = [f"{noise[name] / noise['vsd']:.2f}" + (f" ({noise[name]:.3g})" if name == "vsd" else "")
                 for name in names]
        lines.append(f"| {updates} | noise | " + " | ".join(cells) + " |")
        for kind, change in one["change"].items():
            lines.append(f"| {updates} | error: {kind} | "
                         + " | ".join(f"{change[name] / change['vsd']:.2f}" for name in names) + " |")
    return lines


BRANCHES = {"coverage": "coverage", "precision": "precision", "energy_distance": "energy distance",
            "parting_coverage": "coverage where they part", "parting_energy_distance": "energy distance there"}


def guidance_table(results: Mapping, reference: Mapping | None) -> list[str]:
    """What a guided teacher does to the forecasts of students, also against branching futures."""
    found = {tuple(place.split("/")[1:]): one["rows"][0] for place, one in results.items()
             if place.startswith("guidance/")}
    if not found:
        return []
    reference = found.get(("teacher", "1"), reference)
    first = next(iter(found.values()))
    lines = ["", "## Guidance", "", "Classifier-free guidance of the teacher alone, of a teacher that was trained with "
             f"dropped histories. Against the branching futures of {first['branch_windows']} windows (docs/scores.md); "
             "diversity is relative to the unguided teacher's.", "",
             "| | guidance | IoU 1/2/3 s | movable IoU 1/2/3 s | energy | energy of movers | diversity | "
             + " | ".join(BRANCHES.values()) + " |", "|---|---|---|---|---|---|---|" + "---|" * len(BRANCHES)]
    for (name, scale), row in found.items():
        _, _, _, _, iou, _, movable, energy, movable_energy, _, _, diversity = cells([row], reference, {})[:12]
        others = [movable, energy, movable_energy, diversity]
        branches = [f"{row['branches'][key]:.3f}" for key in BRANCHES]
        lines.append(f"| {name} | {scale} | " + " | ".join([iou, *others, *branches]) + " |")
    truth = " | ".join(f"{first['truth'][key]:.3f}" for key in BRANCHES)
    return [*lines, f"| true futures | - | - | - | - | - | - | {truth} |"]


def ratio(row: Mapping, reference: Mapping | None, name: str) -> float | None:
    return row[name] / reference[name] if reference and reference[name] else None


def spread(values: Sequence[float | None], digits: int, scale: float = 1, sign: str = "") -> str:
    """Mean, and the standard deviation in brackets where there are several."""
    known = [scale * value for value in values if value is not None]
    if not known:
        return "-"
    mean = f"{np.mean(known):{sign}.{digits}f}"
    return mean + (f" ({np.std(known, ddof=1):.{digits}f})" if len(known) > 1 else "")


def ordinal(number: int) -> str:
    return "window" if number == 1 else {2: "2nd", 3: "3rd"}.get(number, f"{number}th") + " window"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD), *("| " + " | ".join(row) + " |" for row in rows)]
