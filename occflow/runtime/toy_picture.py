"""Scatter plots of points in the plane, as one SVG picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from occflow.atomic import atomic_file

SIDE, TITLE, COLUMNS, HALF_WIDTH = 150, 18, 5, 3.0  # pixels of a panel and its title; half the shown square


def write_scatter(path: Path, panels: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """Draw the panels in rows of five; points outside the square are left out."""
    rows = -(-max(1, len(panels)) // COLUMNS)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{COLUMNS * SIDE}" height="{rows * (SIDE + TITLE)}" '
             'font-family="sans-serif" font-size="11">', '<rect width="100%" height="100%" fill="white"/>']
    for index, (title, points) in enumerate(panels.items()):
        x, y = SIDE * (index % COLUMNS), (SIDE + TITLE) * (index // COLUMNS)
        parts.append(f'<g transform="translate({x} {y})"><text x="6" y="13">{escape(title)}</text>'
                     f'<path d="{dots(points)}" stroke="#1b6ca8" stroke-width="2" stroke-linecap="round"/></g>')
    with atomic_file(path) as partial:
        partial.write_text("\n".join([*parts, "</svg>"]) + "\n")


def dots(points: Sequence[Sequence[float]]) -> str:
    """A path of one round dot a point."""
    scale, shown = SIDE / (2 * HALF_WIDTH), (one for one in points if max(map(abs, one)) < HALF_WIDTH)
    return "".join(f"M{scale * (a + HALF_WIDTH):.1f} {TITLE + scale * (HALF_WIDTH - b):.1f}h0" for a, b in shown)
