"""Build, forecast, score and draw a driving log in one call.

    occflow forecast log=nuscenes log.root=PATH log.version=NAME [forecast.checkpoint=STUDENT.safetensors]
        [forecast.samples=8]

Shown and scored is the student's one forecast, the centre of the futures; with forecast.samples also what it draws of
them, as probabilities; with forecast.temperature below 1 sharper samples, which are no longer of the distribution as it
was learnt.

The occupancy store, report.md, report.json, forecast.html (a page for the browser), forecast.png and forecast.gif go to
forecast.run_dir; without Open3D (pip install 'occflow[viewing]') there is the page and no picture.
eval.save=all writes every window's forecasts there too, for other tools (docs/predictions.md) and for whole drives
(occflow export).
"""

from __future__ import annotations

READS = ("log", "data", "perception", "model", "eval", "view", "forecast", "seed", "device", "workers", "tasks")


def main(config: dict) -> None:
    from occflow.jobs.score import forecast_log
    from occflow.viewing.headless import PICTURES_LACK, open3d_installed
    from occflow.viewing.source import draw_record, record_page

    run_dir, table = forecast_log(config)
    print(table)
    if not open3d_installed():
        print(f"wrote {record_page(run_dir / 'forecast.npz', run_dir, config['view'])}")
        print(f"no pictures: {PICTURES_LACK}")
        return
    for path in draw_record(run_dir / "forecast.npz", run_dir, config["view"]):
        print(f"wrote {path}", flush=True)
