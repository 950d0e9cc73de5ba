"""Look at the forecasts of an evaluation in a window: step in time, switch between truth and forecasts.

Needs a display; without one use viz/render.py. The keys are printed at the start.
"""

from pathlib import Path

from occflow.command_line import run


def main(config: dict) -> None:
    from occflow.occupancy.forecast_file import load_forecasts
    from occflow.viewing.player import play

    play(load_forecasts(Path(config["view"]["forecast"])), config["view"], Path(config["run_dir"]) / "screenshots")


if __name__ == "__main__":
    run(main, __doc__)
