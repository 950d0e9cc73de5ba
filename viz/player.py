"""Look at a run or an occupancy store in a window: python viz/player.py RUN_OR_STORE [KEY=VALUE ...]

RUN_OR_STORE is a run's folder (its forecast.npz), a forecast file, or the folder of an occupancy store. Needs a
display; without one use viz/render.py. Keys and legend are on the window.
"""

from occflow.command_line import run


def main(config: dict) -> None:
    from occflow.viewing.player import play
    from occflow.viewing.source import open_source

    source = open_source(config["view"], config["run_dir"])
    play(source.film, config["view"], source.folder / "screenshots")


if __name__ == "__main__":
    run(main, __doc__, argument="view.source")
