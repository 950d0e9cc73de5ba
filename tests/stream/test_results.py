"""What a stream leaves behind where there is no Open3D."""

from __future__ import annotations

from types import SimpleNamespace

from occflow.stream import results
from occflow.stream.results import write_pictures


def test_without_open3d_a_stream_ends_well_with_its_forecast_and_one_line_about_the_animation(tmp_path, monkeypatch,
                                                                                             capsys):
    monkeypatch.setattr(results, "open3d_installed", lambda: False)
    demo = SimpleNamespace(last=SimpleNamespace(save=lambda path, grid: path), grid=None, window=None,
                           risks=None)
    assert write_pictures(tmp_path, demo, {"stream": {"gif_forecasts": 3}, "view": {}}, True) == []
    printed = "".join(capsys.readouterr()).splitlines()
    assert len(printed) == 2 and any("stream.gif" in line and "occflow[viewing]" in line for line in printed)
    assert any(line.startswith("wrote ") and line.endswith("forecast.npz") for line in printed)
