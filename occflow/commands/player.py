"""Look at a run or an occupancy store in a window: occflow player RUN_OR_STORE [KEY=VALUE ...]

RUN_OR_STORE is a run's folder (its forecast.npz), a forecast file, RUN/saved (whole drives, N goes on to the next
window), or the folder of an occupancy store. Needs a display; without one use occflow render. Keys and legend are on
the window.
"""

from __future__ import annotations

READS = ("view", "run_dir")
ARGUMENT = "view.source"  # what a first argument without a key is


def main(config: dict) -> None:
    from occflow.viewing.player import play
    from occflow.viewing.source import open_source

    source = open_source(config["view"], config["run_dir"])
    play(source.film, config["view"], source.folder / "screenshots")
