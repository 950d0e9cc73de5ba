"""Forecast a driving log in real time: its sweeps are replayed at the sensor's pace, a student forecasts each due one.

    occflow realtime_demo [log=nuscenes log.root=PATH log.version=NAME] [stream.rate_hz=10] [stream.pace=2]

Opens a window where there is a display; else stream.gif is drawn at the end. The report of latency and accuracy
(report.md, report.json) and the last forecast (forecast.npz) go to stream.run_dir, also after Ctrl-C, SIGTERM and
SIGHUP; so does stream.html, the last forecasts as a page for the browser.
"""

from __future__ import annotations

READS = ("log", "data", "perception", "model", "view", "stream", "forecast", "run_dir", "seed", "device", "workers",
         "tasks")


def main(config: dict) -> None:
    from occflow.stream.jobs import realtime_demo

    realtime_demo(config)
