"""A film as an MCAP file that Foxglove opens: voxels, objects and poses on one clock.

Topics: /SOURCE (foxglove.VoxelGrid, one for each source), /objects (foxglove.SceneUpdate), /ego (foxglove.PoseInFrame)
and /tf (foxglove.FrameTransform, world -> ego). Frames are those of data/README.md: "world", and "ego", the grid's.
A forecast lies at the time it speaks of. Messages are protobuf.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from occflow.atomic import atomic_file
from occflow.errors import InputError
from occflow.geometry import quaternion_wxyz
from occflow.grid import VoxelGrid
from occflow.logs.protocol import Box
from occflow.occupancy.frame import OccupancyFrame
from occflow.viewing.film import CAUSAL, HISTORY, OCCUPANCY, Film, plain_names
from occflow.viewing.palette import CLASS_COLOURS
from occflow.viewing.scene import class_colours

CELL = ("red", "green", "blue", "alpha", "label")  # one byte each; alpha 0 where nothing is
MAX_STAMP_S = 9e9  # of nanoseconds in 63 bits
OWN_TOPICS = ("tf", "ego", "objects")
OPAQUE, BOX_ALPHA = 255, 0.25
FREE_LABEL = 255


def write_mcap(path: Path, film: Film) -> None:
    """Write every source of a film at all its instants.

    Raises:
        InputError: the packages of the extra "export" are missing, or an instant that MCAP cannot hold.
    """
    writer_of, messages = _packages()
    stamps_s = [film.anchor(index).stamp_s for index in range(len(film.seconds))]
    if not all(0 <= stamp_s <= MAX_STAMP_S for stamp_s in stamps_s):
        raise InputError(f"{film.scene}: its time stamps, {min(stamps_s):g} to {max(stamps_s):g} s, are not within 0 "
                         f"and {MAX_STAMP_S:g}; MCAP holds no others, export to rrd or ply")
    with atomic_file(Path(path)) as partial, partial.open("wb") as stream, writer_of(stream) as writer:
        topics = plain_names(film.sources, taken=OWN_TOPICS)
        for index in range(len(film.seconds)):
            for topic, message, stamp_ns in _instant(messages, film, index, topics):
                writer.write_message(topic=topic, message=message, log_time=stamp_ns, publish_time=stamp_ns)


def _packages() -> tuple:
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
    stamp_ns = round(anchor.stamp_s * 1e9)
    yield "/tf", _transform(messages["tf"](), anchor, stamp_ns), stamp_ns
    yield "/ego", _ego(messages["pose"](), anchor, stamp_ns), stamp_ns
    if anchor.boxes:
        yield "/objects", _objects(messages["scene"](), anchor.boxes, stamp_ns), stamp_ns
    for name, frames in film.sources.items():
        observed = name in (HISTORY, OCCUPANCY, CAUSAL)
        if observed and index > film.now or name not in (HISTORY, OCCUPANCY, CAUSAL) and index <= film.now:
            continue  # what was seen until the present, what is forecast after it
        yield f"/{topics[name]}", _voxels(messages["voxels"](), film.grid, frames[index], stamp_ns), stamp_ns


def _voxels(message, grid: VoxelGrid, frame: OccupancyFrame, stamp_ns: int):
    """foxglove.VoxelGrid: slices of z, rows of y, columns of x; colours as the viewer has them."""
    cells = np.zeros((grid.num_voxels, len(CELL)), dtype=np.uint8)
    cells[:, -1] = FREE_LABEL
    cells[frame.flat, :3] = np.rint(class_colours(grid, frame))
    cells[frame.flat, 3], cells[frame.flat, 4] = OPAQUE, frame.labels
    message.timestamp.FromNanoseconds(stamp_ns)
    message.frame_id = "world"
    corner = frame.world_from_grid.copy()
    corner[:3, 3] += corner[:3, :3] @ np.array(grid.origin_m)
    _set_pose(message.pose, corner)
    message.column_count, message.row_count = grid.shape[0], grid.shape[1]
    for axis in ("x", "y", "z"):
        setattr(message.cell_size, axis, grid.voxel_size_m)
    message.cell_stride = len(CELL)
    message.row_stride = message.cell_stride * message.column_count
    message.slice_stride = message.row_stride * message.row_count
    for offset, name in enumerate(CELL):
        field = message.fields.add(name=name, offset=offset)
        field.type = field.UINT8
    message.data = cells.reshape(*grid.shape, len(CELL)).transpose(2, 1, 0, 3).tobytes()
    return message


def _transform(message, frame: OccupancyFrame, stamp_ns: int):
    message.timestamp.FromNanoseconds(stamp_ns)
    message.parent_frame_id, message.child_frame_id = "world", "ego"
    _set_vector(message.translation, frame.world_from_grid[:3, 3])
    _set_quaternion(message.rotation, frame.world_from_grid)
    return message


def _ego(message, frame: OccupancyFrame, stamp_ns: int):
    message.timestamp.FromNanoseconds(stamp_ns)
    message.frame_id = "world"
    _set_pose(message.pose, frame.world_from_grid)
    return message


def _objects(message, boxes: tuple[Box, ...], stamp_ns: int):
    """foxglove.SceneUpdate: one entity a track, gone when the next frame comes."""
    for box in boxes:
        entity = message.entities.add(id=box.track, frame_id="world")
        entity.timestamp.FromNanoseconds(stamp_ns)
        entity.lifetime.FromMilliseconds(500)
        cube = entity.cubes.add()
        _set_pose(cube.pose, box.world_from_box)
        _set_vector(cube.size, box.size_lwh_m)
        cube.color.r, cube.color.g, cube.color.b = (float(value) / 255 for value in CLASS_COLOURS[box.label])
        cube.color.a = BOX_ALPHA
    return message


def _set_pose(message, pose: np.ndarray) -> None:
    _set_vector(message.position, pose[:3, 3])
    _set_quaternion(message.orientation, pose)


def _set_vector(message, values: np.ndarray) -> None:
    message.x, message.y, message.z = (float(value) for value in values)


def _set_quaternion(message, pose: np.ndarray) -> None:
    message.w, message.x, message.y, message.z = (float(value) for value in quaternion_wxyz(pose))
