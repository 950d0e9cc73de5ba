"""Charts: ticks are round, names and values are on the picture, nothing lies outside of its panel."""

import xml.etree.ElementTree as ElementTree

import pytest

from occflow.eval.charts import HEIGHT, WIDTH, Panel, report_panels, round_linear, round_logarithmic, write_charts

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("low, high, expected", [
    (0.4, 3.1, [1.0, 2.0, 3.0]), (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]), (0.37, 0.85, [0.4, 0.5, 0.6, 0.7, 0.8]),
    (-0.05, 1.05, [0.0, 0.5, 1.0]), (120, 980, [200, 400, 600, 800]),
])
def test_round_ticks(low, high, expected):
    assert round_linear(low, high) == pytest.approx(expected)


def test_round_logarithmic_ticks():
    assert round_logarithmic(0.8, 1200) == pytest.approx([1, 5, 20, 100, 500])
    assert round_logarithmic(40, 1100) == pytest.approx([50, 100, 200, 500, 1000])
    assert round_logarithmic(41, 49) == pytest.approx([42, 44, 46, 48])


def drawn(tmp_path, *panels: Panel) -> ElementTree.Element:
    write_charts(tmp_path / "charts.svg", panels)
    return ElementTree.parse(tmp_path / "charts.svg").getroot()


def test_every_line_is_drawn_and_named_inside_its_panel(tmp_path):
    lines = {"persistence": [(0.5, 0.9), (3.0, 0.7)], "a <peer> & co": [(0.5, 0.2), (1.0, 0.95)]}
    root = drawn(tmp_path, Panel("IoU", "seconds", "IoU", lines), Panel("empty", "x", "y", {"nothing": []}))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"persistence", "a <peer> & co", "IoU", "seconds", "empty"} <= set(texts)
    circles = [(float(one.get("cx")), float(one.get("cy"))) for one in root.iter(f"{SVG}circle")]
    assert len(circles) == 4 and all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in circles)
    assert circles[0][1] < circles[1][1] and circles[0][0] < circles[1][0]  # higher values up, later ones right


def test_labels_of_an_axis_do_not_overlap(tmp_path):
    root = drawn(tmp_path, Panel("t", "ms", "IoU", {"x": [(48.0, 0.2), (1012.0, 0.9)]}, logarithmic=True))
    labels = [(float(text.get("x")), float(text.get("y")), len(text.text)) for text in root.iter(f"{SVG}text")]
    for row in {y for _, y, _ in labels}:
        along = sorted((x, length) for x, y, length in labels if y == row)
        assert all(b - a > 7 * max(m, n) for (a, m), (b, n) in zip(along, along[1:]))  # 7 pixels a letter at size 11


def test_a_report_without_measurements_has_charts(tmp_path):
    row = {"name": "copy", "nfe": 0, "iou": [None] * 3, "ms": {"total": None}, "horizon": {"iou": [None] * 6}}
    panels = report_panels({"rows": [row], "frame_s": [0.5 * i for i in range(1, 7)]})
    assert [panel.title for panel in panels] == ["IoU over the horizon", "Quality against latency"]
    drawn(tmp_path, *panels)
