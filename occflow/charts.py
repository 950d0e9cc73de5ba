"""Charts as SVG pictures: the look that all of them have, and panels of lines. matplotlib is met only here, and only
when a chart is drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from occflow.atomic import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#1b6ca8", "#c8553d", "#588157", "#7b5ea7", "#b08900", "#3d3d3d", "#d17bb0", "#4aa3a2", "#8f2d2d",
           "#9aa83a", "#5b4636", "#a0a0a0")
PANEL_IN, LEGEND_LINE_IN = (4.0, 3.0), 0.2  # width and height of a panel, and of a name below it, inches
MOST_TICKS = 7
ROOM = 0.08  # above and below the lines, of their span
SQUEEZED = 1.25  # so many times their span is an axis on which lines are squeezed
LOOK = {"font.size": 8, "axes.titlesize": 9.5, "axes.grid": True, "axes.axisbelow": True, "grid.color": "#dddddd",
        "axes.edgecolor": "#888888", "axes.spines.top": False, "axes.spines.right": False, "lines.linewidth": 1.5,
        "lines.markersize": 4, "legend.frameon": False, "legend.fontsize": 8,
        "svg.fonttype": "none", "svg.hashsalt": "occflow"}  # words stay words, and equal charts are equal files
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """One chart; points that an axis has no place for are left out.

    Args:
        logarithmic: the axes that are, "x", "y" or "xy"; their values are positive.
        diagonal: where x equals y is drawn too.
        aside: lines that do not stretch the y axis where others are; its end says where they are.
    """

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Points]
    logarithmic: str = ""
    diagonal: bool = False
    aside: frozenset[str] = frozenset()


def write_charts(path: Path, panels: Sequence[Panel]) -> None:
    """Draw the panels side by side; a name has one colour on all of them."""
    with look():
        save(path, charts(panels))


def charts(panels: Sequence[Panel]) -> Figure:
    """The same as a figure."""
    names = dict.fromkeys(name for panel in panels for name in panel.lines)
    colours = {name: COLOURS[order % len(COLOURS)] for order, name in enumerate(names)}
    width, height = PANEL_IN
    below = LEGEND_LINE_IN * max(len(panel.lines) for panel in panels)
    page = figure(width * len(panels), height + below)
    for axes, panel in zip(page.subplots(1, len(panels), squeeze=False)[0], panels):
        _draw(axes, panel, colours)
    return page


def figure(width_in: float, height_in: float) -> Figure:
    """An empty page, without any window or display."""
    from matplotlib.figure import Figure

    return Figure((width_in, height_in), layout="constrained")


@contextmanager
def look() -> Iterator[None]:
    """In the block figures are made, and saved, as the house's charts look."""
    from matplotlib import rc_context, rcdefaults

    with rc_context():
        rcdefaults()
        with rc_context(LOOK):
            yield


def save(path: Path, page: Figure) -> None:
    """Write a figure as SVG, whole or not at all."""
    with atomic_file(Path(path)) as partial:
        page.savefig(partial, format="svg", metadata={"Date": None})


def _draw(axes: Axes, panel: Panel, colours: Mapping[str, str]) -> None:
    axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
    shown = {name: [point for point in points if _has_place(point, panel.logarithmic)]
             for name, points in panel.lines.items()}
    span = _span(shown, panel)
    for name, points in shown.items():
        axes.plot([x for x, _ in points], [y for _, y in points], marker="o", color=colours[name],
                  label=name + _beyond(points, span))
    if panel.diagonal:
        axes.plot([0, 1], [0, 1], color="#888888", linewidth=1, zorder=1)
    if any(shown.values()) or panel.diagonal:
        for axis, name in ((axes.xaxis, "x"), (axes.yaxis, "y")):
            _set_ticks(axes, axis, name in panel.logarithmic)
    else:
        axes.set(xticks=[], yticks=[])
    if span is not None:
        axes.set_ylim(*span)
    if panel.lines:
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.17), borderaxespad=0.0)


def _span(shown: Mapping[str, Points], panel: Panel) -> tuple[float, float] | None:
    """The ends of the y axis where lines aside would squeeze the others: those of the others, with some room; None
    where all lines have theirs."""
    others = [y for name, points in shown.items() if name not in panel.aside for _, y in points]
    every = [y for points in shown.values() for _, y in points]
    if panel.diagonal or not others or "y" in panel.logarithmic:
        return None
    low, high = min(others), max(others)
    room = ROOM * (high - low) or abs(high) * ROOM or ROOM
    if max(every) - min(every) <= SQUEEZED * (high - low + 2 * room):
        return None
    return low - room, high + room


def _beyond(points: Points, span: tuple[float, float] | None) -> str:
    """What the name of a line says of its points beyond the ends of the y axis."""
    if span is None or all(span[0] <= y <= span[1] for _, y in points):
        return ""
    low, high = min(y for _, y in points), max(y for _, y in points)
    where = "below" if low < span[0] and high <= span[1] else "above" if low >= span[0] else "beyond"
    return f" ({where}: {low:.2g})" if f"{low:.2g}" == f"{high:.2g}" else f" ({where}: {low:.2g} to {high:.2g})"


def _has_place(point: tuple[float, float], logarithmic: str) -> bool:
    return all(math.isfinite(value) and (value > 0 or name not in logarithmic) for name, value in zip("xy", point))


def _set_ticks(axes: Axes, axis, logarithmic: bool) -> None:
    """Round values that say what they are, at most MOST_TICKS; of a logarithmic axis 1, 2 and 5 times powers of ten, or
    these powers alone where the former are too many."""
    from matplotlib.ticker import FixedLocator, MaxNLocator

    steps = MaxNLocator(MOST_TICKS - 1, steps=[1, 2, 5, 10])
    if logarithmic:
        getattr(axes, f"set_{axis.axis_name}scale")("log")
        low, high = axis.get_view_interval()
        powers = [10.0 ** power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
        for factors in ((1, 2, 5), (1,)):
            ticks = [factor * power for power in powers for factor in factors if low <= factor * power <= high]
            if len(ticks) <= MOST_TICKS:
                break
        axis.set_major_locator(FixedLocator(ticks) if len(ticks) > 1 else steps)
        axis.set_minor_locator(FixedLocator([]))
    else:
        axis.set_major_locator(steps)
    axis.set_major_formatter(lambda value, _: f"{value:.3g}" if abs(value) < 1000 else f"{value:g}")
