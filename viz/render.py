"""Draw the forecasts of an evaluation: a comparison sheet (forecast.png) and an animation (forecast.gif).

Needs no display. Reads view.forecast (RUN_DIR/forecast.npz), writes beside the run: RUN_DIR/forecast.png and .gif.
"""

from pathlib import Path

from occflow.command_line import run


def main(config) -> None:
    from occflow.occupancy.forecast_file import load_forecasts
    from occflow.viewing.animation import render_animation
    from occflow.viewing.sheet import render_sheet

    record = load_forecasts(Path(config.view.forecast))
    for render, name in ((render_sheet, "forecast.png"), (render_animation, "forecast.gif")):
        path = Path(config.run_dir) / name
        render(record, config.view, path)
        print(f"wrote {path}", flush=True)


if __name__ == "__main__":
    run(main, __doc__)
