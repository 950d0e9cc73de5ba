"""Charts: names, units and values are on the picture, ticks are round, one colour a name; equal charts, equal files."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from occflow.charts import Panel, charts, look, write_charts

SVG = "{http://www.w3.org/2000/svg}"


def ticks(values: tuple[float, float], logarithmic: bool) -> list[float]:
    """What stands along an axis."""
    lines = {"x": [(value, 0.5) for value in values]}
    axes = charts([Panel("t", "x", "y", lines, "x" if logarithmic else "")]).axes[0]
    low, high = axes.get_xlim()
    return [float(label.get_text()) for label in axes.get_xticklabels() if low <= label.get_position()[0] <= high]


@pytest.mark.parametrize("low, high, expected", [
    (0.5, 3.0, [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]), (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
    (0.37, 0.85, [0.4, 0.5, 0.6, 0.7, 0.8]), (-0.1, 1.5, [0.0, 0.5, 1.0, 1.5]),
    (120, 980, [200, 400, 600, 800, 1000]),
])
def test_round_ticks(low, high, expected):
    assert ticks((low, high), False) == pytest.approx(expected)


@pytest.mark.parametrize("low, high, expected", [
    (1, 1000, [1, 10, 100, 1000]), (45, 1100, [50, 100, 200, 500, 1000]), (41, 49, [42, 44, 46, 48])])
def test_round_logarithmic_ticks(low, high, expected):
    assert ticks((low, high), True) == pytest.approx(expected)


def drawn(tmp_path, *panels: Panel) -> ElementTree.Element:
    write_charts(tmp_path / "charts.svg", panels)
    return ElementTree.parse(tmp_path / "charts.svg").getroot()


def test_every_line_is_drawn_and_named(tmp_path):
    lines = {"persistence": [(0.5, 0.9), (3.0, 0.7)], "a <peer> & co": [(0.5, 0.2), (1.0, 0.95)]}
    panels = Panel("IoU", "seconds", "share", lines), Panel("empty", "x", "y", {"nothing": []}), Panel("no", "", "", {})
    texts = [text.text for text in drawn(tmp_path, *panels).iter(f"{SVG}text")]
    assert {"persistence", "a <peer> & co", "nothing", "IoU", "seconds", "share", "empty"} <= set(texts)
    first = charts(panels).axes[0]
    assert [line.get_xydata().tolist() for line in first.lines] == [[list(point) for point in points]
                                                                    for points in lines.values()]


def test_a_name_has_one_colour_on_all_panels_and_no_other_has_it():
    panels = Panel("a", "x", "y", {"student": [(1, 1)], "copy": [(1, 2)]}), Panel("b", "x", "y", {"copy": [(1, 3)]})
    [student, copy], [again] = ([line.get_color() for line in axes.lines] for axes in charts(panels).axes)
    assert copy == again != student


def test_labels_of_an_axis_do_not_overlap_and_nothing_lies_outside_of_the_page():
    lines = {"x": [(48.0, 0.2), (1012.0, 0.9)], "another": [(60.0, 0.3)]}
    with look():
        page = charts([Panel("t", "ms", "IoU", lines, "x")] * 3)
    renderer = FigureCanvasAgg(page).get_renderer()
    page.draw(renderer)
    for axes in page.axes:
        boxes = [label.get_window_extent(renderer) for label in axes.get_xticklabels()]
        assert all(page.bbox.x0 <= one.x0 and page.bbox.y0 <= one.y0 and one.x1 <= page.bbox.x1
                   for one in (axes.get_legend().get_window_extent(renderer), *boxes))
        assert axes.xaxis.label.get_window_extent(renderer).y0 > axes.get_legend().get_window_extent(renderer).y1 - 8
        assert len(boxes) > 2 and all(a.x1 + 2 < b.x0 for a, b in zip(boxes, boxes[1:]))  # pixels


def test_what_has_no_place_on_a_logarithmic_axis_is_left_out(tmp_path):
    panel = Panel("t", "x", "y", {"x": [(0.0, 1.0), (1.0, float("nan")), (2.0, 0.0), (3.0, 4.0)]}, "xy")
    assert charts([panel]).axes[0].lines[0].get_xydata().tolist() == [[3, 4]]
    assert drawn(tmp_path, panel)


def test_equal_charts_are_equal_files(tmp_path):
    panel = Panel("t", "x", "y", {"one": [(1.0, 2.0), (3.0, 1.0)]}, diagonal=True)
    for name in ("first.svg", "second.svg"):
        write_charts(tmp_path / name, [panel])
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()


def test_matplotlib_is_loaded_only_when_a_chart_is_drawn():
    found = "import sys, occflow.eval.report; print('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", found], capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize("aside, squeezed", [(frozenset({"copy"}), False), (frozenset(), True)])
def test_a_line_aside_does_not_squeeze_the_others_and_its_name_says_where_it_is(aside, squeezed):
    lines = {"copy": [(1.0, 0.59), (3.0, 0.47)], "persistence": [(1.0, 0.85), (3.0, 0.78)],
             "student": [(1.0, 0.88), (3.0, 0.82)]}
    axes = charts([Panel("IoU", "seconds", "IoU", lines, aside=aside)]).axes[0]
    low, high = axes.get_ylim()
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert low < 0.78 and high > 0.88 and (low < 0.47) == squeezed and (0.1 / (high - low) < 0.4) == squeezed
    assert names == ["copy" if squeezed else "copy (below: 0.47 to 0.59)", "persistence", "student"]
    assert [line.get_xydata().tolist() for line in axes.lines][0] == [[1.0, 0.59], [3.0, 0.47]]


def test_a_line_aside_that_is_alone_or_among_the_others_changes_nothing():
    for lines in ({"copy": [(1.0, 0.59), (3.0, 0.47)]},
                  {"copy": [(1.0, 0.8), (3.0, 0.7)], "student": [(1.0, 0.9), (3.0, 0.6)]},
                  {"copy": [(1.0, 0.8)], "nothing": []}):
        axes = charts([Panel("IoU", "seconds", "IoU", lines, aside=frozenset({"copy"}))]).axes[0]
        assert {text.get_text() for text in axes.get_legend().get_texts()} == set(lines)
