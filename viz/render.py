"""Draw the forecasts of an evaluation: a comparison sheet (forecast.png) and an animation (forecast.gif).

Needs no display. Reads view.forecast (RUN_DIR/forecast.npz), writes beside the run: RUN_DIR/forecast.png and .gif.
"""

from pathlib import Path

from occflow.command_line import run


def main(config: dict) -> None:
    from occflow.run_record import timed_step
    from occflow.viewing.record import draw_record

    run_dir = Path(config["run_dir"])
    with timed_step(run_dir, "render"):
        for path in draw_record(Path(config["view"]["forecast"]), run_dir, config["view"]):
            print(f"wrote {path}", flush=True)


if __name__ == "__main__":
    run(main, __doc__)
