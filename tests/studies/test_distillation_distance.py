"""The study's part `distance`: samples kept on disk, rows of the page, students that were trained anew."""

from types import SimpleNamespace

import numpy as np
import pytest

from occflow.command_line import compose_config
from occflow.errors import InputError
from occflow.forecasting.checkpoint import read_record, save_checkpoint
from occflow.forecasting.forecast import Forecast
from occflow.geometry import planar_pose
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.windows import Window, WindowKey
from studies import config_of
from studies.distillation.distance import KeptReferee
from studies.distillation.report import study_markdown
from studies.distillation.study import UNTRAINED, DistillationStudy


def study(**values) -> DistillationStudy:
    """A study of results alone, without networks."""
    made = object.__new__(DistillationStudy)
    made.values = {**compose_config([], config_of("distillation"))["distillation_study"], **values}
    made.groups, made.results, made.distilled_motions = {}, {}, {}
    return made


def page(results: dict) -> str:
    return study_markdown({"results": results, "settings": study().values, "windows": 30, "versions": {"commit": "c"},
                           "machine": {"cpu": "x", "cores": 2, "gpu": None}})


def frame(*voxels: int, label: int = 4) -> OccupancyFrame:
    labels = np.full(len(voxels), label, np.uint8)
    return OccupancyFrame(np.array(voxels, np.int64), labels, planar_pose(1, 2, 0.3), 0.5)


class Teacher:
    """Its futures are of two frames, the second empty for every other seed; it counts what it draws."""

    name, nfe, drawn = "teacher-50", 50, 0

    def samples(self, task, seeds):
        self.drawn += len(seeds)
        return [Forecast((frame(*range(seed % 5 + 1)), frame(*([9] if seed % 2 else [])))) for seed in seeds]


def test_samples_of_the_reference_are_drawn_once_and_read_as_they_were(tmp_path):
    window = Window.of(WindowKey("s", 3), (frame(0),), (frame(1), frame(2)))
    teacher = Teacher()
    first = KeptReferee(teacher, tmp_path).futures(window, 3, 0)
    again = KeptReferee(teacher, tmp_path).futures(window, 3, 0)
    assert teacher.drawn == 6 and (tmp_path / "3-0" / "s-3.npz").is_file()
    direct = Teacher().samples(window.task, [0])[0].frames
    for one, other in ((first.paired, again.paired), (first.others, again.others)):
        assert len(one) == len(other) == 3
        for a, b in zip(one, other):
            assert len(a) == len(b) == len(direct)
            for x, y, true in zip(a, b, window.truth):
                assert np.array_equal(x.flat, y.flat) and np.array_equal(x.labels, y.labels)
                assert np.array_equal(y.world_from_grid, true.world_from_grid) and y.stamp_s == true.stamp_s
    KeptReferee(teacher, tmp_path).futures(window, 2, 0)
    assert teacher.drawn == 10  # another number of samples is another file


def row(distance: float, ratio: float) -> dict:
    scores = {f"{part}{name}": value for part in ("", "movable_") for name, value in (
        ("to_teacher", distance), ("beyond_floor", distance - 0.0001), ("diversity_ratio", ratio), ("energy", 0.15))}
    scenes = {f"s{number}": {"windows": 2, "to_teacher": distance + number, "movable_to_teacher": distance - number}
              for number in range(3)}
    return {"name": "student-1", **scores, "scenes": scenes,
            "intervals": {name: [value - 0.001, value + 0.001] for name, value in scores.items()}}


def test_the_page_compares_every_row_with_the_floor_and_with_five_steps():
    text = page({
        "distance/reference": {"row": {"windows": 8, **row(0.0001, 1.0), "name": "teacher-50"}},
        f"distance/{UNTRAINED}": {"row": row(0.0118, 1.83)}, "distance/teacher-5": {"row": row(0.0006, 0.77)}})
    assert "## The distance to teacher-50" in text and "8 windows" in text
    assert "| 0 updates | 0.0118 (0.0108 to 0.0128) | 0.0117 (0.0107 to 0.0127) | 0.0112 (0.0112 to 0.0112) | " \
        "1.83 (1.83 to 1.83) |" in text
    assert "| teacher-5 | 0.0006 (-0.0004 to 0.0016) | 0.0005 (-0.0005 to 0.0015) | - | 0.77" in text
    assert "| teacher-50, against itself | 0.0001" in text and "| movers | distance |" in text


def test_a_curve_shows_the_distance_where_it_was_measured():
    point = {"energy": 0.2, "to_teacher": 0.0025, "movable_to_teacher": 0.01, "diversity_ratio": 1.12}
    text = page({"stability/mfd/0": {"curve": {"0": point, "30": {**point, "to_teacher": 0.0063}}}})
    assert "| 0 | 0.0025 | 0.0100 | 1.12 | 0.2000 |" in text and "| 30 | 0.0063 |" in text


@pytest.fixture()
def checkpoint(small_forecaster, small_settings, tmp_path):
    def make(name: str, kind: str, teacher: str | None = None):
        save_checkpoint(tmp_path / name, small_forecaster, kind, small_settings, {}, teacher)
        return tmp_path / name

    return make


def test_a_student_that_was_trained_anew_is_scored_anew(checkpoint, small_forecaster):
    path = checkpoint("run/student.safetensors", "student")
    made = study(students=[str(path)], teacher_steps=[1])
    made.teacher = small_forecaster
    made.scoring = SimpleNamespace(to_teacher=lambda forecaster: {"name": forecaster.name}, floor=dict)
    jobs = dict(made.distances())
    assert list(jobs) == ["distance/reference", f"distance/{UNTRAINED}", "distance/teacher-1", "distance/run/student"]
    assert jobs["distance/teacher-1"]() == {"row": {"name": "teacher-1"}}
    made.results |= {place: job() for place, job in jobs.items()}
    weights = read_record(path)["weights"]
    assert made.results["distance/run/student"] == {"row": {"name": "student-1"}, "weights": weights}
    list(made.distances())
    assert "distance/run/student" in made.results
    small_forecaster.velocity.out.bias.data += 1
    checkpoint("run/student.safetensors", "student")
    list(made.distances())
    assert "distance/run/student" not in made.results


def test_motions_of_a_student_of_another_teacher_are_refused(checkpoint, small_forecaster):
    teacher = checkpoint("teacher.safetensors", "teacher")
    own = checkpoint("own.safetensors", "student", read_record(teacher)["weights"])
    made = study(motions=str(own))
    made.teacher, made.teacher_weights = small_forecaster, read_record(teacher)["weights"]
    made.config = {"run_dir": "r"}
    assert made.with_motions("mfd", 0, {}) is not made.teacher
    made.teacher_weights = "others"
    with pytest.raises(InputError, match="is no student of r/teacher.safetensors"):
        made.with_motions("mfd", 0, {})
