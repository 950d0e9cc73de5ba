"""The player's stage, and its refusal without a display."""

import socket

import pytest

from occflow.errors import InputError
from occflow.occupancy.forecast_file import ForecastRecord
from occflow.viewing import display
from occflow.viewing.player import make_stage, play


def test_time_stops_at_both_ends(record):
    stage = make_stage(record)
    assert (stage.text(), stage.source) == ("history now", "truth")
    stage.move(-9)
    assert stage.text() == "history -1.0 s"
    stage.move(99)
    assert stage.text() == "truth +3.0 s"


def test_sources_and_difference(record):
    stage = make_stage(record, ("student-1",))
    assert list(stage.sources) == ["truth", "student-1"]
    stage.choose("student-1")
    assert stage.text() == "student-1 +0.5 s"
    plain = stage.mesh()
    stage.against_truth = True
    assert stage.text() == "student-1 +0.5 s against the truth"
    assert len(stage.mesh().triangles) != len(plain.triangles)
    stage.choose("truth")
    assert stage.text() == "truth +0.5 s"


def test_real_log_without_truth(record):
    stage = make_stage(ForecastRecord(record.grid, record.history, (), {"student-1": record.truth}, "log"))
    stage.against_truth = True
    stage.move(2)
    assert stage.text() == "student-1 +1.0 s"
    assert len(stage.mesh().triangles) > 0


def test_history_alone(record):
    stage = make_stage(ForecastRecord(record.grid, record.history, (), {}, "log"))
    stage.move(3)
    assert stage.text() == "history now"


@pytest.mark.parametrize("name", ["", ":4321", "unix:4321.0", "localhost:59999", "nonsense"])
def test_no_display_is_said_in_one_line(record, monkeypatch, tmp_path, name):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("DISPLAY", name)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(InputError, match=r"display .*viz/render\.py$"):
        play(record, {}, tmp_path)


def test_a_display_that_answers_is_accepted(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(display, "X11_SOCKETS", str(tmp_path / "X"))
    monkeypatch.setenv("DISPLAY", ":7.0")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(tmp_path / "X7"))
        server.listen()
        display.require_display()
