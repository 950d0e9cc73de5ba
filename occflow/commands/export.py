"""Write a run, a scene of a store or a whole drive for other programs: occflow export RUN_OR_STORE [KEY=VALUE ...]

view.formats names them: html (one page for any browser), mcap (Foxglove, with a layout; pip install 'occflow[export]'),
rrd (Rerun; 'occflow[rerun]'), ply (a mesh of every source at view.ply_s). Files are called after the scene and its
origin (SCENE.forecast.mcap of a run, SCENE.occupancy.mcap of a store) and go beside the run, or to view.folder.
RUN/saved, which eval.save=all makes, is exported as whole drives (SCENE.drive.mcap): all forecasts view.times_s ahead,
and the sweeps of the log; as a page, its windows one after the other.
"""

from __future__ import annotations

READS = ("view", "run_dir", "log")
ARGUMENT = "view.source"  # what a first argument without a key is


def main(config: dict) -> None:
    from occflow.viewing.export import export_drive, export_film
    from occflow.viewing.source import open_source

    source, view = open_source(config["view"], config["run_dir"]), config["view"]
    paths = export_film(source.film(), source.folder, view, source.page_windows) if source.saved is None else \
        export_drive(source.saved, source.folder, view, config["log"])
    for path in paths:
        print(f"wrote {path}", flush=True)
