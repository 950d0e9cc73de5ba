"""A folder of scans is forecast with the weights of the project, and nothing but its path is told."""

from __future__ import annotations

import json

from real_recordings import sweeps_of_the_drive
from scan_writers import write_folder

from occflow.command_line import compose_config
from occflow.jobs.score import forecast_log


def test_a_folder_of_scans_is_perceived_forecast_and_scored(tmp_path):
    sweeps = sweeps_of_the_drive(12, 54, every_point=60)
    root = write_folder(tmp_path / "mine", sweeps)
    run_dir, table = forecast_log(compose_config([
        "log=folder", f"log.root={root}", "log.mount=[0,0,0,0,0,-90]", f"forecast.run_dir={tmp_path / 'run'}",
        "workers=1", "data.occupancy.min_points=1", "device=cpu"]))
    report = json.loads((run_dir / "report.json").read_text())
    assert report["windows"]["input"] == "lidar" and report["windows"]["count"] == 1 and not report["labelled"]
    rows = {row["name"]: row for row in report["rows"]}
    for name in ("persistence", "student-central"):
        assert all(iou is not None and iou > 0.05 for iou in rows[name]["iou"])
    assert rows["persistence"]["miou"] == [None] * 3 and "To believe here, from input `lidar`" in table
    assert "Log: folder@mine-" in (run_dir / "report.md").read_text()
