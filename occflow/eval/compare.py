"""Which differences between two reports exceed what other scenes would do (compare_reports)."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from occflow.errors import InputError
from occflow.eval.intervals import UNKNOWN, paired_difference, percentiles, resampled_scores
from occflow.eval.protocols import PROTOCOLS
from occflow.eval.report_record import REMEDY, SCORES, read_counters, read_distances, read_report, read_section
from occflow.eval.sections import COHERENCE, TITLES, table
from occflow.records import one_line

SAME = ("protocol", "ego", "horizon_s", "windows")  # what two reports must share to be compared
FURTHER = {  # section of a report -> what is compared in it, by separate intervals
    "present": ("iou_all", "movable_iou_all", "movable_miou_all"),
    "rays": ("l1_m", "absrel", "chamfer_m2", "near_chamfer_m2"),
    "ensembles": tuple(f"{part}{score}" for part in ("", "movable_") for score in ("energy", "brier", "nll", "ece")),
    "branches": tuple(f"{part}{score}" for part in ("", "parting_")
                      for score in ("coverage", "precision", "energy_distance")),
    "coherence": tuple(COHERENCE),
}
DISTANCES = ("to_teacher", "movable_to_teacher")  # of section `ensembles`, paired by scenes
SETTING = ("windows", "samples", "branches", "frames", "rays")  # what a section's figures rest on


def compare_reports(first: Path, second: Path) -> str:
    """A table of second - first, for the rows that both have.

    With the counters of the same scenes beside both reports, the scenes are drawn anew for both alike and the interval
    is that of the difference; otherwise a difference counts where the two intervals do not meet.

    Raises:
        InputError: a report is missing or broken, or the two do not measure the same.
    """
    paths = [path / "report.json" if path.is_dir() else path for path in map(Path, (first, second))]
    reports = [read_report(path) for path in paths]
    for key in SAME:
        if reports[0].get(key) != reports[1].get(key):
            raise InputError(f"{paths[1]}: its {key} is {one_line(str(reports[1].get(key)))}, that of {paths[0]} is "
                             f"{one_line(str(reports[0].get(key)))}; only reports of the same task can be compared")
    rows = [{row["name"]: row for row in report["rows"]} for report in reports]
    shared = [name for name in rows[0] if name in rows[1] and rows[0][name].get("ego") == rows[1][name].get("ego")]
    if not shared:
        raise InputError(f"{paths[1]}: has no row in common with {paths[0]}")
    counters = _shared_counters(paths)
    lines = [f"{paths[1]} minus {paths[0]}, percentage points at {_slashed(reports[0]['horizon_s'])} s; * exceeds the "
             "95 % interval" + ("" if counters else " (by separate intervals: no counters of the same scenes)"), ""]
    cells = []
    for name in shared:
        pair = [one[name] for one in counters] if all(name in one for one in counters) and counters else None
        spans = _paired_intervals(pair, reports[0]) if pair else None
        cells.append([name, *(_cell(rows[0][name], rows[1][name], score, spans) for score in SCORES)])
    lines += table(("forecast", *(TITLES[score] for score in SCORES)), cells)
    for section, scores in FURTHER.items():
        lines += _further(section, scores, [_section(*one, section, scores) for one in zip(paths, reports)])
    lines += _distances(paths, reports)
    return "\n".join(lines[:-1])


def _section(path: Path, report: dict, section: str, scores: tuple[str, ...]) -> dict | None:
    return _sound(path, section, lambda: read_section(report, section, scores))


def _sound(path: Path, section: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except ValueError as error:
        raise InputError(f"{path}: section {section} is broken ({error}); {REMEDY}") from None


def _distances(paths: list[Path], reports: list[dict]) -> list[str]:
    """A table of the distances to the teacher, where both reports took as many samples of a reference of one name."""
    found = [_sound(path, "ensembles", lambda report=report: read_distances(report))
             for path, report in zip(paths, reports)]
    if None in found or found[0]["reference"] != found[1]["reference"] or any(
            reports[0]["ensembles"].get(key) != reports[1]["ensembles"].get(key) for key in SETTING):
        return []
    rows = [{row["name"]: row.get("scenes", {}) for row in one["rows"]} for one in found]
    cells = [[name, *(_paired_cell(rows[0][name], rows[1][name], score, reports[0].get("seed", 0))
                      for score in DISTANCES)] for name in rows[0] if name in rows[1]]
    return [f"distance to {found[0]['reference']['name']}, each report's own: differences as they are; * exceeds the "
            "95 % interval, paired by scenes", "", *table(("forecast", *DISTANCES), cells)]


def _paired_cell(first: dict, second: dict, score: str, seed: int) -> str:
    gap, span = paired_difference(first, second, score, seed)
    if math.isnan(gap):
        return "-"
    return f"{gap:+.4f}{'*' if None not in span and (span[0] > 0 or span[1] < 0) else ''}"


def _further(section: str, scores: tuple[str, ...], found: list[dict | None]) -> list[str]:
    """A table of one section, where both reports have it and it rests on the same windows and samples."""
    if None in found or any(found[0].get(key) != found[1].get(key) for key in SETTING):
        return []
    rows = [{row["name"]: row for row in one["rows"]} for one in found]
    cells = [[name, *(_difference(rows[0][name], rows[1][name], score) for score in scores)]
             for name in rows[0] if name in rows[1]]
    return [f"{section}: differences as they are; * where the two intervals do not meet", "",
            *table(("forecast", *scores), cells)]


def _difference(first: dict, second: dict, score: str) -> str:
    if None in (first.get(score), second.get(score)):
        return "-"
    spans = [row.get("intervals", {}).get(score, UNKNOWN) for row in (first, second)]
    return f"{second[score] - first[score]:+.4f}{'*' if _apart(*spans) else ''}"


def _shared_counters(paths: list[Path]) -> list[dict[str, np.ndarray]]:
    (scenes, first), (others, second) = (read_counters(path.parent) for path in paths)
    return [first, second] if scenes == others and len(scenes) > 1 else []


def _paired_intervals(pair: list[np.ndarray], report: dict) -> dict[str, np.ndarray] | None:
    """Intervals [F, 2] of second - first by score."""
    instants = len(report["horizon_s"])
    if any(one.shape[1] != instants for one in pair) or report["protocol"] not in PROTOCOLS:
        return None
    first, second = (resampled_scores(one, PROTOCOLS[report["protocol"]], report.get("seed", 0)) for one in pair)
    return {score: np.array([percentiles(column) for column in (second[score] - first[score]).T]) for score in SCORES}


def _cell(first: dict, second: dict, score: str, spans: dict[str, np.ndarray] | None) -> str:
    parts = []
    for index, (a, b) in enumerate(zip(first[score], second[score])):
        if a is None or b is None:
            parts.append("-")
            continue
        if spans is not None:
            low, high = spans[score][index]
            clear = low > 0 or high < 0
        else:
            clear = _apart(*(_span(row, score, index) for row in (first, second)))
        parts.append(f"{100 * (b - a):+.1f}{'*' if clear else ''}")
    return _slashed(parts)


def _span(row: dict, score: str, index: int) -> list:
    spans = row.get("intervals", {}).get(score)
    return spans[index] if spans else UNKNOWN


def _apart(one: list, other: list) -> bool:
    """Intervals that do not meet; an unknown one meets all."""
    return None not in (*one, *other) and (one[1] < other[0] or other[1] < one[0])


def _slashed(values: list) -> str:
    return " / ".join(map(str, values))
