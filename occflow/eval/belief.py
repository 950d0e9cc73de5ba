"""Which forecast of a report to believe, in one line: a table asks its reader to do that sum."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from occflow.eval.sections import spanned
from occflow.forecasting.rules import PERSISTENCE


def belief(report: Mapping, networks: Collection[str]) -> str:
    """Which of the networks' forecasts and persistence has the highest IoU over 1, 2 and 3 s, for the input that the
    windows had, and whether that is beyond the 95 % intervals (drawn from scenes); empty where fewer than two of them
    were measured.

    Args:
        report: as make_report gives it.
        networks: names of the rows that are believed or not: a student's centre, its sample where that was asked for;
            others (a teacher's many steps, boxes of annotators, what the truth knows) are not for a car.
    """
    names = {*networks, PERSISTENCE}
    rows = [row for row in report["rows"] if row["name"] in names and row.get("average", {}).get("iou") is not None]
    if len(rows) < 2:
        return ""
    rows.sort(key=lambda row: -row["average"]["iou"])
    best, *others = [f"{row['name']} {spanned(row['average']['iou'], _span(row))}" for row in rows]
    return (f"To believe here, from input `{report['windows'].get('input', 'occupancy')}`: {best} (mean IoU over 1, 2 "
            f"and 3 s, percent), before {' and '.join(others)}; {_doubt(rows)}.")


def _span(row: Mapping) -> Sequence:
    """The interval of the mean over the three times: the last one."""
    return row["intervals"]["iou"][-1]


def _doubt(rows: Sequence[Mapping]) -> str:
    spans = [_span(row) for row in rows]
    if any(None in span for span in spans):
        return "fewer than two scenes, so no interval says how sure that is"
    if spans[0][0] > max(span[1] for span in spans[1:]):
        return "the 95 % intervals do not meet"
    return "the 95 % intervals meet, so on other scenes the order may be another"
