"""A drive as an MCAP file, and the layout with which Foxglove shows it (docs/viewer.md)."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from occflow.atomic import atomic_file, write_json
from occflow.errors import InputError
from occflow.geometry import quaternion_wxyz
from occflow.grid import CLASS_NAMES, VoxelGrid
from occflow.logs.protocol import Box, Sweep
from occflow.viewing.drive import EGO, FORECAST, ISSUED, LEGEND, LIDAR, OBJECTS, PROBABILITY, TF, Drive, Instant, Shown
from occflow.viewing.palette import palette_named
from occflow.viewing.panels import class_entries, legend, share_entries, stack
from occflow.viewing.scene import class_colours, likely_colours

CELL = ("red", "green", "blue", "alpha", "label", "percent")  # one byte each; percent: the share of samples
MAX_STAMP_S = 9e9  # of nanoseconds in 63 bits
OPAQUE, BOX_ALPHA, BOX_LIFETIME_NS = 255, 0.25, 500_000_000
ALL, NOTHING = 100, 255  # percent; label of a cell where nothing is
POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1"),
                  ("alpha", "u1")])
POINT_GREY = 110  # of points without a class
LEGEND_PX, LEGEND_TEXT_PX = 420, 20
Message = tuple[str, object, int, int]  # topic, message, when it is shown and when it was made, nanoseconds


def write_mcap(path: Path, drive: Drive, palette: str) -> None:
    """Write every grid of a drive at all its instants as an MCAP file that Foxglove opens, on one clock.

    Topics: /NAME (foxglove.VoxelGrid, one for each name of a grid), /lidar (foxglove.PointCloud), /objects
    (foxglove.SceneUpdate), /ego (foxglove.PoseInFrame), /tf (foxglove.FrameTransform, world -> ego), /legend
    (foxglove.CompressedImage) and /issued (foxglove.SceneUpdate: of each forecast at hand, as metadata, when it was
    made). Frames are those of data/README.md: "world", and "ego", the grid's. A forecast lies at the time that it
    speaks of: that is its log time and its stamp; its publish time is when it was made. Messages are protobuf.

    Raises:
        InputError: the packages of the extra "export" are missing, or an instant that MCAP cannot hold.
    """
    writer_of, messages = _mcap_packages()
    stamps_s = drive.stamps_s
    if not all(0 <= stamp_s <= MAX_STAMP_S for stamp_s in stamps_s):
        raise InputError(f"{drive.scene}: its time stamps, {min(stamps_s):g} to {max(stamps_s):g} s, are not within 0 "
                         f"and {MAX_STAMP_S:g}; MCAP holds no others, export to rrd or ply")
    with atomic_file(Path(path)) as partial, partial.open("wb") as stream, writer_of(stream) as writer:
        writer.add_metadata("occflow", {
            "scene": drive.scene, "log_time": "the time that a message speaks of",
            "publish_time": "of a forecast: the time at which it was made",
            "voxel_size_m": f"{drive.grid.voxel_size_m}",
            **{f"class {label}": f"{name} #{bytes(colour.tolist()).hex()}"
               for label, (name, colour) in enumerate(zip(CLASS_NAMES, palette_named(palette)))}})
        picture = messages["image"](timestamp=_stamp(_ns(stamps_s[0])), frame_id=LEGEND, format="png",
                                    data=legend_png(palette))
        writer.write_message(f"/{LEGEND}", picture, *2 * (_ns(stamps_s[0]),))
        for event in drive.events():
            found = _sweep(messages, event, palette) if isinstance(event, Sweep) else \
                _instant(messages, drive, event, palette)
            for topic, message, stamp_ns, made_ns in found:
                writer.write_message(topic=f"/{topic}", message=message, log_time=stamp_ns, publish_time=made_ns)


def legend_png(palette: str) -> bytes:
    """The classes and their colours, and those of shares of samples, as a picture."""
    picture = io.BytesIO()
    entries = class_entries(range(len(CLASS_NAMES)), True, palette)[:-1]  # the ego vehicle is not among the voxels
    strips = [legend(LEGEND_PX, LEGEND_TEXT_PX, "classes", entries),
              legend(LEGEND_PX, LEGEND_TEXT_PX, "samples", share_entries())]
    stack(strips, LEGEND_TEXT_PX, LEGEND_TEXT_PX // 2).save(picture, format="PNG")
    return picture.getvalue()


def _mcap_packages() -> tuple:
    try:
        from foxglove_schemas_protobuf import (
            CompressedImage_pb2,
            FrameTransform_pb2,
            PointCloud_pb2,
            PoseInFrame_pb2,
            SceneUpdate_pb2,
            VoxelGrid_pb2,
        )
        from mcap_protobuf.writer import Writer
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed, MCAP needs it: pip install 'occflow[export]'") from None
    return Writer, {"tf": FrameTransform_pb2.FrameTransform, "pose": PoseInFrame_pb2.PoseInFrame,
                    "scene": SceneUpdate_pb2.SceneUpdate, "voxels": VoxelGrid_pb2.VoxelGrid,
                    "points": PointCloud_pb2.PointCloud, "image": CompressedImage_pb2.CompressedImage}


def _instant(messages: dict, drive: Drive, event: Instant, palette: str) -> Iterator[Message]:
    """Everything at one instant."""
    pose, stamp_ns = event.anchor.world_from_grid, _ns(event.stamp_s)
    stamp, now = _stamp(stamp_ns), (stamp_ns, stamp_ns)
    yield TF, messages["tf"](timestamp=stamp, parent_frame_id="world", child_frame_id="ego",
                             translation=_vector(pose[:3, 3]), rotation=_quaternion(pose)), *now
    yield EGO, messages["pose"](timestamp=stamp, frame_id="world", pose=_pose(pose)), *now
    if event.anchor.boxes:
        entities = [_entity(box, stamp, palette) for box in event.anchor.boxes]
        yield OBJECTS, messages["scene"](entities=entities), *now
    for one in event.shown:
        message = _voxels(messages["voxels"], drive.grid, one, stamp, palette)
        yield one.name, message, stamp_ns, stamp_ns if one.issued_s is None else _ns(one.issued_s)
    made = [_made(one, event.stamp_s, stamp) for one in event.shown if one.issued_s is not None]
    if made or any(one.name.startswith((FORECAST, PROBABILITY)) for one in event.shown):  # or none any more
        yield ISSUED, messages["scene"](entities=made), *now


def _voxels(message: type, grid: VoxelGrid, shown: Shown, stamp: dict, palette: str):
    """foxglove.VoxelGrid of the smallest box that holds what is there: slices of z, rows of y, columns of x; colours as
    the viewer has them."""
    frame, likely = shown.frame, shown.likely
    flat = frame.flat if likely is None else likely.flat
    places = grid.unflatten(flat)  # [N, 3]
    first, last = (places.min(axis=0), places.max(axis=0)) if len(flat) else (np.zeros(3, int), np.zeros(3, int))
    columns, rows, slices = (last - first + 1).tolist()
    cells = np.zeros((slices, rows, columns, len(CELL)), dtype=np.uint8)
    x, y, z = (places - first).T
    if likely is None:
        values = np.rint(class_colours(grid, frame, palette)), frame.labels, np.full(len(flat), ALL)
    else:
        values = np.rint(likely_colours(likely)), likely.labels, np.rint(ALL * likely.probability)
    cells[..., 4] = NOTHING
    cells[z, y, x, :3], cells[z, y, x, 4], cells[z, y, x, 5] = values
    cells[z, y, x, 3] = OPAQUE
    corner = frame.world_from_grid.copy()
    corner[:3, 3] += corner[:3, :3] @ (np.array(grid.origin_m) + first * grid.voxel_size_m)
    return message(timestamp=stamp, frame_id="world", pose=_pose(corner), cell_size=_vector([grid.voxel_size_m] * 3),
                   column_count=columns, row_count=rows, cell_stride=len(CELL), row_stride=columns * len(CELL),
                   slice_stride=rows * columns * len(CELL), data=cells.tobytes(),
                   fields=_fields(CELL, range(len(CELL)), ["UINT8"] * len(CELL)))


def _sweep(messages: dict, sweep: Sweep, palette: str) -> Iterator[Message]:
    """A sweep's points in the sensor's frame, coloured by class where they have one."""
    points = np.zeros(len(sweep.points_sensor), POINT)
    points["x"], points["y"], points["z"] = sweep.points_sensor.T
    colours = point_colours(sweep, palette)
    points["red"], points["green"], points["blue"] = colours.T
    points["alpha"] = OPAQUE
    stamp_ns = _ns(sweep.stamp_s)
    types = ["FLOAT32"] * 3 + ["UINT8"] * 4
    yield LIDAR, messages["points"](
        timestamp=_stamp(stamp_ns), frame_id="world", pose=_pose(sweep.world_from_sensor), point_stride=POINT.itemsize,
        fields=_fields(POINT.names, [POINT.fields[name][1] for name in POINT.names], types),
        data=points.tobytes()), stamp_ns, stamp_ns


def point_colours(sweep: Sweep, palette: str) -> np.ndarray:
    """Colours [N, 3] uint8 of a sweep's points."""
    greys = np.full((len(sweep.points_sensor), 3), POINT_GREY, np.uint8)
    if sweep.labels is None:
        return greys
    known = sweep.labels < len(CLASS_NAMES)
    return np.where(known[:, None], palette_named(palette)[np.where(known, sweep.labels, 0)], greys)


def _fields(names: Sequence[str], offsets: Sequence[int], types: Sequence[str]) -> list[dict]:
    return [{"name": name, "offset": offset, "type": kind} for name, offset, kind in zip(names, offsets, types)]


def _entity(box: Box, stamp: dict, palette: str) -> dict:
    """foxglove.SceneEntity of a track, gone when the next frame comes."""
    colour = {name: float(value) / 255 for name, value in zip("rgb", palette_named(palette)[box.label])}
    cube = {"pose": _pose(box.world_from_box), "size": _vector(box.size_lwh_m), "color": {**colour, "a": BOX_ALPHA}}
    return {"id": box.track, "frame_id": "world", "timestamp": stamp, "lifetime": {"nanos": BOX_LIFETIME_NS},
            "cubes": [cube]}


def _made(shown: Shown, stamp_s: float, stamp: dict) -> dict:
    """foxglove.SceneEntity without a shape: what was forecast when."""
    values = {"issued_s": shown.issued_s, "target_s": stamp_s, "ahead_s": stamp_s - shown.issued_s}
    return {"id": shown.name, "frame_id": "world", "timestamp": stamp,
            "metadata": [{"key": key, "value": f"{value:.3f}"} for key, value in values.items()]}


def _ns(stamp_s: float) -> int:
    return round(stamp_s * 1e9)


def _stamp(stamp_ns: int) -> dict:
    return dict(zip(("seconds", "nanos"), divmod(stamp_ns, 10**9)))


def _pose(pose: np.ndarray) -> dict:
    return {"position": _vector(pose[:3, 3]), "orientation": _quaternion(pose)}


def _vector(values: Sequence[float]) -> dict:
    return dict(zip("xyz", map(float, values)))


def _quaternion(pose: np.ndarray) -> dict:
    return dict(zip("wxyz", map(float, quaternion_wxyz(pose))))


def write_layout(path: Path, drive: Drive) -> None:
    """Write the layout with which Foxglove shows a drive as the viewer does: what was there and, beside it, what was
    forecast of the same instant, from behind the vehicle; the legend; when the forecasts were made."""
    first, *others = drive.names
    beside = next((name for name in others if not name.startswith(PROBABILITY)), first)
    pictures = {"3D!there": _view([first, OBJECTS], drive.names), "3D!forecast": _view([beside, OBJECTS], drive.names),
                f"Image!{LEGEND}": {"imageMode": {"imageTopic": f"/{LEGEND}"}},
                f"RawMessages!{ISSUED}": {"topicPath": f"/{ISSUED}", "diffEnabled": False}}
    there, forecast, explained, made = pictures
    write_json(path, {"configById": pictures, "globalVariables": {}, "userNodes": {}, "playbackConfig": {"speed": 1},
                      "layout": _split("row", 78, _split("row", 50, there, forecast),
                                       _split("column", 60, explained, made))})


def _split(direction: str, percent: int, first: str | dict, second: str | dict) -> dict:
    return {"direction": direction, "splitPercentage": percent, "first": first, "second": second}


def _view(visible: Sequence[str], grids: Sequence[str]) -> dict:
    """A 3D panel that follows the vehicle and shows some of the topics; the others are a click away."""
    topics = {f"/{name}": {"visible": name in visible, "colorMode": "rgba-fields"} for name in grids}
    topics |= {f"/{LIDAR}": {"visible": False, "colorMode": "rgba-fields", "pointSize": 2},
               f"/{OBJECTS}": {"visible": OBJECTS in visible}, f"/{EGO}": {"visible": True, "type": "axis"},
               f"/{ISSUED}": {"visible": False}}
    camera = {"perspective": True, "distance": 60, "phi": 50, "thetaOffset": 90, "fovy": 45, "near": 0.5, "far": 5000,
              "target": [0, 0, 0], "targetOffset": [0, 0, 0], "targetOrientation": [0, 0, 0, 1]}
    return {"cameraState": camera, "followMode": "follow-pose", "followTf": "ego", "topics": topics, "layers": {},
            "scene": {"backgroundColor": "#fafafc"}, "transforms": {}}
