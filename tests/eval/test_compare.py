"""Reports against each other: which differences other scenes would not undo."""

import json

import numpy as np
import pytest
from fuzzing.edits import edited

from occflow.errors import InputError
from occflow.eval.compare import compare_reports
from occflow.eval.evaluate import ForecasterScores
from occflow.eval.iou import IoUCounts
from occflow.eval.protocols import PROTOCOLS
from occflow.eval.report import make_report, write_report, write_row_counters
from occflow.eval.report_record import COUNTERS
from occflow.grid import FREE

CAR = 4
MACHINE = {"cpu": "a", "cores": 2, "memory_gib": 8.0, "gpu": None}
WINDOWS = {"split": "val", "rule": "all", "count": 6, "stride": 1, "history": 2, "horizon": 3, "scenes": 6}
EASY = np.linspace(0.2, 0.9, 6)  # scenes differ far more than forecasters do


def written(folder, shares: np.ndarray, ensembles: dict | None = None, ego: str = "G", seed: int = 0):
    """A report of one row whose IoU in scene i is shares[i]."""
    by_scene = {}
    for number, share in enumerate(shares):
        counts = IoUCounts(3)
        counts.confusion[:, CAR, CAR], counts.confusion[:, FREE, CAR] = round(1000 * share), round(1000 * (1 - share))
        by_scene[f"s{number}"] = counts
    scores = [ForecasterScores("student-1", 1, by_scene)]
    folder.mkdir()
    extra = {} if ensembles is None else {"ensembles": ensembles}
    write_row_counters(folder, scores, [0, 1, 2])
    write_report(folder, make_report(scores, PROTOCOLS["occworld-strict"], [0, 1, 2], WINDOWS, ego, seed,
                                     {"commit": "c"}, MACHINE, {}, **extra))
    return folder


def test_a_small_steady_difference_exceeds_the_interval_though_scenes_differ_much(tmp_path):
    """One point better in every scene: paired by scenes that is clear, by separate intervals it is lost."""
    better, base = written(tmp_path / "b", EASY + 0.01), written(tmp_path / "a", EASY)
    assert "| student-1 | +1.0* / +1.0* / +1.0* |" in compare_reports(base, better)
    assert "| student-1 | -1.0* / -1.0* / -1.0* |" in compare_reports(better, base / "report.json")
    (base / COUNTERS).unlink()
    apart = compare_reports(base, better)
    assert "no counters of the same scenes" in apart and "| student-1 | +1.0 / +1.0 / +1.0 |" in apart


def test_a_difference_that_hangs_on_the_scenes_is_not_marked(tmp_path):
    swayed = EASY + np.array([0.1, -0.08, 0.1, -0.08, 0.1, -0.08])
    found = compare_reports(written(tmp_path / "a", EASY), written(tmp_path / "b", swayed))
    assert "| student-1 | +1.0 / +1.0 / +1.0 |" in found


def ensemble(energy: float, samples: int = 4) -> dict:
    row = {"name": "student-1", "intervals": {"energy": [energy - 0.01, energy + 0.01]}, "reliability": []}
    for part in ("", "movable_"):
        row |= {f"{part}{score}": 0.5 for score in
                ("energy", "brier", "nll", "ece", "ece_filled", "mean_iou", "best_iou", "distance", "diversity")}
    return {"windows": 6, "samples": samples, "rows": [row | {"energy": energy}]}


def test_distributions_are_compared_where_both_drew_alike(tmp_path):
    first = written(tmp_path / "a", EASY, ensemble(0.30))
    assert "| student-1 | +0.0500* | +0.0000 |" in compare_reports(first, written(tmp_path / "b", EASY, ensemble(0.35)))
    assert "| student-1 | +0.0100 |" in compare_reports(first, written(tmp_path / "c", EASY, ensemble(0.31)))
    assert "ensembles" not in compare_reports(first, written(tmp_path / "d", EASY, ensemble(0.35, samples=8)))


def compared(distance: float, windows: int = 12) -> dict:
    scenes = {f"s{number}": {"windows": 2, "to_teacher": round(distance + number, 4), "movable_to_teacher": None}
              for number in range(6)}
    found = ensemble(0.3)
    return {**found, "rows": [{**found["rows"][0], "scenes": scenes}],
            "reference": {**found["rows"][0], "name": "teacher-50", "windows": windows, "to_teacher": 0.0,
                          "movable_to_teacher": 0.0, "intervals": {}}}


def test_distances_to_the_teacher_are_paired_by_scenes(tmp_path):
    first = written(tmp_path / "a", EASY, compared(0.002))
    assert "| student-1 | +0.0010* | - |" in compare_reports(first, written(tmp_path / "b", EASY, compared(0.003)))
    assert "to_teacher" not in compare_reports(first, written(tmp_path / "c", EASY, compared(0.003, windows=6)))
    broken = compared(0.002)
    broken["rows"][0]["scenes"]["s0"]["windows"] = 0
    with pytest.raises(InputError, match="section ensembles is broken"):
        compare_reports(first, written(tmp_path / "d", EASY, broken))


def test_other_tasks_are_refused(tmp_path):
    first = written(tmp_path / "a", EASY)
    with pytest.raises(InputError, match="its ego is H-extrapolated"):
        compare_reports(first, written(tmp_path / "b", EASY, ego="H-extrapolated"))
    with pytest.raises(InputError, match="no such report"):
        compare_reports(first, tmp_path / "nowhere")
    renamed = json.loads((first / "report.json").read_text())
    renamed["rows"][0]["name"] = "teacher-10"
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "report.json").write_text(json.dumps(renamed))
    with pytest.raises(InputError, match="no row in common"):
        compare_reports(first, tmp_path / "c")


def both(tmp_path):
    """Two comparable reports with every section; the folder of the second, and its report."""
    first, second = (written(tmp_path / name, EASY + shift, ensemble(0.3 + shift)) for name, shift in (("a", 0),
                                                                                                   ("b", 0.01)))
    section = {"windows": 3, "rows": [{"name": "x", "iou_all": 0.5, "l1_m": None, "coverage": 0.25, "flicker": 0.0,
                                       "intervals": {"iou_all": [0.4, 0.6], "l1_m": [None, None]}}]}
    for folder in (first, second):
        report = json.loads((folder / "report.json").read_text())
        report |= dict.fromkeys(("present", "rays", "branches", "coherence"), section)
        (folder / "report.json").write_text(json.dumps(report))
    return first, second, json.loads((second / "report.json").read_text())


def one_line_or_table(first, second) -> None:
    try:
        assert compare_reports(first, second).startswith(str(second))
    except InputError as error:
        assert len(str(error).splitlines()) == 1 and len(str(error)) < 1000


@pytest.mark.parametrize("path, value, reason", [
    (("rows", 0, "iou"), [0.5], "are not at the 3 instants"), (("rows", 0, "miou"), [1, 2, "3"], "rows.0.miou.2"),
    (("rows", 0, "iou"), 0.5, "rows.0.iou"), (("rows", 0, "name"), None, "rows.0.name"),
    (("rows", 0, "name"), "a\nb", "no name"), (("rows", 0, "intervals", "iou"), [[0, 1]], "are not at the 3 instants"),
    (("rows", 0, "intervals"), [], "intervals"), (("rows", 0, "iou"), [1e300, 0, 0], "figure beyond"),
    (("rows", 0, "intervals", "miou"), [[1]] * 4, "intervals.miou.0"), (("horizon_s",), [], "number of instants"),
    (("seed",), -1, "seed"), (("seed",), None, "seed"), (("windows",), 3, "windows"), (("rows",), {}, "rows"),
    (("ensembles", "rows"), 3, "section ensembles"), (("ensembles", "rows", 0, "energy"), "x", "section ensembles"),
    (("rays", "rows", 0, "intervals", "l1_m"), [1], "section rays"), (("present",), [1], "section present")])
def test_an_odd_field_is_named_in_one_line(tmp_path, path, value, reason):
    first, second, report = both(tmp_path)
    *way, last = path
    place = report
    for key in way:
        place = place[key]
    place[last] = value
    (second / "report.json").write_text(json.dumps(report))
    with pytest.raises(InputError, match=reason) as refused:
        compare_reports(first, second)
    assert str(second) in str(refused.value) and len(str(refused.value).splitlines()) == 1


def test_deep_nesting_is_refused_in_one_line(tmp_path):
    first, second, _ = both(tmp_path)
    (second / "report.json").write_text('{"protocol": ' + "[" * 10_000_000)
    with pytest.raises(InputError, match="deep"):
        compare_reports(first, second)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.filterwarnings("error")
def test_random_edits_give_a_table_or_one_line(tmp_path, seed, monkeypatch):
    monkeypatch.setattr("occflow.eval.intervals.RESAMPLES", 10)
    first, second, report = both(tmp_path)
    whole, forms = json.dumps(report).encode(), ("bytes", "json", "json", "json")
    for number in range(100):
        (second / "report.json").write_bytes(edited(whole, f"report {seed}", forms, number).content)
        if number == 50:
            (second / COUNTERS).unlink()
        one_line_or_table(first, second)


@pytest.mark.filterwarnings("error")
def test_counters_of_other_instants_or_rows_are_not_used(tmp_path):
    first, second, _ = both(tmp_path)
    scenes = np.array([f"s{number}" for number in range(6)])
    np.savez(second / COUNTERS, scenes=scenes, names=np.array(["student-1"]),
             confusion=np.ones((1, 6, 5, 18, 18), np.int64))
    one_line_or_table(first, second)
