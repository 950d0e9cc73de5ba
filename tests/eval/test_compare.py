"""Reports against each other: which differences other scenes would not undo."""

import json

import numpy as np
import pytest

from occflow.errors import InputError
from occflow.eval.compare import compare_reports
from occflow.eval.counters_file import COUNTERS
from occflow.eval.evaluate import ForecasterScores
from occflow.eval.iou import IoUCounts
from occflow.eval.protocols import PROTOCOLS
from occflow.eval.report import make_report, write_report, write_row_counters
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
