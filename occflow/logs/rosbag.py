"""ROS recordings: PointCloud2 for scans, nav_msgs/Odometry or /tf for poses, /tf_static for where the sensor sits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.geometry import invert
from occflow.logs.cloud import Cloud
from occflow.logs.fingerprint import fingerprint_of
from occflow.logs.folder_drives import ESTIMATED
from occflow.logs.mounting import height_by_scans_m, mount_matrix, on_the_road
from occflow.logs.odometry import kept_odometry, method
from occflow.logs.registry import reader
from occflow.logs.rosbag_frames import Frames
from occflow.logs.rosbag_messages import (
    CLOUD,
    NANO,
    ODOMETRY,
    OLD_TRANSFORMS,
    STATIC_TOPIC,
    TRANSFORMS,
    Recording,
    cloud_of,
    frame_name,
    pose_of,
    stamp_ns,
)
from occflow.logs.scan_log import Scan, ScanLog, refuse_stuck, scenes_of_paths
from occflow.logs.trajectory import Trajectory, covered
from occflow.records import one_line

SUFFIXES = (".bag", ".db3", ".mcap")
FROM_TF = "tf"  # in place of a topic of poses
BODIES = ("base_link", "base_footprint")  # what ROS calls a vehicle's own frame
REMEDY = ("point log.root at a .bag, .mcap or .db3 file, the folder of a ROS 2 recording, or a folder of these (see "
          "docs/readers.md)")


@dataclass(frozen=True)
class Drive:
    """What a recording holds, but for the points.

    Args:
        topic: of the scans.
        recorded_ns: [N] when each was recorded, by which it is found again.
        stamps_ns: [N] when each was taken.
        vehicle: where the vehicle was; None where nothing tells.
        vehicle_from_sensor: pose [4, 4].
        mount_told: whether `log.mount` or tf told it; False: the sensor is taken for the vehicle.
    """

    path: Path
    topic: str
    recorded_ns: tuple[int, ...]
    stamps_ns: tuple[int, ...]
    vehicle: Trajectory | None
    vehicle_from_sensor: np.ndarray
    mount_told: bool


@reader("rosbag", "*.bag", "*.db3", "*.mcap", "*/*.bag", "*/*.db3", "*/*.mcap")
class RosbagLog(ScanLog):
    """A DrivingLog over one recording, or a folder of recordings.

    Args:
        root: a .bag, .mcap or .db3 file, the folder of a ROS 2 recording, or a folder of any of these.
        points: topic of the scans; "": the only one of PointCloud2.
        poses: topic of nav_msgs/Odometry, "tf", or "odometry" for poses that are estimated from the scans; "": the only
            topic of Odometry, else tf, else estimated.
        fixed_frame: of tf, in which poses are taken; "": the topmost one.
        mount: of the sensor in the vehicle: x, y, z (metres), roll, pitch, yaw (degrees); []: as /tf_static tells, and
            where it does not, same place, x or y ahead as the drive goes.
        height_m: of the sensor over the road; 0: by the scans themselves.
        cache: folder where estimated poses are kept.

    Raises:
        InputError: no recording, one that cannot be read, or what is ambiguous or missing in it.
    """

    def __init__(self, root: str | Path, points: str = "", poses: str = "", fixed_frame: str = "",
                 mount: Sequence[float] = (), height_m: float = 0.0, cache: str | Path = "runs/odometry") -> None:
        self.root = Path(root).expanduser()
        self._points, self._poses, self._fixed_frame = points, poses, frame_name(fixed_frame)
        self._mount, self._cache = mount_matrix(mount) if mount else None, Path(cache).expanduser()
        self._paths = find_recordings(self.root)
        self._open: Recording | None = None
        self._read: dict[str, Drive] = {}
        files = [file for path in self._paths.values() for file in ([path] if path.is_file() else path.iterdir())]
        self._state = fingerprint_of(self.root.parent, files, (points, poses, fixed_frame, list(mount)))
        first = self._drive(next(iter(self._paths)))
        told = [f"poses estimated by {method()}"] if first.vehicle is None else []
        if not height_m:
            height_m = height_by_scans_m(str(first.path), len(first.stamps_ns),
                                         lambda number: self._cloud(first, number).points, first.vehicle_from_sensor)
            told.append(f"sensor {height_m:.2f} m over the road by its scans")
        self._height_m = height_m
        super().__init__(f"rosbag@{self.root.resolve().name}-{fingerprint_of(self.root, [], (self._state, height_m))}"
                         + (f" ({', '.join(told)})" if told else ""), list(self._paths))

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_open": None}  # another process opens the recording itself

    def is_there(self, scan: Scan) -> bool:
        return True

    def cloud(self, scan: Scan) -> Cloud:
        drive = next(drive for drive in self._read.values() if drive.path == scan.path.parent)
        return self._cloud(drive, drive.stamps_ns.index(int(scan.path.name)))

    def sensor_path(self, scene: str) -> Trajectory:
        drive = self._drive(scene)
        if drive.vehicle is None:
            return super().sensor_path(scene)
        return Trajectory(drive.vehicle.stamps_s, drive.vehicle.poses @ drive.vehicle_from_sensor)

    def ahead_told(self, scene: str) -> bool:
        return self._drive(scene).mount_told

    def scans(self, scene: str) -> list[Scan]:
        drive = self._drive(scene)
        stamps_s = np.array(drive.stamps_ns) * NANO
        refuse_stuck(stamps_s, lambda number: f"{drive.path}, {drive.topic}", "repair the recording")
        ego_from_sensor = on_the_road(drive.vehicle_from_sensor, self._height_m)
        if drive.vehicle is None:
            kept = self._cache / f"{scene}-{self._state}.tum"
            world = ego_from_sensor @ kept_odometry(kept, str(drive.path), stamps_s,
                                                    lambda number: self._cloud(drive, number))
            known = np.ones(len(world), bool)
        else:
            world = drive.vehicle.at(stamps_s) @ drive.vehicle_from_sensor
            known = covered(drive.vehicle, stamps_s, scene, drive.path, f"give {drive.topic} and the poses one clock, "
                            "or have these estimated with log.poses=odometry")
        return [Scan(drive.path / str(drive.stamps_ns[i]), float(stamps_s[i]), world[i],
                     world[i] @ invert(ego_from_sensor)) for i in np.flatnonzero(known)]

    def _cloud(self, drive: Drive, number: int) -> Cloud:
        """Points of a recording's scan."""
        recorded_ns, wanted_ns = drive.recorded_ns[number], drive.stamps_ns[number]
        for _, time_ns, message in self._recording(drive.path).messages([drive.topic], recorded_ns, recorded_ns + 1):
            if stamp_ns(message, time_ns) == wanted_ns:
                try:
                    return cloud_of(message, wanted_ns * NANO)
                except (ValueError, TypeError) as error:
                    raise InputError(f"{drive.path}: {drive.topic} at {wanted_ns * NANO:.6f} s is no usable cloud "
                                     f"({one_line(error)}); repair the recording") from None
        raise InputError(f"{drive.path}: {drive.topic} at {wanted_ns * NANO:.6f} s is gone; copy the recording again")

    def _recording(self, path: Path) -> Recording:
        """The recording, open; one at a time."""
        if self._open is None or self._open.path != path:
            if self._open is not None:
                self._open.close()
            self._open = Recording(path)
        return self._open

    def _drive(self, scene: str) -> Drive:
        if scene not in self._read:
            self._read[scene] = self._index(self._paths[scene])
        return self._read[scene]

    def _index(self, path: Path) -> Drive:
        """Read everything of a recording but the points."""
        recording = self._recording(path)
        topic = only(recording.topics(CLOUD), self._points, path, "sensor_msgs/PointCloud2", "log.points")
        odometry = self._odometry_topic(recording)
        transforms, frames = recording.topics(TRANSFORMS, OLD_TRANSFORMS), Frames()
        recorded_ns, stamps_ns, sensor, poses, child = [], [], "", {}, ""
        for name, time_ns, message in recording.messages([topic, *transforms, *([odometry] if odometry else [])]):
            if name == topic:
                sensor = sensor or frame_name(message.header.frame_id)
                recorded_ns.append(time_ns)
                stamps_ns.append(stamp_ns(message, time_ns))
            elif name == odometry:
                child = child or frame_name(message.child_frame_id)
                pose = message.pose.pose
                poses[stamp_ns(message, time_ns)] = pose_of(pose.position, pose.orientation, f"{path}: {odometry}")
            else:
                frames.add(message, time_ns, name.endswith(STATIC_TOPIC), f"{path}: {name}")
        if odometry:
            times_ns = sorted(poses)
            vehicle = Trajectory(np.array(times_ns) * NANO, np.stack([poses[time_ns] for time_ns in times_ns]))
        else:
            child, vehicle = self._carried(frames, sensor, path)
        mount, told = self._vehicle_from_sensor(frames, child, sensor, path)
        if vehicle is not None and child == sensor:  # poses of the sensor itself
            vehicle = Trajectory(vehicle.stamps_s, vehicle.poses @ invert(mount))
        return Drive(path, topic, tuple(recorded_ns), tuple(stamps_ns), vehicle, mount, told)

    def _odometry_topic(self, recording: Recording) -> str:
        """The topic of poses; "" where they come from tf, or are estimated."""
        topics = recording.topics(ODOMETRY)
        if self._poses in (FROM_TF, ESTIMATED) or not (self._poses or topics):
            return ""
        return only(topics, self._poses, recording.path, "nav_msgs/Odometry", "log.poses")

    def _carried(self, frames: Frames, sensor: str, path: Path) -> tuple[str, Trajectory | None]:
        """The frame that moves with the sensor, and where it was, by tf."""
        found = None if self._poses == ESTIMATED else frames.vehicle_of(sensor, self._fixed_frame)
        if found is None and (self._poses == FROM_TF or self._fixed_frame):
            raise InputError(f"{path}: tf does not tell where the sensor's frame {one_line(repr(sensor))} moves"
                             + (f" in {one_line(repr(self._fixed_frame))}" if self._fixed_frame else "")
                             + "; name a topic of nav_msgs/Odometry with log.poses, or log.poses=odometry")
        return found or ("", None)

    def _vehicle_from_sensor(self, frames: Frames, vehicle: str, sensor: str, path: Path) -> tuple[np.ndarray, bool]:
        """Pose [4, 4], and whether anything tells it: not where poses are of the sensor itself."""
        if self._mount is not None:
            return self._mount, True
        if not vehicle:  # poses are estimated: of the sensor
            known = (frames.fixed_between(body, sensor) for body in BODIES)
            mount = next((mount for mount in known if mount is not None), None)
            return (np.eye(4), False) if mount is None else (mount, True)
        mount = frames.fixed_between(vehicle, sensor)
        if mount is None:
            raise InputError(f"{path}: tf does not tell where the sensor's frame {one_line(repr(sensor))} sits in "
                             f"{one_line(repr(vehicle))}, whose poses there are; tell it with "
                             "log.mount=[x,y,z,roll,pitch,yaw]")
        return mount, vehicle != sensor or sensor in BODIES


def find_recordings(root: Path) -> dict[str, Path]:
    """Recordings by name: a file, the folder of a ROS 2 recording, or all of these in a folder.

    Raises:
        InputError: none, or two of one name.
    """
    if not root.exists():
        raise InputError(f"{root}: no such file or folder; {REMEDY}")
    found = [root] if _is_recording(root) else [path for path in sorted(root.iterdir()) if _is_recording(path)]
    if not found:
        raise InputError(f"{root}: no recording in it; {REMEDY}")
    return scenes_of_paths(found, root)


def _is_recording(path: Path) -> bool:
    return path.suffix in SUFFIXES if path.is_file() else (path / "metadata.yaml").is_file()


def only(topics: list[str], named: str, path: Path, kind: str, key: str) -> str:
    """The topic that is named, or the only one.

    Raises:
        InputError: no such topic, none at all, or several.
    """
    if named in topics or len(topics) == 1 and not named:
        return named or topics[0]
    known = f"it has {one_line(', '.join(topics))}" if topics else "it has none"
    wanted = f"no topic {one_line(repr(named))} of {kind}" if named else f"needs one topic of {kind}"
    raise InputError(f"{path}: {wanted}, {known}; name one with {key}=TOPIC")
