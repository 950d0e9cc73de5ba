"""The contract of report.json."""

import json
from dataclasses import replace

import numpy as np
import pytest

from occflow.charts import write_charts
from occflow.errors import InputError
from occflow.eval.evaluate import ForecasterScores
from occflow.eval.iou import IoUCounts
from occflow.eval.protocols import PROTOCOLS
from occflow.eval.report import make_report, quality_ratios, report_panels, write_report
from occflow.eval.report_record import read_report
from occflow.forecasting.forecast import Forecast
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.windows import Window, WindowKey

MACHINE = {"cpu": "a", "cores": 2, "memory_gib": 8.0, "gpu": None}
WINDOWS = {"split": "val", "count": 2, "stride": 1, "history": 2, "horizon": 6, "scenes": 1}


def frames(shift: int) -> tuple[OccupancyFrame, ...]:
    flat = np.arange(10) + shift
    return tuple(OccupancyFrame(flat, np.full(10, 4, dtype=np.uint8), np.eye(4), 0.5 * i) for i in range(6))


def scores(name: str, shift: int, flow_ms: float | None) -> ForecasterScores:
    found = ForecasterScores(name, 1)
    ms = {} if flow_ms is None else {"encode": 1.0, "flow": flow_ms, "decode": 2.0}
    found.add(Window.of(WindowKey("s", 0), frames(0)[:2], frames(0)), Forecast(frames(shift), ms))
    return found


def report() -> dict:
    rows = [scores("persistence", 5, None), scores("teacher-10", 0, 60.0), scores("student-1", 1, 6.0)]
    return make_report(rows, PROTOCOLS["occworld-strict"], [1, 3, 5], WINDOWS, "G", 0, {"occflow": "0"}, MACHINE,
                       {"teacher": 10.0})


def test_contract(tmp_path):
    write_report(tmp_path, report())
    found = json.loads((tmp_path / "report.json").read_text())
    assert {"protocol", "windows", "ego", "horizon_s", "seed", "versions", "machine", "rows", "seconds"} <= set(found)
    assert found["horizon_s"] == [1, 2, 3]
    for row in found["rows"]:
        assert {"name", "nfe", "iou", "miou", "movable_iou", "ms"} <= set(row)
        assert all(len(row[key]) == 3 for key in ("iou", "miou", "movable_iou"))
        assert set(row["ms"]) == {"encode", "flow", "decode", "total"}
    persistence, teacher, student = found["rows"]
    assert persistence["ms"]["flow"] is None and teacher["ms"]["total"] == 63.0
    assert teacher["iou"] == [1.0] * 3 and student["iou"] == pytest.approx([9 / 11] * 3, abs=1e-6)
    assert read_report(tmp_path / "report.json") == found
    text = (tmp_path / "report.md").read_text()
    assert "| student-1 | 1 | 81.8 / 81.8 / 81.8 |" in text and "occworld-strict" in text


def test_absent_is_null_in_json(tmp_path):
    nothing = ForecasterScores("copy", 0, {"s": IoUCounts(6)})
    write_report(tmp_path, make_report([nothing], PROTOCOLS["occworld-strict"], [1, 3, 5], WINDOWS, "G", 0, {},
                                       MACHINE, {}))
    assert read_report(tmp_path / "report.json")["rows"][0]["iou"] == [None] * 3


def test_without_labels_no_class_is_scored_and_the_report_says_why(tmp_path):
    """The truth of a log without labels is all "others"; a baseline that says so has no mIoU of 100 %."""
    def relabelled(label: int) -> tuple[OccupancyFrame, ...]:
        return tuple(replace(frame, labels=np.full(10, label, np.uint8)) for frame in frames(0))

    window = Window.of(WindowKey("s", 0), relabelled(0)[:2], relabelled(0))
    rows = []
    for name, label in (("copy", 0), ("teacher-10", 4)):
        rows.append(ForecasterScores(name, 1))
        rows[-1].add(window, Forecast(relabelled(label), {}))
    for protocol in PROTOCOLS.values():
        write_report(tmp_path, make_report(rows, protocol, [1, 3, 5], WINDOWS, "G", 0, {}, MACHINE, {}))
        found = read_report(tmp_path / "report.json")
        assert not found["labelled"]
        for row in found["rows"]:
            assert row["iou"] == [1.0] * 3
            assert row["miou"] == row["movable_iou"] == row["movable_miou"] == [None] * 3
            assert set(map(tuple, row["class_iou"].values())) == {(None, None, None)}
        text = (tmp_path / "report.md").read_text()
        assert "| copy | 1 | 100.0 / 100.0 / 100.0 | - / - / - | - / - / - |" in text
        assert "mIoU and movable IoU are not measured: the true occupancy has no classes" in text
    write_report(tmp_path, report())
    assert "not measured" not in (tmp_path / "report.md").read_text()


def test_quality_ratios():
    found = report()
    ratios = quality_ratios(found)
    assert ratios["student_iou_over_teacher"] == pytest.approx(9 / 11, abs=1e-6)
    assert ratios["student_flow_time_over_teacher"] == pytest.approx(0.1)
    assert not any("persistence" in name for name in ratios)  # a sample need not win there, the centre must
    found["rows"].append({**found["rows"][1], "name": "student-central"})
    ratios = quality_ratios(found)
    assert ratios["centre_movable_iou_minus_persistence_at_1_s"] == pytest.approx(1 - 5 / 15, abs=1e-6)


def test_no_ratio_of_what_was_not_measured():
    unmeasured = make_report([scores("teacher-10", 0, 60.0), scores("student-1", 1, None)],
                             PROTOCOLS["occworld-strict"], [1, 3, 5], WINDOWS, "G", 0, {}, MACHINE, {})
    assert "student_flow_time_over_teacher" not in quality_ratios(unmeasured)


def test_bad_report_files(tmp_path):
    with pytest.raises(InputError, match="no such report"):
        read_report(tmp_path / "report.json")
    for text in ("{", "[]", '{"rows": 3, "protocol": "x"}', '{"rows": [{}], "protocol": "x"}'):
        (tmp_path / "report.json").write_text(text)
        with pytest.raises(InputError, match="is no report"):
            read_report(tmp_path / "report.json")


def test_a_report_without_measurements_has_charts(tmp_path):
    row = {"name": "copy", "nfe": 0, "iou": [None] * 3, "ms": {"total": None}, "horizon": {"iou": [None] * 6}}
    panels = report_panels({"rows": [row], "frame_s": [0.5 * i for i in range(1, 7)]})
    assert [panel.title for panel in panels] == ["IoU over the horizon", "Quality against latency"]
    write_charts(tmp_path / "charts.svg", panels)
    assert "IoU over the horizon" in (tmp_path / "charts.svg").read_text()
