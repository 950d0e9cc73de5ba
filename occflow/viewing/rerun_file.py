"""A drive as a Rerun recording (.rrd)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from occflow.atomic import atomic_file
from occflow.errors import InputError
from occflow.geometry import quaternion_wxyz
from occflow.grid import CLASS_NAMES, VoxelGrid
from occflow.logs.protocol import Box, Sweep
from occflow.viewing.drive import LEGEND, LIDAR, OBJECTS, Drive, Shown
from occflow.viewing.mcap_file import legend_png, point_colours
from occflow.viewing.palette import palette_named
from occflow.viewing.scene import class_colours, likely_colours

POINT_RADIUS_M = 0.04


def write_rerun(path: Path, drive: Drive, palette: str) -> None:
    """Write every grid of a drive at all its instants as a Rerun recording: voxels are solid boxes, on the clock
    "seconds". A forecast lies at the time that it speaks of; the clock "issued" has when it was made.

    Raises:
        InputError: the package of the extra "rerun" is missing.
    """
    try:
        import rerun
    except ModuleNotFoundError:
        raise InputError("rerun-sdk is not installed, .rrd needs it: pip install 'occflow[rerun]'") from None
    recording = rerun.RecordingStream("occflow", recording_id=drive.scene)
    with atomic_file(Path(path)) as partial, _strictly(rerun):
        recording.save(partial)
        recording.log("world", rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        recording.log("world", _classes(rerun, palette), static=True)
        recording.log(LEGEND, rerun.EncodedImage(contents=legend_png(palette), media_type="image/png"), static=True)
        log_drive(rerun, recording, drive, palette)
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


def _classes(rerun, palette: str):
    """The names and colours of the classes, which Rerun shows of a voxel under the mouse. An Arrow array is taken as it
    is: the classes of Rerun that would make it want numpy 2."""
    import pyarrow

    def described(label: int, name: str) -> dict:
        red, green, blue = palette_named(palette)[label].tolist()
        info = {"id": label, "label": name, "color": red << 24 | green << 16 | blue << 8 | 255}
        return {"class_id": label, "class_description": {"info": info, "keypoint_annotations": [],
                                                         "keypoint_connections": []}}

    kind = rerun.components.AnnotationContextBatch._ARROW_DATATYPE
    classes = [described(label, name) for label, name in enumerate(CLASS_NAMES)]
    return rerun.AnnotationContext(pyarrow.array([classes], type=kind))


def log_drive(rerun, recording, drive: Drive, palette: str) -> None:
    """Log every grid under its name, the annotated objects once an instant, and the sweeps."""
    for event in drive.events():
        recording.set_time("seconds", duration=event.stamp_s - drive.start_s)
        if isinstance(event, Sweep):
            _log_sweep(rerun, recording, event, palette)
            continue
        for shown in event.shown:
            if shown.issued_s is not None:
                recording.set_time("issued", duration=shown.issued_s - drive.start_s)
            _log_grid(rerun, recording, drive.grid, f"world/{shown.name}", shown, palette)
            recording.disable_timeline("issued")
        _log_objects(rerun, recording, event.anchor.boxes, palette)


def _log_grid(rerun, recording, grid: VoxelGrid, place: str, shown: Shown, palette: str) -> None:
    """Voxels under their grid pose; of a probability with its share."""
    frame, likely = shown.frame, shown.likely
    recording.log(place, rerun.Transform3D(translation=frame.world_from_grid[:3, 3],
                                           quaternion=_xyzw([frame.world_from_grid])[0]))
    flat, labels = (frame.flat, frame.labels) if likely is None else (likely.flat, likely.labels)
    colours = class_colours(grid, frame, palette) if likely is None else likely_colours(likely)
    known = labels < len(CLASS_NAMES)
    recording.log(f"{place}/voxels", rerun.Boxes3D(
        centers=grid.centres(grid.unflatten(flat)), half_sizes=np.full((len(flat), 3), grid.voxel_size_m / 2),
        fill_mode="solid", colors=np.rint(colours).astype(np.uint8), show_labels=False,
        class_ids=labels.astype(np.uint16) if known.all() else None))


def _log_sweep(rerun, recording, sweep: Sweep, palette: str) -> None:
    """Points in the sensor's frame, under its pose."""
    place, pose = f"world/{LIDAR}", sweep.world_from_sensor
    recording.log(place, rerun.Transform3D(translation=pose[:3, 3], quaternion=_xyzw([pose])[0]))
    recording.log(f"{place}/points", rerun.Points3D(sweep.points_sensor, colors=point_colours(sweep, palette),
                                                    radii=POINT_RADIUS_M))


def _log_objects(rerun, recording, boxes: tuple[Box, ...], palette: str) -> None:
    """The objects of an instant, in the world; where there are none, those before it go."""
    recording.log(f"world/{OBJECTS}", rerun.Boxes3D(
        centers=np.array([box.world_from_box[:3, 3] for box in boxes]).reshape(-1, 3),
        half_sizes=np.array([box.size_lwh_m for box in boxes]).reshape(-1, 3) / 2,
        quaternions=_xyzw([box.world_from_box for box in boxes]), labels=[box.track for box in boxes],
        colors=palette_named(palette)[[box.label for box in boxes]].reshape(-1, 3)))


def _xyzw(poses: Sequence[np.ndarray]) -> np.ndarray:
    """Quaternions [N, 4] float32 of poses. Plain arrays: Rerun's own class of quaternions wants numpy 2."""
    return np.array([quaternion_wxyz(pose)[[1, 2, 3, 0]] for pose in poses], dtype=np.float32).reshape(-1, 4)
