"""Wall seconds of a run's steps."""

import pytest

from occflow.run_record import read_seconds, record_seconds, timed_step


def test_steps_add_up_and_a_repeated_step_replaces_itself(tmp_path):
    run_dir = tmp_path / "run"
    assert read_seconds(run_dir) == {}
    record_seconds(run_dir, "simulate", 1.0)
    record_seconds(run_dir, "teacher", 2.345)
    record_seconds(run_dir, "simulate", 3.0)
    assert read_seconds(run_dir) == {"simulate": 3.0, "teacher": 2.35}
    assert [path.name for path in run_dir.iterdir()] == ["seconds.json"]


def test_a_failed_step_is_not_recorded(tmp_path):
    with pytest.raises(RuntimeError), timed_step(tmp_path, "teacher"):
        raise RuntimeError
    assert read_seconds(tmp_path) == {}


@pytest.mark.parametrize("text", ["", "[1]", '{"teacher": "soon"}', '{"teacher": null}', '{"teacher": NaN}',
                                  '{"teacher": 1' + "0" * 400 + "}", pytest.param("[" * 100_000, id="deep list"),
                                  pytest.param('{"teacher":' * 100_000, id="deep")])
def test_a_broken_record_does_not_stop_a_run(tmp_path, text):
    (tmp_path / "seconds.json").write_text(text)
    assert read_seconds(tmp_path) == {}
    record_seconds(tmp_path, "teacher", 1.0)
    assert read_seconds(tmp_path) == {"teacher": 1.0}
