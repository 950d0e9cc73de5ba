"""What a report.json and the counters.npz beside it must hold before their figures are read and compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import NotRequired, TypedDict

from occflow.atomic import write_npz
from occflow.errors import InputError
from occflow.eval.iou import NUM_LABELS
from occflow.npz_file import TEXT, WHOLE, open_npz
from occflow.records import bounded, conform, one_line, read_json, shown_name

SCORES = ("iou", "miou", "movable_iou")  # of a row of the main table
MAX_INSTANTS = 64  # of horizon_s
MAX_FIGURE = 1e12  # of anything that was measured
MAX_SEED = 2 ** 63 - 1
REMEDY = "this is no report that evaluate wrote, make it again"

Figure = float | None  # null where nothing was measured
Span = tuple[Figure, Figure]

COUNTERS = "counters.npz"  # the counters of every row and scene of a report, with which reports are compared
MOST_BYTES = 256 << 20  # of the arrays; ten rows of 150 scenes have 12 MB
MAX_SCENES = 10_000  # each is drawn a thousand times
MAX_COUNT = 1 << 48  # of voxels: the sums over all scenes and draws stay whole numbers


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


class SceneDistance(TypedDict):
    """How far a row's samples are from a reference's in one scene."""

    windows: int
    to_teacher: Figure
    movable_to_teacher: Figure


class ComparedRow(TypedDict):
    name: str
    scenes: NotRequired[dict[str, SceneDistance]]


class ReferenceRow(TypedDict):
    name: str
    windows: int


class Distances(TypedDict):
    """What section "ensembles" tells of a reference."""

    rows: list[ComparedRow]
    reference: NotRequired[ReferenceRow]


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


def read_distances(report: Mapping) -> Distances | None:
    """How far the rows of section "ensembles" are from its reference; None where that was not measured.

    Raises:
        ValueError: another kind of thing; the message names the field.
    """
    found = report.get("ensembles")
    if not found or not found.get("reference"):
        return None
    distances = conform(found, Distances, "ensembles")
    _require_rows(distances["rows"])
    for scene in (scene for row in distances["rows"] for scene in row.get("scenes", {}).values()):
        bounded(scene["windows"], MAX_COUNT, "number of windows", least=1)
        _require_figures((scene["to_teacher"], scene["movable_to_teacher"]))
    return distances


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


def write_counters(run_dir: Path, scenes: list[str], confusion: dict[str, np.ndarray]) -> None:
    """RUN_DIR/counters.npz: `scenes` [S], `names` [N] of the rows, `confusion` [N, S, F, 18, 18] int64."""
    arrays = np.stack(list(confusion.values())) if confusion else np.zeros(0, np.int64)
    write_npz(Path(run_dir) / COUNTERS, scenes=np.array(scenes, dtype=np.str_),
              names=np.array(list(confusion), dtype=np.str_), confusion=arrays)


def read_counters(run_dir: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    """Scenes, and the counters [S, F, 18, 18] of each row; nothing where there is no such file.

    Raises:
        InputError: not a file of counters.
    """
    path = Path(run_dir) / COUNTERS
    if not path.is_file():
        return [], {}
    try:
        with open_npz(path, MOST_BYTES) as arrays:
            scenes, names = (arrays.read(name, TEXT, (None,)).tolist() for name in ("scenes", "names"))
            shape = (len(names), len(scenes), None, NUM_LABELS, NUM_LABELS) if names else (0,)
            confusion = arrays.read("confusion", WHOLE, shape)
        bounded(len(scenes), MAX_SCENES, "number of scenes")
        if confusion.size and not (0 <= confusion.min() and confusion.max() <= MAX_COUNT):
            raise ValueError(f"counters beyond 0 to {MAX_COUNT}")
        if len(set(names)) != len(names) or len(set(scenes)) != len(scenes):
            raise ValueError("two rows or scenes have one name")
        return scenes, dict(zip(names, confusion.astype(np.int64)))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: counters cannot be read ({one_line(error)}); evaluate again") from None
