"""A film as a Rerun recording (.rrd): voxels as solid boxes, objects, and the ego's pose on one clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from occflow.atomic import atomic_file
from occflow.errors import InputError
from occflow.geometry import quaternion_wxyz
from occflow.grid import VoxelGrid
from occflow.logs.protocol import Box
from occflow.occupancy.frame import OccupancyFrame
from occflow.viewing.film import HISTORY, Film, plain_names
from occflow.viewing.palette import CLASS_COLOURS
from occflow.viewing.scene import class_colours

OBJECTS = "objects"  # world/objects


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
    with atomic_file(Path(path)) as partial, _strictly(rerun):
        recording.save(partial)
        recording.log("world", rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        log_film(rerun, recording, film)
        recording.disconnect()


@contextmanager
def _strictly(rerun) -> Iterator[None]:
    """What Rerun cannot write ends the export; it would else leave it out with a warning."""
    before = rerun.error_utils.strict_mode()
    rerun.set_strict_mode(True)
    try:
        yield
    finally:
        rerun.set_strict_mode(before)


def log_film(rerun, recording, film: Film) -> None:
    """Log the frames of every source under a name of its own, and the annotated objects once an instant."""
    names = plain_names(film.sources, taken=[OBJECTS])
    for index, seconds in enumerate(film.seconds):
        recording.set_time("seconds", duration=seconds)
        for name, frames in film.sources.items():
            if name != HISTORY or index <= film.now:
                _log_frame(rerun, recording, film.grid, f"world/{names[name]}", frames[index])
        _log_objects(rerun, recording, film.anchor(index).boxes)


def _log_frame(rerun, recording, grid: VoxelGrid, place: str, frame: OccupancyFrame) -> None:
    """Voxels of a source under its grid pose."""
    recording.log(place, rerun.Transform3D(translation=frame.world_from_grid[:3, 3],
                                           quaternion=_xyzw([frame.world_from_grid])[0]))
    half_m = np.full((len(frame.flat), 3), grid.voxel_size_m / 2)
    recording.log(f"{place}/voxels", rerun.Boxes3D(
        centers=grid.centres(grid.unflatten(frame.flat)), half_sizes=half_m, fill_mode="solid",
        colors=np.rint(class_colours(grid, frame)).astype(np.uint8)))


def _log_objects(rerun, recording, boxes: tuple[Box, ...]) -> None:
    """The objects of an instant, in the world; where there are none, those before it go."""
    recording.log(f"world/{OBJECTS}", rerun.Boxes3D(
        centers=np.array([box.world_from_box[:3, 3] for box in boxes]).reshape(-1, 3),
        half_sizes=np.array([box.size_lwh_m for box in boxes]).reshape(-1, 3) / 2,
        quaternions=_xyzw([box.world_from_box for box in boxes]), labels=[box.track for box in boxes],
        colors=CLASS_COLOURS[[box.label for box in boxes]].reshape(-1, 3)))


def _xyzw(poses: Sequence[np.ndarray]) -> np.ndarray:
    """Quaternions [N, 4] float32 of poses. Plain arrays: Rerun's own class of quaternions wants numpy 2."""
    return np.array([quaternion_wxyz(pose)[[1, 2, 3, 0]] for pose in poses], dtype=np.float32).reshape(-1, 4)
