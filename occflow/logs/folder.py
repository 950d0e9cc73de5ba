"""A folder of scans (PCD, PLY, BIN, NPY) with times and poses beside them, as anybody's own sensor leaves one.

    ROOT/*.pcd    ROOT/times.txt    ROOT/poses.txt        or the scans in a folder of their own in ROOT, or many ROOTs
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.geometry import invert
from occflow.logs.cloud import Cloud
from occflow.logs.cloud_files import bin_columns, read_cloud, scan_suffix
from occflow.logs.fingerprint import fingerprint_of
from occflow.logs.folder_drives import (
    UNITS,
    Drive,
    clock_unit_s,
    find_drives,
    read_times,
    rows_of_scans,
    stamps_of_names,
)
from occflow.logs.mounting import height_by_scans_m, mount_matrix, on_the_road
from occflow.logs.odometry import kept_odometry, method
from occflow.logs.registry import reader
from occflow.logs.scan_log import Scan, ScanLog, refuse_stuck, scenes_of_paths
from occflow.logs.trajectory import Trajectory, covered, read_poses
from occflow.records import one_line

POSES_OF = ("sensor", "vehicle")
MOSTLY = 0.8  # of the scans have poses, where the clocks of both agree
PoseTable = tuple[np.ndarray | None, np.ndarray]  # as `read_poses` gives it


@reader("folder", "*.pcd", "*.ply", "*.npy", "*.bin", "*/*.pcd", "*/*.ply", "*/*.npy")
class FolderLog(ScanLog):
    """A DrivingLog over a folder of scans, or a folder of such folders.

    Args:
        root: the folder.
        poses: file with poses in every drive, in TUM's or KITTI's form; "": one of POSE_FILES, and without any the
            poses are estimated; "odometry": estimated in any case.
        times: file with a time a scan in every drive; "": one of TIME_FILES, else the names of the scans, else the
            times of the poses, else `rate_hz`.
        poses_of: what the poses are of: sensor, or vehicle.
        mount: of the sensor in the vehicle: x, y, z (metres), roll, pitch, yaw (degrees); []: same place, same axes.
        height_m: of the sensor over the road; 0: by the scans themselves.
        rate_hz: scans a second, where nothing tells their times.
        columns: of float32 in a BIN file; 0: what the lengths allow.
        cache: folder where estimated poses are kept.

    Raises:
        InputError: no scans, or settings that are not usable; later on, a missing or broken file.
    """

    def __init__(self, root: str | Path, poses: str = "", times: str = "", poses_of: str = "sensor",
                 mount: Sequence[float] = (), height_m: float = 0.0, rate_hz: float = 10.0, columns: int = 0,
                 cache: str | Path = "runs/odometry") -> None:
        self.root = Path(root).expanduser()
        if poses_of not in POSES_OF:
            raise InputError(f"log.poses_of: {one_line(repr(poses_of))} is not known; known: {', '.join(POSES_OF)}")
        self._poses_of, self._rate_hz, self._cache = poses_of, rate_hz, Path(cache).expanduser()
        self._vehicle_from_sensor, self._told_mount = mount_matrix(mount or [0.0] * 6), bool(mount)
        drives = find_drives(self.root, poses, times)
        named = scenes_of_paths([drive.folder for drive in drives], self.root)
        self._drives = dict(zip(named, drives))
        every = [path for drive in self._drives.values() for path in drive.scans]
        self._columns = columns or (bin_columns(every) if scan_suffix(every[0]) == ".bin" else 0)
        beside = [path for drive in self._drives.values() for path in (drive.poses, drive.times) if path]
        self._state = fingerprint_of(self.root, [*every, *beside], (rate_hz, self._columns))
        told = []
        if any(drive.poses is None for drive in self._drives.values()):
            told.append(f"poses estimated by {method()}")
        if not height_m:
            first = next(iter(self._drives.values()))
            height_m = height_by_scans_m(
                str(first.folder), len(first.scans),
                lambda number: read_cloud(first.scans[number], 0.0, self._columns).points, self._vehicle_from_sensor)
            told.append(f"sensor {height_m:.2f} m over the road by its scans")
        self._ego_from_sensor = on_the_road(self._vehicle_from_sensor, height_m)
        state = fingerprint_of(self.root, [], (self._state, poses_of, self._ego_from_sensor.tolist(),
                                               self._vehicle_from_sensor.tolist()))
        super().__init__(f"folder@{self.root.resolve().name}-{state}" + (f" ({', '.join(told)})" if told else ""),
                         list(self._drives))

    def cloud(self, scan: Scan) -> Cloud:
        return read_cloud(scan.path, scan.stamp_s, self._columns)

    def ahead_told(self, scene: str) -> bool:
        return self._told_mount

    def scans(self, scene: str) -> list[Scan]:
        drive = self._drives[scene]
        found = None if drive.poses is None else read_poses(drive.poses)
        paths, stamps_s = self._stamped(drive, found)
        refuse_stuck(stamps_s, lambda number: str(paths[number]), "repair the times or leave the scan out")
        world = self._world_from_sensor(scene, paths, stamps_s, found)
        scans = [Scan(path, float(stamp_s), pose, pose @ invert(self._ego_from_sensor))
                 for path, stamp_s, pose in zip(paths, stamps_s, world) if pose is not None]
        return scans

    def _stamped(self, drive: Drive, poses: PoseTable | None) -> tuple[list[Path], np.ndarray]:
        """Paths and times [N] of a drive's scans; where a table has rows for scans that are not there, of these too."""
        names_s = stamps_of_names(drive.scans)
        if drive.times is not None:
            stamps_s = read_times(drive.times)
            return rows_of_scans(drive, len(stamps_s), drive.times), stamps_s
        if names_s is not None:
            return list(drive.scans), names_s
        if poses is not None and poses[0] is None:
            paths = rows_of_scans(drive, len(poses[1]), drive.poses)
            return paths, np.arange(len(paths)) / self._rate_hz
        if poses is not None:
            if len(poses[0]) != len(drive.scans):
                raise InputError(f"{drive.poses}: {len(poses[0])} poses with times for {len(drive.scans)} scans "
                                 "without; write a time a scan into times.txt")
            return list(drive.scans), poses[0] * clock_unit_s(poses[0][0])
        return list(drive.scans), np.arange(len(drive.scans)) / self._rate_hz

    def _world_from_sensor(self, scene: str, paths: list[Path], stamps_s: np.ndarray,
                           found: PoseTable | None) -> list[np.ndarray | None]:
        """Poses of the scans; None where none is known."""
        if found is None:
            return list(self._estimated(scene, paths, stamps_s))
        from_sensor = self._vehicle_from_sensor if self._poses_of == "vehicle" else np.eye(4)
        pose_stamps_s, poses = found
        if pose_stamps_s is None:
            if len(poses) != len(paths):
                raise InputError(f"{self._drives[scene].poses}: {len(poses)} poses for {len(paths)} scans; a file of "
                                 "matrices needs one a scan, one with times (TUM) does not")
            return [pose @ from_sensor for pose in poses]
        trajectory = _on_the_clock_of(stamps_s, pose_stamps_s, poses, self._drives[scene].poses)
        known = covered(trajectory, stamps_s, scene, self._drives[scene].poses, "give them one clock")
        return [pose @ from_sensor if tells else None for pose, tells in zip(trajectory.at(stamps_s), known)]

    def _estimated(self, scene: str, paths: list[Path], stamps_s: np.ndarray) -> np.ndarray:
        if not all(path.is_file() for path in paths):
            raise InputError(f"{next(path for path in paths if not path.is_file())}: missing file; poses cannot be "
                             "estimated across it")
        kept = self._cache / f"{scene}-{self._state}.tum"
        first = kept_odometry(kept, str(self._drives[scene].folder), stamps_s,
                              lambda number: read_cloud(paths[number], float(stamps_s[number]), self._columns))
        return self._ego_from_sensor @ first  # the world is the ego frame of the first scan: level


def _on_the_clock_of(stamps_s: np.ndarray, times: np.ndarray, poses: np.ndarray, path: Path) -> Trajectory:
    """Poses over seconds: their times [N] have the unit that their size tells, but for one of UNITS by which they are
    the times of the scans [M] where by the first they are not."""
    usual = clock_unit_s(times[0])
    trajectory = Trajectory(times * usual, poses)
    if trajectory.tells(stamps_s).mean() >= MOSTLY:
        return trajectory
    others = {name: Trajectory(times * unit_s, poses) for name, unit_s in UNITS.items() if unit_s != usual}
    fitting = [name for name, one in others.items() if one.tells(stamps_s).mean() >= MOSTLY]
    if len(fitting) != 1:
        return trajectory
    warnings.warn(f"{path}: its times are taken for {fitting[0]}, by which they are those of the scans", stacklevel=4)
    return others[fitting[0]]
