"""A drive of any log, written in the formats in which others keep theirs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from occflow.geometry import quaternion_wxyz, transform
from occflow.grid import CLASS_NAMES
from occflow.logs.argoverse2 import CATEGORIES_OF_CLASS
from occflow.logs.protocol import Box, Sweep
from occflow.logs.trajectory import Trajectory, tum_text


def write_scan(path: Path, points: np.ndarray, encoding: str = "binary_compressed") -> None:
    """Points [N, 3] as a file of the kind that its name says."""
    points = np.asarray(points, np.float32)
    if path.suffix == ".bin":
        columns = 5 if path.name.endswith(".pcd.bin") else 4
        np.concatenate([points, np.zeros((len(points), columns - 3), np.float32)], axis=1).tofile(path)
    elif path.suffix == ".npy":
        np.save(path, points)
    elif path.suffix == ".pcd":
        from pypcd4 import Encoding, PointCloud

        PointCloud.from_xyz_points(points).save(path, encoding=Encoding(encoding))
    else:
        header = (f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n"
                  "property float x\nproperty float y\nproperty float z\nend_header\n")
        path.write_bytes(header.encode() + points.astype("<f4").tobytes())


def write_folder(root: Path, sweeps: Sequence[Sweep], suffix: str = ".bin", poses: str | None = "tum",
                 times: bool = False) -> Path:
    """Scans named after their time (or counted, with a times.txt), and a poses.txt in TUM's or KITTI's form."""
    (root / "scans").mkdir(parents=True)
    for number, sweep in enumerate(sweeps):
        name = f"{number:06d}" if times else f"{sweep.stamp_s:.6f}"
        write_scan(root / f"scans/{name}{suffix}", sweep.points_sensor)
    stamps_s, world = np.array([sweep.stamp_s for sweep in sweeps]), np.stack([s.world_from_sensor for s in sweeps])
    if times:
        (root / "times.txt").write_text("".join(f"{stamp_s:.6f}\n" for stamp_s in stamps_s))
    if poses == "tum":
        (root / "poses.txt").write_text(tum_text(Trajectory(stamps_s, world)))
    elif poses == "kitti":
        rows = ("".join(f"{value:.9f} " for value in pose[:3].reshape(-1)) + "\n" for pose in world)
        (root / "poses.txt").write_text("".join(rows))
    return root


ROS_KINDS = {"ros1": ".bag", "sqlite3": "", "mcap": ""}


def write_rosbag(path: Path, sweeps: Sequence[Sweep], kind: str = "mcap", poses: str = "odometry",
                 times: np.ndarray | None = None, mount: np.ndarray | None = None,
                 stamps_s: Sequence[float] | None = None, body: str = "base_link") -> Path:
    """A ROS recording: /points in the frame `lidar`, which sits on `base_link` as `mount` says (vehicle_from_sensor),
    and the poses of that as /odom, as /tf of a chain map, odom, base_link, or not at all ("").

    Args:
        times: [N] float32, when each of N points was measured after its sweep's stamp.
        stamps_s: what the headers of the points say, where that is not when they were recorded.
        body: the frame whose poses /odom has; "lidar": those of the sensor.
    """
    from rosbags.rosbag1 import Writer as Writer1
    from rosbags.rosbag2 import StoragePlugin
    from rosbags.rosbag2 import Writer as Writer2
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC if kind == "ros1" else Stores.ROS2_HUMBLE)
    if kind == "ros1":
        store.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", "tf2_msgs/msg/TFMessage"))
    path = path.with_suffix(ROS_KINDS[kind])
    writer = Writer1(path) if kind == "ros1" else Writer2(path, version=9, storage_plugin=StoragePlugin[kind.upper()])
    mount = np.eye(4) if mount is None else mount
    path.parent.mkdir(parents=True, exist_ok=True)
    with writer:
        messages = _Messages(store, kind == "ros1")
        topics = {"/points": "sensor_msgs/msg/PointCloud2", "/tf_static": "tf2_msgs/msg/TFMessage",
                  "/odom": "nav_msgs/msg/Odometry", "/tf": "tf2_msgs/msg/TFMessage"}
        known = {topic: writer.add_connection(topic, message, typestore=store) for topic, message in topics.items()
                 if topic not in ({"/tf"} if poses == "odometry" else {"/odom"} if poses == "tf" else {"/odom", "/tf"})}

        def write(topic: str, stamp_s: float, message: object) -> None:
            serialize = store.serialize_ros1 if kind == "ros1" else store.serialize_cdr
            writer.write(known[topic], round(stamp_s * 1e9), serialize(message, topics[topic]))

        write("/tf_static", sweeps[0].stamp_s, messages.transforms(sweeps[0].stamp_s, [("base_link", "lidar", mount)]))
        for number, sweep in enumerate(sweeps):
            fixed = (mount == np.eye(4)).all()
            world_from_vehicle = sweep.world_from_sensor if fixed else sweep.world_from_sensor @ np.linalg.inv(mount)
            if poses == "odometry":
                write("/odom", sweep.stamp_s, messages.odometry(sweep.stamp_s, world_from_vehicle, body))
            elif poses == "tf":
                write("/tf", sweep.stamp_s, messages.transforms(
                    sweep.stamp_s, [("map", "odom", np.eye(4)), ("odom", "base_link", world_from_vehicle)]))
            stamp_s = sweep.stamp_s if stamps_s is None else stamps_s[number]
            write("/points", sweep.stamp_s, messages.cloud(stamp_s, sweep.points_sensor, times))
    return path


class _Messages:
    """Makes messages of one generation of ROS."""

    def __init__(self, store: object, ros1: bool) -> None:
        self._types, self._ros1 = store.types, ros1

    def _header(self, stamp_s: float, frame: str) -> object:
        nanoseconds = round(stamp_s * 1e9)
        stamp = self._types["builtin_interfaces/msg/Time"](*divmod(nanoseconds, 1_000_000_000))
        own = {"seq": 0} if self._ros1 else {}
        return self._types["std_msgs/msg/Header"](**own, stamp=stamp, frame_id=frame)

    def _turn(self, pose: np.ndarray) -> object:
        w, x, y, z = quaternion_wxyz(pose)
        return self._types["geometry_msgs/msg/Quaternion"](x=x, y=y, z=z, w=w)

    def transforms(self, stamp_s: float, edges: Sequence[tuple[str, str, np.ndarray]]) -> object:
        vector, types = self._types["geometry_msgs/msg/Vector3"], self._types
        return types["tf2_msgs/msg/TFMessage"]([types["geometry_msgs/msg/TransformStamped"](
            self._header(stamp_s, parent), child, types["geometry_msgs/msg/Transform"](
                vector(*pose[:3, 3]), self._turn(pose))) for parent, child, pose in edges])

    def odometry(self, stamp_s: float, pose: np.ndarray, body: str) -> object:
        types, zero = self._types, self._types["geometry_msgs/msg/Vector3"](0.0, 0.0, 0.0)
        place = types["geometry_msgs/msg/Pose"](types["geometry_msgs/msg/Point"](*pose[:3, 3]), self._turn(pose))
        still = types["geometry_msgs/msg/Twist"](zero, zero)
        twist = types["geometry_msgs/msg/TwistWithCovariance"](still, np.zeros(36))
        return types["nav_msgs/msg/Odometry"](self._header(stamp_s, "odom"), body,
                                              types["geometry_msgs/msg/PoseWithCovariance"](place, np.zeros(36)), twist)

    def cloud(self, stamp_s: float, points: np.ndarray, times: np.ndarray | None) -> object:
        names = ["x", "y", "z", *([] if times is None else ["time"])]
        rows = np.zeros(len(points), [(name, "<f4") for name in names])
        for axis, values in zip("xyz", np.asarray(points, np.float32).T):
            rows[axis] = values
        if times is not None:
            rows["time"] = times
        field = self._types["sensor_msgs/msg/PointField"]
        fields = [field(name, 4 * number, 7, 1) for number, name in enumerate(names)]
        return self._types["sensor_msgs/msg/PointCloud2"](
            self._header(stamp_s, "lidar"), 1, len(points), fields, False, rows.itemsize, rows.nbytes,
            np.frombuffer(rows.tobytes(), np.uint8), True)


def write_argoverse2(root: Path, sweeps: Sequence[Sweep], boxes: Sequence[Sequence[Box]] = (), name: str = "log-1",
                     axle_m: float = 0.33) -> Path:
    """ROOT/NAME in the files of Argoverse 2: the egovehicle is `axle_m` over the ego frame on the road, the sensor the
    upper scanner, points are in the egovehicle's frame, boxes (one list a sweep, in the world) too."""
    import pyarrow as pa
    from pyarrow import feather

    folder = root / name
    (folder / "sensors/lidar").mkdir(parents=True)
    (folder / "calibration").mkdir()
    ego_from_axle = np.eye(4)
    ego_from_axle[2, 3] = axle_m
    world = [sweep.world_from_ego @ ego_from_axle for sweep in sweeps]
    stamps_ns = [round(sweep.stamp_s * 1e6) * 1000 for sweep in sweeps]
    axle_from_sensor = np.linalg.inv(world[0]) @ sweeps[0].world_from_sensor

    def write(path: Path, columns: dict[str, object]) -> None:
        feather.write_feather(pa.table(columns), path, compression="lz4")

    write(folder / "calibration/egovehicle_SE3_sensor.feather",
          {"sensor_name": ["up_lidar", "down_lidar"], **_seven([axle_from_sensor] * 2)})
    write(folder / "city_SE3_egovehicle.feather", {"timestamp_ns": stamps_ns, **_seven(world)})
    for stamp_ns, sweep in zip(stamps_ns, sweeps):
        points = transform(axle_from_sensor, sweep.points_sensor).astype(np.float32)
        write(folder / f"sensors/lidar/{stamp_ns}.feather",
              {**dict(zip("xyz", points.T)), "intensity": np.zeros(len(points), np.uint8)})
    rows = [(stamp_ns, box, np.linalg.inv(pose) @ box.world_from_box)
            for stamp_ns, pose, found in zip(stamps_ns, world, boxes) for box in found]
    if rows:
        write(folder / "annotations.feather", {
            "timestamp_ns": [row[0] for row in rows], "track_uuid": [row[1].track for row in rows],
            "category": [CATEGORIES_OF_CLASS[CLASS_NAMES[row[1].label]][0] for row in rows],
            **{f"{side}_m": [float(row[1].size_lwh_m[place]) for row in rows]
               for place, side in enumerate(("length", "width", "height"))}, **_seven([row[2] for row in rows])})
    return folder


def _seven(poses: Sequence[np.ndarray]) -> dict[str, list[float]]:
    """Poses as the columns of Argoverse 2."""
    turns = [quaternion_wxyz(pose) for pose in poses]
    return {**{f"q{part}": [float(turn[place]) for turn in turns] for place, part in enumerate("wxyz")},
            **{f"t{part}_m": [float(pose[place, 3]) for pose in poses] for place, part in enumerate("xyz")}}
