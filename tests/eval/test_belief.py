"""The line that says whom to believe."""

import pytest

from occflow.eval.belief import belief


def row(name: str, iou: float | None, span: tuple[float | None, float | None] = (None, None)) -> dict:
    return {"name": name, "average": {"iou": iou}, "intervals": {"iou": [(None, None)] * 3 + [span]}}


def report(*rows: dict) -> dict:
    return {"rows": list(rows), "windows": {"input": "lidar"}}


@pytest.mark.parametrize(("rows", "said"), [
    ([row("persistence", 0.74), row("student-1", 0.69), row("student-central", 0.73)],
     "from input `lidar`: persistence 74.0 (mean IoU over 1, 2 and 3 s, percent), before student-central 73.0 and "
     "student-1 69.0; fewer than two scenes, so no interval says how sure that is."),
    ([row("persistence", 0.6, (0.58, 0.62)), row("student-1", 0.7, (0.66, 0.74))],
     "student-1 70.0 (66.0 to 74.0) (mean IoU over 1, 2 and 3 s, percent), before persistence 60.0 (58.0 to 62.0); the "
     "95 % intervals do not meet."),
    ([row("persistence", 0.6, (0.5, 0.7)), row("student-central", 0.65, (0.6, 0.7))],
     "before persistence 60.0 (50.0 to 70.0); the 95 % intervals meet, so on other scenes the order may be another.")])
def test_the_best_comes_first_and_says_how_sure_that_is(rows, said):
    assert said in belief(report(*rows), ["student-1", "student-central"])


def test_rows_that_a_car_has_not_and_those_without_a_figure_are_no_candidates():
    rows = [row("constant_velocity", 0.9), row("teacher-10", 0.8), row("persistence", 0.5), row("student-1", 0.6)]
    assert belief(report(*rows), ["student-1"]).split("`: ")[1].startswith("student-1 60.0")
    unmeasured = report(row("persistence", 0.5), {"name": "student-central"}, row("student-1", None))
    assert belief(unmeasured, ["student-central", "student-1"]) == ""
