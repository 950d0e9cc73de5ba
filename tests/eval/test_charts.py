"""The charts of a report: which there are, and that a report without measurements has them."""

from occflow.charts import write_charts
from occflow.eval.report import report_panels


def test_a_report_without_measurements_has_charts(tmp_path):
    row = {"name": "copy", "nfe": 0, "iou": [None] * 3, "ms": {"total": None}, "horizon": {"iou": [None] * 6}}
    panels = report_panels({"rows": [row], "frame_s": [0.5 * i for i in range(1, 7)]})
    assert [panel.title for panel in panels] == ["IoU over the horizon", "Quality against latency"]
    write_charts(tmp_path / "charts.svg", panels)
    assert "IoU over the horizon" in (tmp_path / "charts.svg").read_text()
