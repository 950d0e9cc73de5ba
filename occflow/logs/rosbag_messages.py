"""Messages of ROS recordings: opened, told apart and read. The only place where rosbags is met.

ROS 1 (.bag) and ROS 2 (sqlite3 and MCAP: a folder with metadata.yaml, a .db3 or .mcap file) are read alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from occflow.errors import InputError
from occflow.geometry import pose_matrix
from occflow.logs.cloud import Cloud, point_offsets_s, time_field
from occflow.logs.registry import needs_extra
from occflow.logs.scan_points import MAX_SCAN_BYTES
from occflow.records import bounded, one_line

CLOUD, ODOMETRY, TRANSFORMS = "sensor_msgs/msg/PointCloud2", "nav_msgs/msg/Odometry", "tf2_msgs/msg/TFMessage"
OLD_TRANSFORMS = "tf/msg/tfMessage"  # of early ROS 1
STATIC_TOPIC = "tf_static"
NANO = 1e-9
TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}  # datatypes of a PointField
UNIT_TOLERANCE = 1e-2  # of a quaternion's norm
MAX_POINT_BYTES = 4096


@contextmanager
def broken_recording(path: Path) -> Iterator[None]:
    """Whatever a library raises on a file that is none of its kind comes out as one line."""
    try:
        yield
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{path}: claims more than there is memory for; copy the recording again") from None
    except Exception as error:
        raise InputError(f"{path}: broken or truncated recording ({one_line(error)}); copy it again, or let ROS repair "
                         "it (rosbag reindex, ros2 bag reindex)") from None


class Recording:
    """An open recording.

    Raises:
        InputError: rosbags is not installed, or the recording cannot be read.
    """

    def __init__(self, path: Path) -> None:
        anyreader = needs_extra("rosbags.highlevel", "ros", f"{path}: reading it")
        typesys = needs_extra("rosbags.typesys", "ros", f"{path}: reading it")
        self.path = path
        with broken_recording(path):
            usual = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)  # of recordings that do not say
            self._reader = anyreader.AnyReader([path], default_typestore=usual)
            self._reader.open()

    def close(self) -> None:
        if self._reader.stack:
            self._reader.close()

    def __del__(self) -> None:
        if hasattr(self, "_reader"):  # it was opened
            self.close()

    def topics(self, *kinds: str) -> list[str]:
        """Topics of some kinds of message, of which there is any."""
        return sorted({one.topic for one in self._reader.connections if one.msgtype in kinds and one.msgcount})

    def messages(self, topics: list[str], from_ns: int | None = None, to_ns: int | None = None) \
            -> Iterator[tuple[str, int, Any]]:
        """Topic, time of recording (nanoseconds) and content of messages, in the order of recording."""
        with broken_recording(self.path):
            chosen = [one for one in self._reader.connections if one.topic in topics]
            for connection, time_ns, raw in self._reader.messages(chosen, start=from_ns, stop=to_ns):
                yield connection.topic, time_ns, self._reader.deserialize(raw, connection.msgtype)


def stamp_ns(message: Any, recorded_ns: int) -> int:
    """When a message was true: what its header says, else when it was recorded."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec) or recorded_ns


def frame_name(name: str) -> str:
    """A frame without the slash that ROS 1 may put before it."""
    return str(name).lstrip("/")


def pose_of(place: Any, turn: Any, what: str) -> np.ndarray:
    """Pose [4, 4] of a message's place and quaternion.

    Raises:
        InputError: not finite, or no rotation.
    """
    place_m = np.array([place.x, place.y, place.z], np.float64)
    wxyz = np.array([turn.w, turn.x, turn.y, turn.z], np.float64)
    if not (np.isfinite(place_m).all() and np.isfinite(wxyz).all()) or abs(np.linalg.norm(wxyz) - 1) > UNIT_TOLERANCE:
        raise InputError(f"{what}: a pose that is not finite and rigid; repair the recording, or name other poses with "
                         "log.poses")
    return pose_matrix(place_m, wxyz)


def cloud_of(message: Any, stamp_s: float) -> Cloud:
    """The points of a PointCloud2, non-finite ones included; with their times where fields give them.

    Raises:
        ValueError: fields or lengths that do not fit together.
    """
    step = int(bounded(int(message.point_step), MAX_POINT_BYTES, "bytes of a point", 1))
    width, height, row_step = int(message.width), int(message.height), int(message.row_step)
    bounded(width * height * step, MAX_SCAN_BYTES, "bytes of its points", 1)
    row_step = row_step if height > 1 else width * step
    if row_step < width * step or len(message.data) < row_step * height:
        raise ValueError(f"{len(message.data)} bytes for {width} x {height} points of {step}")
    order = ">" if message.is_bigendian else "<"
    fields = {str(field.name): field for field in message.fields if int(field.datatype) in TYPES}
    wanted = [name for name in ("x", "y", "z", time_field(fields)) if name is not None]
    missing = [name for name in wanted if name not in fields]
    if missing:
        raise ValueError(f"no field {missing[0]} among {', '.join(fields)}")
    types = [order + TYPES[int(fields[name].datatype)] for name in wanted]
    layout = np.dtype({"names": wanted, "formats": types, "offsets": [int(fields[name].offset) for name in wanted],
                       "itemsize": step})
    rows = np.asarray(message.data).view(np.uint8)[:row_step * height].reshape(height, row_step)[:, :width * step]
    values = np.ascontiguousarray(rows).reshape(-1).view(layout)
    points = np.stack([values[axis].astype(np.float32) for axis in "xyz"], axis=1)
    return Cloud(points, point_offsets_s(values[wanted[3]].astype(types[3].replace(">", "<")), stamp_s)
                 if len(wanted) > 3 else None)
