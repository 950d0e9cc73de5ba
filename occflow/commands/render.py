"""Draw a run or a scene of a store without a display: occflow render RUN_OR_STORE [KEY=VALUE ...]

Of a run: a page for any browser (forecast.html), one instant at a glance (glance.png), a comparison sheet
(forecast.png) and an animation (forecast.gif), beside its forecast.npz. Of an occupancy store: an animation of
view.scene (SCENE.occupancy.gif) in run_dir. Of RUN/saved, whole drives: one of now, the forecast of view.glance_s later
and what came (SCENE.drive.gif), beside the run. view.folder names another folder, view.animations=[mp4] another format
(pip install 'occflow[video]').
"""

from __future__ import annotations

READS = ("view", "run_dir")
ARGUMENT = "view.source"  # what a first argument without a key is


def main(config: dict) -> None:
    from occflow.run_record import timed_step
    from occflow.viewing.source import draw_source, open_source

    source = open_source(config["view"], config["run_dir"])
    with timed_step(source.folder, "render"):
        for path in draw_source(source, config["view"]):
            print(f"wrote {path}", flush=True)
