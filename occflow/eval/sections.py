"""scores.md: what a report measured beside its main table, for people. docs/scores.md says what each means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from occflow.grid import CLASS_NAMES


def percent(values: Sequence) -> str:
    return " / ".join("-" if value is None else f"{100 * value:.1f}" for value in values)


def figure(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table and an empty line."""
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(row) + " |" for row in rows),
            ""]


def scores_markdown(report: Mapping) -> str:
    """All sections for which the report holds figures."""
    lines = ["# Scores in detail", "",
             f"Beside `report.md`: protocol `{report['protocol']}`, ego setting {report['ego']}, "
             f"{report['windows']['count']} windows of {report['windows']['scenes']} scenes, seed {report['seed']}, "
             f"commit {report['versions'].get('commit')}. Percent at 1 / 2 / 3 s unless said otherwise.", "",
             "## 95 % intervals", "", "Bootstrap over scenes, 1000 draws.", "", *_intervals(report),
             "## Classes", "", "IoU at 1 s.", "", *_classes(report)]
    for name, section in SECTIONS.items():
        if report.get(name):
            lines += section(report[name])
    return "\n".join(lines)


def _intervals(report: Mapping) -> list[str]:
    def cell(row: Mapping, score: str) -> str:
        return " / ".join("-" if None in span else f"{100 * span[0]:.1f} to {100 * span[1]:.1f}"
                          for span in row["intervals"][score])
    rows = [[row["name"], *(cell(row, score) for score in ("iou", "miou", "movable_iou"))] for row in report["rows"]
            if row.get("intervals")]
    return table(("forecast", "IoU", "mIoU", "movable IoU"), rows)


def _classes(report: Mapping) -> list[str]:
    rows = [row for row in report["rows"] if row.get("class_iou")]
    shown = [name for name in CLASS_NAMES if any(row["class_iou"][name][0] is not None for row in rows)]
    return table(("class", *(row["name"] for row in rows)),
                 [[name, *(percent(row["class_iou"][name][:1]) for row in rows)] for name in shown])


def _views(views: Mapping) -> list[str]:
    rows = [[view, row["name"], *(percent(row[score]) for score in ("iou", "miou", "movable_iou"))]
            for view, found in views.items() for row in found]
    return ["## Views", "", "The main table's protocol on parts of the grid.", "",
            *table(("view", "forecast", "IoU", "mIoU", "movable IoU"), rows)]


def _present(present: Mapping) -> list[str]:
    rows = [[row["name"], percent(row["iou"]), percent(row["movable_iou"]), percent(row["movable_miou"]),
             percent([row["iou_all"], row["movable_iou_all"], row["movable_miou_all"]])] for row in present["rows"]]
    return ["## Protocol `present`", "", f"All frames in the grid of the present; {present['windows']} windows.", "",
            *table(("forecast", "IoU", "movable IoU (GMO)", "movable mIoU", "all frames: IoU / GMO / movable mIoU"),
                   rows)]


def _rays(rays: Mapping) -> list[str]:
    pairs = (("", "all"), ("foreground_", "foreground"), ("background_", "background"))
    rows = [[row["name"], *(f"{figure(row[f'{part}l1_m'])} / {figure(row[f'{part}absrel'])}" for part, _ in pairs),
             figure(row["chamfer_m2"]), figure(row["near_chamfer_m2"]), percent(row["ray_iou"])]
            for row in rays["rows"]]
    return ["## Protocol `rays`", "", f"{rays['rays']} rays of {rays['frames']} frames of {rays['windows']} windows. "
            "The row `truth` is the true occupancy: what voxels alone cost.", "",
            *table(("forecast", *(f"L1 m / AbsRel, {title}" for _, title in pairs), "Chamfer m²", "near Chamfer m²",
                    "RayIoU 1 / 2 / 4 m"), rows)]


def _ensembles(found: Mapping) -> list[str]:
    rows = [[row["name"], part.rstrip("_") or "all", percent([row[f"{part}mean_iou"], row[f"{part}best_iou"]]),
             *(figure(row[f"{part}{score}"], 4) for score in ("energy", "brier", "nll", "ece", "ece_filled"))]
            for row in found["rows"] for part in ("", "movable_")]
    return ["## Ensembles", "", f"{found['samples']} samples of each of {found['windows']} windows.", "",
            *table(("forecast", "voxels", "IoU mean / best of K", "energy score", "Brier", "NLL", "ECE",
                    "ECE where filled"), rows)]


def _branches(found: Mapping) -> list[str]:
    rows = [[row["name"], percent([row["coverage"], row["precision"]]),
             percent([row["built_coverage"], row["built_precision"]]), figure(row["energy_distance"]),
             figure(row["nearest"])] for row in found["rows"]]
    return ["## Branching futures", "", f"{found['samples']} samples against up to {found['branches']} true futures of "
            f"each of {found['windows']} windows, agents' voxels.", "",
            *table(("forecast", "coverage / precision %", "the same, built occupancy allowed for", "energy distance",
                    "distance to the nearest"), rows)]


def _coherence(found: Mapping) -> list[str]:
    rows = [[row["name"], percent([row["background_iou"]]), figure(row["size_change"]), percent([row["flicker"]])]
            for row in found["rows"]]
    return ["## Coherence over time", "", f"From each forecast frame to the next, no truth read; {found['windows']} "
            "windows.", "", *table(("forecast", "background IoU %", "size change, octaves", "flicker %"), rows)]


SECTIONS = {"views": _views, "present": _present, "rays": _rays, "ensembles": _ensembles, "branches": _branches,
            "coherence": _coherence}
