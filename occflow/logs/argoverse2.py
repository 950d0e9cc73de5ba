"""The Argoverse 2 Sensor Dataset as it is published: a folder a log, tables in Feather files.

    ROOT/[SPLIT/]LOG/sensors/lidar/NS.feather    city_SE3_egovehicle.feather    annotations.feather
    ROOT/[SPLIT/]LOG/calibration/egovehicle_SE3_sensor.feather
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.geometry import invert, pose_matrix, transform
from occflow.grid import CLASS_NAMES
from occflow.logs.cloud import Cloud
from occflow.logs.fingerprint import fingerprint_of
from occflow.logs.mounting import height_by_scans_m
from occflow.logs.protocol import Box
from occflow.logs.registry import needs_extra, reader
from occflow.logs.scan_log import Scan, ScanLog, scenes_of_paths
from occflow.logs.trajectory import Trajectory
from occflow.records import one_line

POSES, BOXES, MOUNTS = "city_SE3_egovehicle.feather", "annotations.feather", "calibration/egovehicle_SE3_sensor.feather"
LIDAR = "up_lidar"  # of the two that stand on one another; whose rays are whose does not matter at our voxels
POSE_COLUMNS = ("tx_m", "ty_m", "tz_m", "qw", "qx", "qy", "qz")
SIZE_COLUMNS = ("length_m", "width_m", "height_m")
SPLITS = ("train", "val", "test")
NANO = 1e-9
UNIT_TOLERANCE = 1e-2  # of a quaternion's norm
MAX_TABLE_BYTES = 256 << 20  # annotations of the longest logs have some 3 MB
CATEGORIES_OF_CLASS = {  # the data set's 30 in our classes
    "barrier": ("BOLLARD",),
    "bicycle": ("BICYCLE", "BICYCLIST"),
    "bus": ("ARTICULATED_BUS", "BUS", "SCHOOL_BUS"),
    "car": ("REGULAR_VEHICLE",),
    "manmade": ("MOBILE_PEDESTRIAN_CROSSING_SIGN", "SIGN", "STOP_SIGN"),
    "motorcycle": ("MOTORCYCLE", "MOTORCYCLIST"),
    "others": ("ANIMAL", "DOG", "RAILED_VEHICLE", "STROLLER", "WHEELCHAIR", "WHEELED_DEVICE", "WHEELED_RIDER"),
    "pedestrian": ("OFFICIAL_SIGNALER", "PEDESTRIAN"),
    "traffic_cone": ("CONSTRUCTION_BARREL", "CONSTRUCTION_CONE"),
    "trailer": ("MESSAGE_BOARD_TRAILER", "TRAFFIC_LIGHT_TRAILER", "VEHICULAR_TRAILER"),
    "truck": ("BOX_TRUCK", "LARGE_VEHICLE", "TRUCK", "TRUCK_CAB"),
}
CLASS_OF_CATEGORY = {category: CLASS_NAMES.index(name) for name, categories in CATEGORIES_OF_CLASS.items()
                     for category in categories}


@reader("argoverse2", POSES, f"*/{POSES}", f"*/*/{POSES}")
class Argoverse2Log(ScanLog):
    """A DrivingLog over one log, a split, or the data set.

    World: the city's frame. Ego: the data set's egovehicle (the middle of the rear axle), lowered to the road. Sensor:
    the upper scanner. Points come corrected for motion, in the ego frame of their instant.

    Args:
        root: the folder of a log, or one that holds logs, in folders of their splits or not.
        height_m: of the upper scanner over the road; 0: by the scans themselves.

    Raises:
        InputError: no log, or no pyarrow; later on, a missing or broken file.
    """

    def __init__(self, root: str | Path, height_m: float = 0.0) -> None:
        self.root = Path(root).expanduser()
        found = [path.parent for depth in ("", "*/", "*/*/") for path in sorted(self.root.glob(f"{depth}{POSES}"))]
        if not found:
            raise InputError(f"{self.root}: no LOG/{POSES}; point log.root at a log, a split or the whole of the "
                             "Argoverse 2 Sensor Dataset (see docs/readers.md)")
        self._folders = scenes_of_paths(found, self.root)
        tables = [folder / name for folder in found for name in (POSES, BOXES, MOUNTS)]
        files = [*tables, *(path for folder in found for path in scans_in(folder))]
        told = "" if height_m else " (height over the road by its scans)"
        self._height_m = height_m
        super().__init__(f"argoverse2@{self.root.resolve().name}-{fingerprint_of(self.root, files, height_m)}{told}",
                         list(self._folders))

    def splits(self) -> dict[str, list[str]]:
        named = {split: [scene for scene, folder in self._folders.items() if folder.resolve().parent.name == split
                         and scene in self._scenes] for split in SPLITS}
        return named if any(named.values()) else super().splits()

    def cloud(self, scan: Scan) -> Cloud:
        points = _ego_points(scan.path)
        sensor_from_ego = invert(_mount(scan.path.parents[2]))
        with np.errstate(invalid="ignore"):  # points that are not finite are dropped, and counted, later
            return Cloud(transform(sensor_from_ego, points).astype(np.float32))

    def scans(self, scene: str) -> list[Scan]:
        folder = self._folders[scene]
        paths, mount = scans_in(folder), _mount(folder)
        table = read_table(folder / POSES, ("timestamp_ns", *POSE_COLUMNS))
        stamps_ns = table["timestamp_ns"].astype(np.int64)
        if not (np.diff(stamps_ns) > 0).all():
            raise InputError(f"{folder / POSES}: time stamps do not increase; download the log again")
        origin_ns = int(stamps_ns[0])  # of times that are exact in float64
        trajectory = Trajectory((stamps_ns - origin_ns) * NANO, np.stack(_poses(table, folder / POSES)))
        scans_ns = np.array([int(path.stem) for path in paths], np.int64)
        known = trajectory.tells((scans_ns - origin_ns) * NANO)
        if not known.all():
            raise InputError(f"{paths[int(np.flatnonzero(~known)[0])]}: no pose of its time in {POSES}; download the "
                             "log again, or remove the scan")
        world = trajectory.at((scans_ns - origin_ns) * NANO) if len(paths) else []
        boxes = self._boxes(folder, dict(zip(scans_ns.tolist(), world)))
        road_from_ego = self._road_from_ego(folder, paths, mount)
        return [Scan(path, scan_ns * NANO, pose @ mount, pose @ invert(road_from_ego), boxes[scan_ns])
                for path, scan_ns, pose in zip(paths, scans_ns.tolist(), world)]

    def _road_from_ego(self, folder: Path, paths: list[Path], mount: np.ndarray) -> np.ndarray:
        """Pose [4, 4]: the axle is a wheel's radius over the road."""
        height_m = self._height_m
        if not height_m and paths:
            height_m = height_by_scans_m(str(folder), len(paths),
                                         lambda number: transform(invert(mount), _ego_points(paths[number])), mount)
        pose = np.eye(4)
        pose[2, 3] = height_m - mount[2, 3]
        return pose

    def _boxes(self, folder: Path, world_from_ego: dict[int, np.ndarray]) -> dict[int, tuple[Box, ...]]:
        """Boxes of every scan, by its time; none where the log has no annotations, as those of the test split."""
        boxes: dict[int, list[Box]] = defaultdict(list)
        if not (folder / BOXES).is_file():
            return defaultdict(tuple)
        table = read_table(folder / BOXES, ("timestamp_ns", "track_uuid", "category", *SIZE_COLUMNS, *POSE_COLUMNS))
        sizes_m = np.stack([table[name] for name in SIZE_COLUMNS], axis=1)
        if not (np.isfinite(sizes_m).all() and (sizes_m > 0).all()):
            raise InputError(f"{folder / BOXES}: a size that is not usable; download the log again, or remove the file "
                             "to do without boxes")
        for number, pose in enumerate(_poses(table, folder / BOXES)):
            stamp_ns, category = int(table["timestamp_ns"][number]), str(table["category"][number])
            if category not in CLASS_OF_CATEGORY:
                raise InputError(f"{folder / BOXES}: category {one_line(repr(category))} is none of the data set's")
            if stamp_ns in world_from_ego:
                boxes[stamp_ns].append(Box(str(table["track_uuid"][number]), CLASS_OF_CATEGORY[category],
                                           world_from_ego[stamp_ns] @ pose, sizes_m[number]))
        return defaultdict(tuple, {stamp_ns: tuple(found) for stamp_ns, found in boxes.items()})


def scans_in(folder: Path) -> list[Path]:
    """The scans of a log in the order of time, which is their name.

    Raises:
        InputError: a file with another name.
    """
    paths = list((folder / "sensors/lidar").glob("*.feather"))
    odd = [path for path in paths if not path.stem.isdecimal()]
    if odd:
        raise InputError(f"{odd[0]}: its name is no time in nanoseconds; download the log again, or remove the file")
    return sorted(paths, key=lambda path: int(path.stem))


def read_table(path: Path, columns: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Columns of a Feather file, by name.

    Raises:
        InputError: pyarrow is not installed; a missing, broken or impossibly large file, or one without these columns.
    """
    feather = needs_extra("pyarrow.feather", "argoverse2", f"{path}: reading it")
    if not path.is_file():
        raise InputError(f"{path}: missing file; download the log again")
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise InputError(f"{path}: {path.stat().st_size} bytes are more than such a table has; download the log again")
    try:
        table = feather.read_table(path, memory_map=False)
        missing = [name for name in columns if name not in table.column_names]
        if missing:
            raise ValueError(f"no column {missing[0]}")
        found = {name: table[name].to_numpy() for name in columns}
    except Exception as error:  # of whatever kind Arrow raises
        raise InputError(f"{path}: broken or truncated table ({one_line(error)}); download the log again") from None
    texts = ("track_uuid", "category", "sensor_name")
    if not len(table) or any(values.dtype.kind not in "fiu" for name, values in found.items() if name not in texts):
        raise InputError(f"{path}: no row in it, or a column that is not of numbers; download the log again")
    return found


def _ego_points(path: Path) -> np.ndarray:
    table = read_table(path, ("x", "y", "z"))
    return np.stack([table[axis].astype(np.float32) for axis in "xyz"], axis=1)


def _poses(table: dict[str, np.ndarray], path: Path) -> list[np.ndarray]:
    rows = np.stack([table[name].astype(np.float64) for name in POSE_COLUMNS], axis=1)
    if not np.isfinite(rows).all() or np.abs(np.linalg.norm(rows[:, 3:], axis=1) - 1).max() > UNIT_TOLERANCE:
        raise InputError(f"{path}: a pose is not finite and rigid; download the log again")
    return [pose_matrix(row[:3], row[3:]) for row in rows]


def _mount(folder: Path) -> np.ndarray:
    """Pose egovehicle_from_lidar [4, 4] of a log."""
    table = read_table(folder / MOUNTS, ("sensor_name", *POSE_COLUMNS))
    names = list(map(str, table["sensor_name"]))
    if LIDAR not in names:
        raise InputError(f"{folder / MOUNTS}: no sensor {LIDAR}; download the log again")
    return _poses(table, folder / MOUNTS)[names.index(LIDAR)]
