"""Build, forecast, score and draw a driving log in one call.

    python tools/forecast.py log=nuscenes log.root=PATH log.version=NAME [checkpoint=PATH] [run_dir=DIR]

The occupancy store and all results go to run_dir; the student is RUN/student.safetensors of `checkpoint`.
"""

from occflow.command_line import run


def main(config) -> None:
    from occflow.runtime.jobs import forecast_log
    from occflow.viewing.picture import render_all

    print(forecast_log(config))
    render_all(config)


if __name__ == "__main__":
    run(main, __doc__)
