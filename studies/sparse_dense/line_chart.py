"""Line charts with logarithmic axes, as one SVG picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from occflow.svg import COLOURS, Points, line, series, text, write_page

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 360, 300, 62, 14, 34, 50  # pixels of a panel and of its margins
LEGEND_LINE = 14


@dataclass(frozen=True)
class Panel:
    """One chart: lines of points (x, y), all positive; points that are not finite are left out."""

    title: str
    x_label: str
    y_label: str
    lines: dict[str, Points]


class _Axis:
    """From values to pixels, logarithmic."""

    def __init__(self, values: list[float], start: float, stop: float) -> None:
        low, high = min(values), max(values)
        margin = 1.25 if high > low else 2.0
        self.low, self.high, self.start, self.stop = low / margin, high * margin, start, stop

    def pixel(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.stop - self.start)

    def ticks(self) -> list[float]:
        """Powers of ten times 1, 2 and 5 within the axis; fewer where there are many."""
        exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for mantissas in ((1, 2, 5), (1,)):
            found = [m * 10.0**e for e in exponents for m in mantissas if self.low <= m * 10.0**e <= self.high]
            if len(found) <= 6:
                break
        return found


def write_charts(path: Path, panels: Sequence[Panel]) -> None:
    """Draw the panels side by side."""
    height = HEIGHT + LEGEND_LINE * max(len(panel.lines) for panel in panels)
    write_page(path, [_panel(panel) for panel in panels], WIDTH, height)


def _panel(panel: Panel) -> list[str]:
    lines = {name: [(x, y) for x, y in points if math.isfinite(y) and y > 0] for name, points in panel.lines.items()}
    points = [point for marked in lines.values() for point in marked]
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = [text(WIDTH / 2, 18, panel.title, size=13), text((LEFT + right) / 2, HEIGHT - 12, panel.x_label),
             f'<g transform="translate(14 {(TOP + bottom) / 2}) rotate(-90)">{text(0, 0, panel.y_label)}</g>']
    if not points:
        return parts
    x_axis, y_axis = _Axis([x for x, _ in points], LEFT, right), _Axis([y for _, y in points], bottom, TOP)
    for x in sorted({x for x, _ in points}):
        at = x_axis.pixel(x)
        parts += [line(at, TOP, at, bottom), text(at, bottom + 15, f"{x:g}")]
    for y in y_axis.ticks():
        at = y_axis.pixel(y)
        parts += [line(LEFT, at, right, at), text(LEFT - 6, at + 4, f"{y:g}", anchor="end")]
    for order, (name, marked) in enumerate(lines.items()):
        pixels = [(x_axis.pixel(x), y_axis.pixel(y)) for x, y in marked]
        parts += series(name, pixels, COLOURS[order % len(COLOURS)], LEFT, HEIGHT + 4 + LEGEND_LINE * order)
    return parts
