"""From a film to files of other programs: MCAP (Foxglove), .rrd (Rerun), PLY (anything), HTML (a browser)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from occflow.atomic import atomic_file
from occflow.errors import InputError
from occflow.geometry import quaternion_wxyz
from occflow.grid import VoxelGrid
from occflow.logs.protocol import Box
from occflow.occupancy.frame import OccupancyFrame
from occflow.viewing.film import CAUSAL, HISTORY, OCCUPANCY, Film, film_path, plain_names
from occflow.viewing.meshes import Mesh
from occflow.viewing.page import PageWindow, window_of_film, write_page
from occflow.viewing.palette import CLASS_COLOURS
from occflow.viewing.panels import view_value
from occflow.viewing.scene import class_colours, class_mesh

FORMATS = ("mcap", "rrd", "ply", "html")
PLY_HEADER = """ply
format binary_little_endian 1.0
comment occflow; metres, x forward, y left, z up
element vertex {vertices}
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
element face {faces}
property list uchar int vertex_indices
end_header
"""
PLY_VERTEX = np.dtype([("place", "<f4", 3), ("colour", "u1", 3)])
PLY_FACE = np.dtype([("count", "u1"), ("corners", "<i4", 3)])
CELL = ("red", "green", "blue", "alpha", "label")  # of MCAP, one byte each; alpha 0 where nothing is
MAX_STAMP_S = 9e9  # of nanoseconds in 63 bits
OBJECTS = "objects"  # their topic in MCAP, their place below world/ in Rerun
OWN_TOPICS = ("tf", "ego", OBJECTS)
OPAQUE, BOX_ALPHA, BOX_LIFETIME_NS = 255, 0.25, 500_000_000
FREE_LABEL = 255


def export_film(film: Film, folder: Path, view: Mapping,
                windows: Callable[[], Sequence[PageWindow]] | None = None) -> Iterator[Path]:
    """Write a film in the formats of view.formats to `folder`, yielding each path when it is there.

    Files are named after the scene and after what it was read from, a run (SCENE.forecast.mcap) or a store
    (SCENE.occupancy.mcap). PLY is one file for each source, of the instant nearest to view.ply_s.

    Args:
        windows: what an HTML page shows; None: the film alone.

    Raises:
        InputError: an unknown format, a missing package, or a scene whose name cannot be that of a file.
    """
    formats = view_value(view, "formats", "[mcap]")
    formats = [formats] if isinstance(formats, str) else list(formats)
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise InputError(f"view.formats: no format '{unknown[0]}'; known: {', '.join(FORMATS)}")
    for write, suffix in ((write_mcap, "mcap"), (write_rerun, "rrd")):
        if suffix in formats:
            path = film_path(folder, film, suffix)
            write(path, film)
            yield path
    if "html" in formats:
        yield write_page(film_path(folder, film, "html"), film.grid, film.scene,
                         windows() if windows else [window_of_film(film, film.scene)])
    if "ply" in formats:
        yield from _write_frames(film, Path(folder), float(view_value(view, "ply_s", "1.0")))


def _write_frames(film: Film, folder: Path, wanted_s: float) -> Iterator[Path]:
    index = min(range(len(film.seconds)), key=lambda one: abs(film.seconds[one] - wanted_s))
    names = plain_names(film.sources)
    for name, frames in film.sources.items():
        path = film_path(folder, film, f"{names[name]}.{film.seconds[index]:.1f}s.ply")
        write_ply(path, class_mesh(film.grid, frames[index]))
        yield path


def write_ply(path: Path, mesh: Mesh) -> None:
    """Write a mesh as a PLY file (binary), which every 3D program opens, its vertices in the grid frame, metres."""
    vertices, faces = np.zeros(len(mesh.vertices), PLY_VERTEX), np.zeros(len(mesh.triangles), PLY_FACE)
    vertices["place"], vertices["colour"] = mesh.vertices, np.rint(255 * mesh.colours)
    faces["count"], faces["corners"] = 3, mesh.triangles
    with atomic_file(Path(path)) as partial, partial.open("wb") as stream:
        stream.write(PLY_HEADER.format(vertices=len(vertices), faces=len(faces)).encode())
        stream.write(vertices.tobytes())
        stream.write(faces.tobytes())


def write_mcap(path: Path, film: Film) -> None:
    """Write every source of a film at all its instants as an MCAP file that Foxglove opens, on one clock.

    Topics: /SOURCE (foxglove.VoxelGrid, one for each source), /objects (foxglove.SceneUpdate), /ego
    (foxglove.PoseInFrame) and /tf (foxglove.FrameTransform, world -> ego). Frames are those of data/README.md: "world",
    and "ego", the grid's. A forecast lies at the time it speaks of. Messages are protobuf.

    Raises:
        InputError: the packages of the extra "export" are missing, or an instant that MCAP cannot hold.
    """
    writer_of, messages = _mcap_packages()
    stamps_s = [film.anchor(index).stamp_s for index in range(len(film.seconds))]
    if not all(0 <= stamp_s <= MAX_STAMP_S for stamp_s in stamps_s):
        raise InputError(f"{film.scene}: its time stamps, {min(stamps_s):g} to {max(stamps_s):g} s, are not within 0 "
                         f"and {MAX_STAMP_S:g}; MCAP holds no others, export to rrd or ply")
    with atomic_file(Path(path)) as partial, partial.open("wb") as stream, writer_of(stream) as writer:
        topics = plain_names(film.sources, taken=OWN_TOPICS)
        for index in range(len(film.seconds)):
            for topic, message, stamp_ns in _instant(messages, film, index, topics):
                writer.write_message(topic=topic, message=message, log_time=stamp_ns, publish_time=stamp_ns)


def _mcap_packages() -> tuple:
    try:
        from foxglove_schemas_protobuf import FrameTransform_pb2, PoseInFrame_pb2, SceneUpdate_pb2, VoxelGrid_pb2
        from mcap_protobuf.writer import Writer
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed, MCAP needs it: pip install 'occflow[export]'") from None
    return Writer, {"tf": FrameTransform_pb2.FrameTransform, "pose": PoseInFrame_pb2.PoseInFrame,
                    "scene": SceneUpdate_pb2.SceneUpdate, "voxels": VoxelGrid_pb2.VoxelGrid}


def _instant(messages: dict, film: Film, index: int, topics: Mapping[str, str]):
    """(topic, message, nanoseconds) of everything at one instant."""
    anchor = film.anchor(index)
    pose, stamp_ns = anchor.world_from_grid, round(anchor.stamp_s * 1e9)
    stamp = dict(zip(("seconds", "nanos"), divmod(stamp_ns, 10**9)))
    yield "/tf", messages["tf"](timestamp=stamp, parent_frame_id="world", child_frame_id="ego",
                                translation=_vector(pose[:3, 3]), rotation=_quaternion(pose)), stamp_ns
    yield "/ego", messages["pose"](timestamp=stamp, frame_id="world", pose=_pose(pose)), stamp_ns
    if anchor.boxes:
        yield f"/{OBJECTS}", messages["scene"](entities=[_entity(box, stamp) for box in anchor.boxes]), stamp_ns
    for name, frames in film.sources.items():
        observed = name in (HISTORY, OCCUPANCY, CAUSAL)
        if observed and index > film.now or name not in (HISTORY, OCCUPANCY, CAUSAL) and index <= film.now:
            continue  # what was seen until the present, what is forecast after it
        yield f"/{topics[name]}", _voxels(messages["voxels"], film.grid, frames[index], stamp), stamp_ns


def _voxels(message: type, grid: VoxelGrid, frame: OccupancyFrame, stamp: dict):
    """foxglove.VoxelGrid: slices of z, rows of y, columns of x; colours as the viewer has them."""
    cells = np.zeros((grid.num_voxels, len(CELL)), dtype=np.uint8)
    cells[:, -1] = FREE_LABEL
    cells[frame.flat, :3] = np.rint(class_colours(grid, frame))
    cells[frame.flat, 3], cells[frame.flat, 4] = OPAQUE, frame.labels
    corner = frame.world_from_grid.copy()
    corner[:3, 3] += corner[:3, :3] @ np.array(grid.origin_m)
    columns, rows, _ = grid.shape
    return message(timestamp=stamp, frame_id="world", pose=_pose(corner), cell_size=_vector([grid.voxel_size_m] * 3),
                   column_count=columns, row_count=rows, cell_stride=len(CELL), row_stride=columns * len(CELL),
                   slice_stride=rows * columns * len(CELL),
                   fields=[{"name": name, "offset": offset, "type": "UINT8"} for offset, name in enumerate(CELL)],
                   data=cells.reshape(*grid.shape, len(CELL)).transpose(2, 1, 0, 3).tobytes())


def _entity(box: Box, stamp: dict) -> dict:
    """foxglove.SceneEntity of a track, gone when the next frame comes."""
    colour = {name: float(value) / 255 for name, value in zip("rgb", CLASS_COLOURS[box.label])}
    cube = {"pose": _pose(box.world_from_box), "size": _vector(box.size_lwh_m), "color": {**colour, "a": BOX_ALPHA}}
    return {"id": box.track, "frame_id": "world", "timestamp": stamp, "lifetime": {"nanos": BOX_LIFETIME_NS},
            "cubes": [cube]}


def _pose(pose: np.ndarray) -> dict:
    return {"position": _vector(pose[:3, 3]), "orientation": _quaternion(pose)}


def _vector(values: Sequence[float]) -> dict:
    return dict(zip("xyz", map(float, values)))


def _quaternion(pose: np.ndarray) -> dict:
    return dict(zip("wxyz", map(float, quaternion_wxyz(pose))))


def write_rerun(path: Path, film: Film) -> None:
    """Write every source of a film at all its instants as a Rerun recording: voxels are solid boxes, on one clock.

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
