"""Build, forecast, score and draw a driving log in one call.

    python tools/forecast.py log=nuscenes log.root=PATH log.version=NAME [forecast.checkpoint=STUDENT.safetensors]

The occupancy store, report.md, report.json, forecast.png and forecast.gif go to forecast.run_dir.
"""

from occflow.command_line import run


def main(config: dict) -> None:
    from occflow.jobs.score import forecast_log
    from occflow.viewing.record import draw_record

    run_dir, table = forecast_log(config)
    print(table)
    for path in draw_record(run_dir / "forecast.npz", run_dir, config["view"]):
        print(f"wrote {path}", flush=True)


if __name__ == "__main__":
    run(main, __doc__)
