"""The charts of a report: IoU over the horizon, quality against latency, reliability."""

from __future__ import annotations

from collections.abc import Mapping

from occflow.charts import Panel

LEAST_MS = 1  # of the latency axis: what takes no time would leave no room for the rest


def report_panels(report: Mapping) -> list[Panel]:
    """The charts of what a report holds."""
    rows, seconds = [row for row in report["rows"] if row.get("horizon")], report.get("frame_s", [])
    by_time = {row["name"]: _known(zip(seconds, row["horizon"]["iou"])) for row in rows}
    timed = [row for row in rows if row["ms"]["total"] is not None]
    by_ms = {row["name"]: _known([(max(row["ms"]["total"], LEAST_MS), row["iou"][0])]) for row in timed}
    panels = [Panel("IoU over the horizon", "seconds ahead", "IoU", by_time),
              Panel("Quality against latency", f"milliseconds a forecast, {LEAST_MS} where less", "IoU at 1 s", by_ms,
                    logarithmic="x")]
    if "ensembles" in report:
        for part, title in (("", "Reliability"), ("movable_", "Reliability, movable voxels")):
            curves = {row["name"]: [(one["forecast"], one["occurred"]) for one in row.get(f"{part}reliability", ())]
                      for row in report["ensembles"]["rows"]}
            panels.append(Panel(title, "forecast probability", "share truly filled", curves, diagonal=True))
    return panels


def _known(points) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if x is not None and y is not None]
