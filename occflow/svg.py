"""What charts draw with: parts of an SVG picture, as text. Positions in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from occflow.atomic import atomic_file

COLOURS = ("#1b6ca8", "#c8553d", "#588157", "#7b5ea7", "#b08900", "#3d3d3d", "#d17bb0", "#4aa3a2", "#8f2d2d",
           "#9aa83a", "#5b4636", "#a0a0a0")
Points = Sequence[tuple[float, float]]


def write_page(path: Path, panels: Sequence[Sequence[str]], width: int, height: int) -> None:
    """Write panels, each the parts that it is drawn of, side by side; each is `width` by `height`."""
    write_grid(path, panels, width, height, len(panels))


def write_grid(path: Path, panels: Sequence[Sequence[str]], width: int, height: int, columns: int) -> None:
    """The same in rows of so many columns."""
    rows = -(-len(panels) // columns)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width * columns}" height="{height * rows}" '
             'font-family="sans-serif" font-size="11">', '<rect width="100%" height="100%" fill="white"/>']
    for index, panel in enumerate(panels):
        parts += [f'<g transform="translate({width * (index % columns)} {height * (index // columns)})">', *panel,
                  "</g>"]
    with atomic_file(Path(path)) as partial:
        partial.write_text("\n".join([*parts, "</svg>"]) + "\n")


def series(name: str, pixels: Points, colour: str, legend_x: float, legend_y: float) -> list[str]:
    """A line through marked points, and its entry in the legend."""
    route = " ".join(f"{x:.1f},{y:.1f}" for x, y in pixels)
    return [f'<polyline points="{route}" fill="none" stroke="{colour}" stroke-width="2"/>',
            *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in pixels),
            f'<rect x="{legend_x}" y="{legend_y - 8}" width="10" height="8" fill="{colour}"/>',
            text(legend_x + 16, legend_y, name, anchor="start")]


def line(x1: float, y1: float, x2: float, y2: float, colour: str = "#dddddd") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def text(x: float, y: float, words: str, anchor: str = "middle", size: int = 11) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(words)}</text>'
