"""Line charts with logarithmic axes, as one SVG picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from occflow.atomic import atomic_file

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 360, 300, 62, 14, 34, 50  # pixels of a panel and of its margins
LEGEND_LINE = 14
COLOURS = ("#1b6ca8", "#c8553d", "#588157", "#7b5ea7", "#b08900", "#3d3d3d")
Points = Sequence[tuple[float, float]]


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
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH * len(panels)}" height="{height}" '
             'font-family="sans-serif" font-size="11">', '<rect width="100%" height="100%" fill="white"/>']
    for index, panel in enumerate(panels):
        parts += [f'<g transform="translate({WIDTH * index} 0)">', *_panel(panel), "</g>"]
    with atomic_file(path) as partial:
        partial.write_text("\n".join([*parts, "</svg>"]) + "\n")


def _panel(panel: Panel) -> list[str]:
    lines = {name: [(x, y) for x, y in points if math.isfinite(y) and y > 0] for name, points in panel.lines.items()}
    points = [point for line in lines.values() for point in line]
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = [_text(WIDTH / 2, 18, panel.title, size=13), _text((LEFT + right) / 2, HEIGHT - 12, panel.x_label),
             f'<g transform="translate(14 {(TOP + bottom) / 2}) rotate(-90)">{_text(0, 0, panel.y_label)}</g>']
    if not points:
        return parts
    x_axis, y_axis = _Axis([x for x, _ in points], LEFT, right), _Axis([y for _, y in points], bottom, TOP)
    for x in sorted({x for x, _ in points}):
        at = x_axis.pixel(x)
        parts += [_line(at, TOP, at, bottom), _text(at, bottom + 15, f"{x:g}")]
    for y in y_axis.ticks():
        at = y_axis.pixel(y)
        parts += [_line(LEFT, at, right, at), _text(LEFT - 6, at + 4, f"{y:g}", anchor="end")]
    for order, (name, line) in enumerate(lines.items()):
        colour, legend_y = COLOURS[order % len(COLOURS)], HEIGHT + 4 + LEGEND_LINE * order
        pixels = [(x_axis.pixel(x), y_axis.pixel(y)) for x, y in line]
        route = " ".join(f"{x:.1f},{y:.1f}" for x, y in pixels)
        parts.append(f'<polyline points="{route}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in pixels]
        parts += [f'<rect x="{LEFT}" y="{legend_y - 8}" width="10" height="8" fill="{colour}"/>',
                  _text(LEFT + 16, legend_y, name, anchor="start")]
    return parts


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#dddddd"/>'


def _text(x: float, y: float, text: str, anchor: str = "middle", size: int = 11) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
