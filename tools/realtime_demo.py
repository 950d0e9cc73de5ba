"""Forecast a driving log in real time: its sweeps are replayed at the sensor's pace, a student forecasts each due one.

    python tools/realtime_demo.py [log=nuscenes log.root=PATH log.version=NAME] [stream.rate_hz=10] [stream.pace=2]

Opens a window where there is a display; else stream.gif is drawn at the end. The latency report (report.md,
report.json) and the last forecast (forecast.npz) go to stream.run_dir, also after Ctrl-C, SIGTERM and SIGHUP.
"""

from occflow.command_line import run


def main(config: dict) -> None:
    from occflow.stream.jobs import realtime_demo

    realtime_demo(config)


if __name__ == "__main__":
    run(main, __doc__)
