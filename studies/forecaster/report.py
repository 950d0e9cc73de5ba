"""The study of the forecaster as Markdown."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

HEAD = ["| forecast | IoU 1/2/3 s | mIoU 1/2/3 s | movable IoU 1/2/3 s | energy | energy of movers |",
        "|---|---|---|---|---|---|"]
LEAST_SPREAD = 1e-6  # of shares: below it the same figure has been added in another order
SCORES = ("iou", "miou", "movable_iou")
LEARNT = ("student-", "teacher-10")  # rows that the ablations' table has


def study_markdown(found: Mapping) -> str:
    """All parts that were found, each a table."""
    parts, lines = found["parts"], ["# The forecaster, studied", ""]
    lines.append("Percent; energy scores are of the Jaccard distance of whole futures, lower is better. Made by "
                 "`python -m studies.forecaster`; the figures with all digits are in the .json beside this page.")
    if "seeds" in parts:
        lines += ["", "## Seeds", "", f"Mean over the seeds {', '.join(parts['seeds'])}, and in brackets the standard "
                  "deviation; '(of n)': n of the seeds have it.", "", *HEAD]
        lines += [row_line(row) for row in mean_rows([one["rows"] for one in parts["seeds"].values()])]
    if "reconstruction" in parts:
        lines += ["", "## Reconstruction of held-out frames", "",
                  "| | IoU | mIoU | movable IoU | latent numbers a frame |", "|---|---|---|---|---|"]
        lines += [f"| {name} | " + " | ".join(f"{100 * one[score]:.1f}" for score in SCORES)
                  + f" | {one['latent_numbers_a_frame']:.0f} |" for name, one in parts["reconstruction"].items()]
    if "ablations" in parts:
        whole = next(iter(parts.get("seeds", {}).values()), None)  # the first seed
        tables = {**({"everything": whole} if whole else {}), **parts["ablations"]}
        lines += ["", "## Ablations", "", "One seed, one budget.", "", *HEAD]
        lines += [row_line({**row, "name": f"{name}: {row['name']}"}) for name, one in tables.items()
                  for row in one["rows"] if row["name"].startswith(LEARNT)]
    for part, title in (("inputs", "Both inputs, one set of weights"), ("samplers", "Samplers")):
        for name, one in parts.get(part, {}).items():
            lines += ["", f"## {title}: {name}", "", *HEAD, *(row_line(row) for row in one["rows"])]
    for name, recording in parts.get("recordings", {}).items():
        for kind in ("simulation alone", "fine-tuned"):
            one = recording[kind]
            lines += ["", f"## Recording {name}: {kind}", "", f"{one['windows']} windows of the second half; "
                      f"{recording['training_windows']} to train on.", "", *HEAD, *(map(row_line, one["rows"]))]
    if "machine" in found:
        machine = found["machine"]
        lines += ["", f"Machine: {machine['cpu']}, {machine['cores']} cores, GPU: {machine['gpu']}."]
    return "\n".join(lines) + "\n"


def mean_rows(tables: list[list[dict]]) -> list[dict]:
    """One row a forecast: means over the tables that have it, and "spread", their standard deviations."""
    rows = []
    for name in dict.fromkeys(row["name"] for table in tables for row in table):
        same = [row for table in tables for row in table if row["name"] == name]
        row = {"name": name if len(same) == len(tables) else f"{name} (of {len(same)})", "spread": {}}
        for score in (*SCORES, "energy", "movable_energy"):
            values = [one.get(score) for one in same]
            if None not in values:
                values = np.array(values, dtype=float)
                row[score], row["spread"][score] = values.mean(0).tolist(), values.std(0).tolist()
        rows.append(row)
    return rows


def row_line(row: Mapping) -> str:
    """A row of the table; absent figures are dashes."""
    spread = row.get("spread", {})
    cells = [row["name"]]
    for score in SCORES:
        around = spread.get(score) or [0.0] * len(row[score])
        cells.append(" / ".join(number(value, width) for value, width in zip(row[score], around)))
    for score in ("energy", "movable_energy"):
        cells.append("-" if row.get(score) is None else f"{row[score]:.3f}"
                     + (f" ({spread[score]:.3f})" if spread.get(score) else ""))
    return "| " + " | ".join(cells) + " |"


def number(share: float | None, spread: float) -> str:
    """A share in percent, with its spread where it has one."""
    if share is None or share != share:
        return "-"
    return f"{100 * share:.1f}" + (f" ({100 * spread:.1f})" if spread > LEAST_SPREAD else "")
