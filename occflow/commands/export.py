"""Write a run or a scene of a store for other programs: occflow export RUN_OR_STORE [KEY=VALUE ...]

view.formats names them: html (one page for any browser), mcap (Foxglove; pip install 'occflow[export]'), rrd (Rerun;
'occflow[rerun]'), ply (a mesh of every source at view.ply_s). Files are called after the scene and its origin
(SCENE.forecast.mcap of a run, SCENE.occupancy.mcap of a store) and go beside the run, or to view.folder.
"""

from __future__ import annotations

READS = ("view", "run_dir")
ARGUMENT = "view.source"  # what a first argument without a key is


def main(config: dict) -> None:
    from occflow.viewing.export import export_film
    from occflow.viewing.source import open_source

    source = open_source(config["view"], config["run_dir"])
    for path in export_film(source.film(), source.folder, config["view"], source.page_windows):
        print(f"wrote {path}", flush=True)
