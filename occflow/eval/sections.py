"""scores.md: what a report measured beside its main table, for people. docs/scores.md says what each means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from occflow.grid import CLASS_NAMES

COHERENCE = {"background_iou": (), "size_change": (3, 1), "flicker": (), "present_size_change": (3, 1), "lost": (),
             "specks": ()}  # digits and scale, where it is not a percentage
TITLES = {"iou": "IoU", "miou": "mIoU", "movable_iou": "movable IoU", "movable_miou": "movable mIoU"}


def percent(values: Sequence) -> str:
    return " / ".join("-" if value is None else f"{100 * value:.1f}" for value in values)


def figure(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def spanned(value: float | None, span: Sequence | None, digits: int = 1, scale: float = 100) -> str:
    """A figure and its interval, in percent unless `scale` is another."""
    if value is None:
        return "-"
    shown = f"{scale * value:.{digits}f}"
    known = span is not None and None not in span
    return shown + (f" ({scale * span[0]:.{digits}f} to {scale * span[1]:.{digits}f})" if known else "")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table and an empty line."""
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(row) + " |" for row in rows),
            ""]


def scores_markdown(report: Mapping) -> str:
    """All sections for which the report holds figures."""
    windows = report["windows"]
    lines = ["# Scores in detail", "",
             f"Beside `report.md`: protocol `{report['protocol']}`, ego setting {report['ego']}, "
             f"{windows['count']} windows of {windows['scenes']} scenes (rule `{windows.get('rule', 'all')}`, stride "
             f"{windows['stride']}), seed {report['seed']}, commit {report['versions'].get('commit')}. Percent at "
             "1 / 2 / 3 s unless said otherwise. In brackets: 95 % intervals, scenes drawn anew 1000 times.", "",
             "## Intervals", "", *_intervals(report), "## Classes", "", "IoU at 1 s.", "", *_classes(report)]
    for name, section in SECTIONS.items():
        if report.get(name):
            lines += section(report[name])
    return "\n".join(lines)


def _intervals(report: Mapping) -> list[str]:
    """A table a score, at 1, 2 and 3 s and their mean."""
    rows, lines = [row for row in report["rows"] if row.get("intervals")], []
    for score, title in TITLES.items():
        cells = [[row["name"], *map(spanned, (*row[score], row["average"][score]), row["intervals"][score])]
                 for row in rows]
        lines += table((f"{title} %", "1 s", "2 s", "3 s", "mean of the three"), cells)
    return lines


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
             *(spanned(row[score], row["intervals"][score]) for score in
               ("iou_all", "movable_iou_all", "movable_miou_all"))] for row in present["rows"]]
    return ["## Protocol `present`", "", f"All frames in the grid of the present; {present['windows']} windows.", "",
            *table(("forecast", "IoU", "movable IoU (GMO)", "movable mIoU", "IoU, all frames", "GMO, all frames",
                    "movable mIoU, all frames"), rows)]


def _rays(rays: Mapping) -> list[str]:
    pairs = (("", "all"), ("foreground_", "foreground"), ("background_", "background"))
    rows = [[row["name"], *(f"{spanned(row[f'{part}l1_m'], row['intervals'].get(f'{part}l1_m'), 2, 1)} / "
                            f"{figure(row[f'{part}absrel'])}" for part, _ in pairs),
             figure(row["chamfer_m2"]), figure(row["near_chamfer_m2"]), percent(row["ray_iou"])]
            for row in rays["rows"]]
    return ["## Protocol `rays`", "", f"{rays['rays']} rays of {rays['frames']} frames of {rays['windows']} windows. "
            "The row `truth` is the true occupancy: what voxels alone cost.", "",
            *table(("forecast", *(f"L1 m / AbsRel, {title}" for _, title in pairs), "Chamfer m²", "near Chamfer m²",
                    "RayIoU 1 / 2 / 4 m"), rows)]


def _ensembles(found: Mapping) -> list[str]:
    lines = ["## Ensembles", "", f"{found['samples']} samples of each of {found['windows']} windows. Lower is better, "
             "IoU aside.", ""]
    for part, voxels in (("", "all voxels"), ("movable_", "movable voxels")):
        rows = []
        for row in found["rows"]:
            spans = row.get("intervals", {})
            rows.append([row["name"], percent([row[f"{part}mean_iou"], row[f"{part}best_iou"]]),
                         spanned(row[f"{part}energy"], spans.get(f"{part}energy"), 3, 1),
                         *(spanned(row[f"{part}{score}"], spans.get(f"{part}{score}"), 4, 1)
                           for score in ("brier", "nll", "ece", "ece_filled"))])
        lines += table((f"forecast, {voxels}", "IoU mean / best of K", "energy score", "Brier", "NLL", "ECE",
                        "ECE where filled"), rows)
    return [*lines, *_distances(found)] if found.get("reference") else lines


def _distances(found: Mapping) -> list[str]:
    """How far the rows' samples are from the reference's."""
    reference = found["reference"]
    lines = [f"Distance to `{reference['name']}`: energy distance of {found['samples']} samples to as many of other "
             f"noises, {reference['windows']} windows. The last row is the reference against itself: the floor.", ""]
    for part, voxels in (("", "all voxels"), ("movable_", "movable voxels")):
        rows = [[row["name"], *(spanned(row.get(part + score), row["intervals"].get(part + score), digits, 1)
                                for score, digits in (("to_teacher", 4), ("beyond_floor", 4), ("diversity_ratio", 2)))]
                for row in (*found["rows"], reference)]
        lines += table((f"forecast, {voxels}", "distance", "beyond the floor", "diversity / the reference's"), rows)
    return lines


def _branches(found: Mapping) -> list[str]:
    lines = ["## Branching futures", "", f"{found['samples']} samples against up to {found['branches']} true futures "
             f"of each of {found['windows']} windows. Where the futures part: on the voxels that some of them fill and "
             "not all, with what the building of occupancy costs there allowed for.", ""]
    for part, voxels in (("", "movable voxels"), ("parting_", "where the futures part")):
        rows = [[row["name"], *(spanned(row[part + score], row["intervals"][part + score], digits, scale)
                                for score, digits, scale in (("coverage", 1, 100), ("precision", 1, 100),
                                                             ("energy_distance", 3, 1), ("nearest", 3, 1)))]
                for row in found["rows"]]
        lines += table((f"forecast, {voxels}", "coverage %", "precision %", "energy distance",
                        "distance to the nearest"), rows)
    return lines


def _coherence(found: Mapping) -> list[str]:
    rows = [[row["name"], *(spanned(row[score], row["intervals"][score], *shown)
                            for score, shown in COHERENCE.items())] for row in found["rows"]]
    return ["## Coherence over time", "",
            f"No truth is read; {found['windows']} windows, of rows that sample every sample. Background, size and "
            "flicker are from each forecast frame to the next, the rest from the present on. The row `truth` is what "
            "really happened: its figures are the floor.", "",
            *table(("forecast", "background IoU %", "size change, octaves", "flicker %", "size against the present, "
                    "octaves", "lost %", "specks %"), rows)]


SECTIONS = {"views": _views, "present": _present, "rays": _rays, "ensembles": _ensembles, "branches": _branches,
            "coherence": _coherence}
