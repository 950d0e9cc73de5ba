"""What a report.json must hold before its figures are read and compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from typing_extensions import NotRequired, TypedDict

from occflow.errors import InputError
from occflow.records import bounded, conform, one_line, read_json, shown_name

SCORES = ("iou", "miou", "movable_iou")  # of a row of the main table
MAX_INSTANTS = 64  # of horizon_s
MAX_FIGURE = 1e12  # of anything that was measured
MAX_SEED = 2 ** 63 - 1
REMEDY = "this is no report that evaluate wrote, make it again"

Figure = float | None  # null where nothing was measured
Span = tuple[Figure, Figure]


class Row(TypedDict):
    """A row of the main table: scores at the instants of horizon_s; intervals of those, and of their mean."""

    name: str
    iou: list[Figure]
    miou: list[Figure]
    movable_iou: list[Figure]
    ms: dict[str, Figure]
    ego: NotRequired[str]
    intervals: NotRequired[dict[str, list[Span]]]


class Report(TypedDict):
    """A report; it holds more, which nobody reads again."""

    protocol: str
    windows: dict[str, Any]
    ego: str
    horizon_s: list[float]
    rows: list[Row]
    seed: NotRequired[int]


def read_report(path: Path) -> dict:
    """A report.json, with everything that it holds.

    Raises:
        InputError: missing, or not a report; the message names the field.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such report; make one with evaluate")
    report = read_json(path, remedy=REMEDY)
    try:
        _check(conform(report, Report, "report"))
    except ValueError as error:
        raise InputError(f"{path}: broken record ({one_line(error)}); {REMEDY}") from None
    return report


def read_section(report: Mapping, section: str, scores: tuple[str, ...]) -> dict | None:
    """A further section {"rows": [{"name", one figure a score, "intervals"}], ...}; None where it was not measured.

    Raises:
        ValueError: another kind of thing; the message names the field.
    """
    if not report.get(section):
        return None
    found = conform(report[section], _section_kind(scores), section)
    _require_rows(found["rows"])
    for one in found["rows"]:
        _require_figures(one.get(score) for score in scores)
        for span in one.get("intervals", {}).values():
            _require_figures(span)
    return {**report[section], "rows": found["rows"]}


@cache
def _section_kind(scores: tuple[str, ...]) -> type:
    row = TypedDict("row", {"name": str, "intervals": NotRequired[dict[str, Span]],
                            **{score: NotRequired[Figure] for score in scores}})
    return TypedDict("section", {"rows": list[row]})


def _check(report: Report) -> None:
    bounded(report.get("seed", 0), MAX_SEED, "seed")
    instants = bounded(len(report["horizon_s"]), MAX_INSTANTS, "number of instants", least=1)
    _require_rows(report["rows"])
    for row in report["rows"]:
        spans = row.get("intervals", {})
        _require_figures(row["ms"].values())
        for score in SCORES:
            _require_figures(row[score])
            if len(row[score]) != instants or len(spans.get(score, row[score])) < instants:
                raise ValueError(f"row '{row['name']}': its {score} are not at the {instants} instants of horizon_s")
            for span in spans.get(score, ()):
                _require_figures(span)


def _require_rows(rows: Iterable[Mapping]) -> None:
    names = [shown_name(row["name"]) for row in rows]
    if len(set(names)) != len(names):
        raise ValueError("two rows have one name")


def _require_figures(values: Iterable[Figure]) -> None:
    if any(value is not None and not (math.isfinite(value) and abs(value) <= MAX_FIGURE) for value in values):
        raise ValueError(f"a figure beyond {MAX_FIGURE:g}")
