"""The charts of a report as one SVG picture: IoU over the horizon, quality against latency, reliability."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from occflow.svg import COLOURS, Points, line, series, text, write_page

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 380, 300, 56, 16, 34, 46  # pixels of a panel and of its margins
LEGEND_LINE, MOST_TICKS = 14, 6
LEAST_MS = 1  # of the latency axis: what takes no time would leave no room for the rest
ROUND = (1.0, 2.0, 5.0)  # ticks are these times a power of ten


@dataclass(frozen=True)
class Panel:
    """One chart. `logarithmic`: the x axis, whose values are positive. `diagonal`: where x equals y is drawn too."""

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Points]
    logarithmic: bool = False
    diagonal: bool = False


def report_panels(report: Mapping) -> list[Panel]:
    """The charts of what a report holds."""
    rows, seconds = [row for row in report["rows"] if row.get("horizon")], report.get("frame_s", [])
    by_time = {row["name"]: _known(zip(seconds, row["horizon"]["iou"])) for row in rows}
    timed = [row for row in rows if row["ms"]["total"] is not None]
    by_ms = {row["name"]: _known([(max(row["ms"]["total"], LEAST_MS), row["iou"][0])]) for row in timed}
    panels = [Panel("IoU over the horizon", "seconds ahead", "IoU", by_time),
              Panel("Quality against latency", f"milliseconds a forecast, {LEAST_MS} where less", "IoU at 1 s", by_ms,
                    logarithmic=True)]
    if "ensembles" in report:
        for part, title in (("", "Reliability"), ("movable_", "Reliability, movable voxels")):
            curves = {row["name"]: [(one["forecast"], one["occurred"]) for one in row.get(f"{part}reliability", ())]
                      for row in report["ensembles"]["rows"]}
            panels.append(Panel(title, "forecast probability", "share truly filled", curves, diagonal=True))
    return panels


def _known(points) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if x is not None and y is not None]


def write_charts(path: Path, panels: Sequence[Panel]) -> None:
    """Draw the panels side by side; a name has one colour on all of them."""
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    colours = {name: COLOURS[order % len(COLOURS)] for order, name in enumerate(names)}
    height = HEIGHT + LEGEND_LINE * (1 + max(len(panel.lines) for panel in panels))
    write_page(path, [_panel(panel, colours) for panel in panels], WIDTH, height)


class _Axis:
    """From values to pixels."""

    def __init__(self, values: list[float], start: float, stop: float, logarithmic: bool = False) -> None:
        self.warp, self.back = (math.log10, lambda v: 10.0 ** v) if logarithmic else (float, float)
        self.logarithmic = logarithmic
        low, high = self.warp(min(values)), self.warp(max(values))
        margin = 0.05 * (high - low) or 0.5 * abs(low) or 0.5
        self.low, self.high, self.start, self.stop = low - margin, high + margin, start, stop

    def pixel(self, value: float) -> float:
        return self.start + (self.warp(value) - self.low) / (self.high - self.low) * (self.stop - self.start)

    def ticks(self) -> list[float]:
        """Round values on the axis, at most MOST_TICKS."""
        low, high = self.back(self.low), self.back(self.high)
        return round_logarithmic(low, high) if self.logarithmic else round_linear(low, high)


def round_linear(low: float, high: float) -> list[float]:
    """Multiples of the finest round step that are few enough, from low to high."""
    power = 10.0 ** math.floor(math.log10((high - low) / (MOST_TICKS - 1)))
    step = next(factor * power for factor in (*ROUND, 10.0) if high - low <= factor * power * (MOST_TICKS - 1))
    return [round(k * step, 12) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def round_logarithmic(low: float, high: float) -> list[float]:
    """Round values from low to high; only some where they are too many, and steps of a line where there is but one."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [factor * 10.0 ** power for power in powers for factor in ROUND if low <= factor * 10.0 ** power <= high]
    if len(values) < 2:
        return round_linear(low, high)
    return values[::math.ceil(len(values) / MOST_TICKS)]


def _panel(panel: Panel, colours: Mapping[str, str]) -> list[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = [text(WIDTH / 2, 18, panel.title, size=13), text((LEFT + right) / 2, HEIGHT - 10, panel.x_label),
             f'<g transform="translate(12 {(TOP + bottom) / 2}) rotate(-90)">{text(0, 0, panel.y_label)}</g>']
    points = [point for marked in panel.lines.values() for point in marked] + [(0, 0), (1, 1)] * panel.diagonal
    if not points:
        return parts
    x_axis = _Axis([x for x, _ in points], LEFT, right, panel.logarithmic)
    y_axis = _Axis([y for _, y in points], bottom, TOP)
    for x in x_axis.ticks():
        at = x_axis.pixel(x)
        parts += [line(at, TOP, at, bottom), text(at, bottom + 15, f"{x:.3g}")]
    for y in y_axis.ticks():
        at = y_axis.pixel(y)
        parts += [line(LEFT, at, right, at), text(LEFT - 6, at + 4, f"{y:.3g}", anchor="end")]
    if panel.diagonal:
        parts.append(line(x_axis.pixel(0), y_axis.pixel(0), x_axis.pixel(1), y_axis.pixel(1), "#888888"))
    for order, (name, marked) in enumerate(panel.lines.items()):
        pixels = [(x_axis.pixel(x), y_axis.pixel(y)) for x, y in marked]
        parts += series(name, pixels, colours[name], LEFT, HEIGHT + 4 + LEGEND_LINE * order)
    return parts
