"""A film as a Rerun recording (.rrd): voxels as solid boxes, objects, and the ego's pose on one clock."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from occflow.atomic import atomic_file
from occflow.errors import InputError
from occflow.geometry import quaternion_wxyz
from occflow.occupancy.frame import OccupancyFrame
from occflow.viewing.film import HISTORY, Film
from occflow.viewing.palette import CLASS_COLOURS
from occflow.viewing.scene import class_colours


def write_rerun(path: Path, film: Film) -> None:
    """Write every source of a film at all its instants.

    Raises:
        InputError: the package of the extra "rerun" is missing.
    """
    try:
        import rerun
    except ModuleNotFoundError:
        raise InputError("rerun-sdk is not installed, .rrd needs it: pip install 'occflow[rerun]'") from None
    recording = rerun.RecordingStream("occflow", recording_id=film.scene)
    with atomic_file(Path(path)) as partial:
        recording.save(partial)
        recording.log("world", rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        for index, seconds in enumerate(film.seconds):
            recording.set_time("seconds", duration=seconds)
            for name, frames in film.sources.items():
                if name != HISTORY or index <= film.now:
                    _log_frame(rerun, recording, film, name, frames[index])
        recording.disconnect()


def _log_frame(rerun, recording, film: Film, name: str, frame: OccupancyFrame) -> None:
    """Voxels of a source under its grid pose, and the annotated objects."""
    w, x, y, z = quaternion_wxyz(frame.world_from_grid)
    place = f"world/{name.replace(' ', '_')}"
    recording.log(place, rerun.Transform3D(translation=frame.world_from_grid[:3, 3],
                                           rotation=rerun.Quaternion(xyzw=[x, y, z, w])))
    half_m = np.full((len(frame.flat), 3), film.grid.voxel_size_m / 2)
    recording.log(f"{place}/voxels", rerun.Boxes3D(
        centers=film.grid.centres(film.grid.unflatten(frame.flat)), half_sizes=half_m, fill_mode="solid",
        colors=np.rint(class_colours(film.grid, frame)).astype(np.uint8)))
    turns = [quaternion_wxyz(box.world_from_box)[[1, 2, 3, 0]] for box in frame.boxes]
    recording.log("world/objects", rerun.Boxes3D(
        centers=[box.world_from_box[:3, 3] for box in frame.boxes],
        half_sizes=[np.asarray(box.size_lwh_m) / 2 for box in frame.boxes],
        quaternions=[rerun.Quaternion(xyzw=turn) for turn in turns], labels=[box.track for box in frame.boxes],
        colors=[CLASS_COLOURS[box.label] for box in frame.boxes]))
