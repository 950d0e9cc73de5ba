"""KITTI raw: DATE/DATE_drive_N_sync with velodyne_points/, oxts/, maybe tracklet_labels.xml; calibration in DATE/."""

from __future__ import annotations

import warnings
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np
from scipy.spatial.transform import Rotation

from occflow.errors import InputError
from occflow.geometry import invert
from occflow.grid import CLASS_NAMES
from occflow.logs.fingerprint import fingerprint_of
from occflow.logs.kitti_scenes import KittiScenes, refuse_scans_beyond, velodyne_scan
from occflow.logs.protocol import Box
from occflow.logs.registry import reader
from occflow.logs.scan_log import Scan
from occflow.logs.texts import read_calibration, read_rows, read_text, rigid
from occflow.records import one_line

EARTH_RADIUS_M = 6378137.0
OXTS_COLUMNS = 30
PARTS = ("velodyne_points/**/*", "oxts/**/*", "tracklet_labels.xml")  # what a store may be made of
MAX_XML_BYTES = 64 << 20  # of tracklet_labels.xml; the largest published file has 5 MB
CLASS_OF_TYPE = {"Car": "car", "Van": "car", "Truck": "truck", "Pedestrian": "pedestrian",
                 "Person": "pedestrian", "Person (sitting)": "pedestrian", "Person_sitting": "pedestrian",
                 "Cyclist": "bicycle", "Tram": "others", "Misc": "others"}
POSE_TAGS = ("tx", "ty", "tz", "rx", "ry", "rz")  # of a tracklet; metres, radians; tz is the bottom of the box


@reader("kitti_raw", "velodyne_points", "*_sync/oxts", "*/*_sync/oxts")
class KittiRawLog(KittiScenes):
    """A DrivingLog over one drive folder, or over all drives below a folder.

    World: east, north, up; its origin is the GPS unit at the first scan. Sensor: the Velodyne.

    Raises:
        InputError: no drive; later on, a missing or broken file.
    """

    def __init__(self, root: str | Path) -> None:
        root = Path(root).expanduser()
        folders = [root] if (root / "oxts").is_dir() else sorted(path.parent for path in root.glob("**/*_sync/oxts"))
        self._folders = {folder.name: folder for folder in folders}
        if not folders or len(self._folders) != len(folders):
            raise InputError(f"{root}: no KITTI raw drive, or two of one name; point log.root at DATE_drive_N_sync "
                             "or a folder of drives (see data/README.md)")
        files = [path for folder in folders for part in PARTS for path in folder.glob(part) if path.is_file()]
        calibrations = {folder.parent / "calib_imu_to_velo.txt" for folder in folders}
        state = fingerprint_of(root.parent, [*files, *(path for path in calibrations if path.is_file())])
        super().__init__(f"kitti_raw@{root.name}-{state}", list(self._folders))

    def scans(self, scene: str) -> list[Scan]:
        folder = self._folders[scene]
        stamps_s, oxts_s = (_read_stamps(folder / part / "timestamps.txt") for part in ("velodyne_points", "oxts"))
        if len(stamps_s) != len(oxts_s):
            raise InputError(f"{folder}: {len(stamps_s)} scan stamps and {len(oxts_s)} oxts stamps; these must be "
                             "synced drives, unpack it again")
        refuse_scans_beyond(folder / "velodyne_points/data", len(stamps_s), "time stamps")
        paths = [folder / f"velodyne_points/data/{i:010d}.bin" for i in range(len(stamps_s))]
        stamped = _stamped(scene, stamps_s, paths)
        calibration = folder.parent / "calib_imu_to_velo.txt"
        rotation, translation_m = read_calibration(calibration, {"R": 9, "T": 3})
        imu_from_velodyne = invert(rigid(np.column_stack([rotation.reshape(3, 3), translation_m]), calibration))
        oxts = np.concatenate([read_rows(folder / f"oxts/data/{i:010d}.txt", OXTS_COLUMNS)[:1]
                               for i in stamped])
        boxes = [()] * len(stamps_s)
        if (folder / "tracklet_labels.xml").is_file():
            boxes = read_tracklets(folder / "tracklet_labels.xml", len(stamps_s))
        return [velodyne_scan(paths[i], stamps_s[i], pose @ imu_from_velodyne, boxes[i])
                for i, pose in zip(stamped, oxts_poses(oxts))]


def oxts_poses(oxts: np.ndarray) -> np.ndarray:
    """Poses world_from_imu [N, 4, 4] of rows lat, lon (degrees), alt (m), roll, pitch, yaw (rad), ...

    Mercator projection with the scale of the first latitude, as in the KITTI raw devkit (convertOxtsToPose.m).
    """
    latitude, longitude = np.radians(oxts[:, 0]), np.radians(oxts[:, 1])
    scale_m = np.cos(latitude[0]) * EARTH_RADIUS_M
    with np.errstate(invalid="ignore"):  # beyond a pole: a pose that is not finite, which is refused with its name
        northings_m = scale_m * np.log(np.tan(np.pi / 4 + latitude / 2))
    places = np.stack([scale_m * longitude, northings_m, oxts[:, 2]], axis=1)
    poses = np.tile(np.eye(4), (len(oxts), 1, 1))
    poses[:, :3, :3] = Rotation.from_euler("xyz", oxts[:, 3:6]).as_matrix()  # Rz(yaw) Ry(pitch) Rx(roll)
    poses[:, :3, 3] = places - places[0]
    return poses


def _read_stamps(path: Path) -> list[float | None]:
    """Seconds of lines such as 2011-09-26 13:02:25.964389445 (kept to the microsecond); None of an empty line."""
    lines = [line.strip() for line in read_text(path).rstrip().splitlines()]
    if not any(lines):
        raise InputError(f"{path}: no time stamp in it; unpack the drive again")
    try:
        return [datetime.fromisoformat(f"{line[:26]}+00:00").timestamp() if line else None for line in lines]
    except ValueError as error:
        raise InputError(f"{path}: not a list of time stamps ({one_line(error)}); unpack the drive again") from None


def _stamped(scene: str, stamps_s: list[float | None], paths: list[Path]) -> list[int]:
    """Numbers of the instants with a stamp; the others, which published drives have where a scan is missing, are
    counted in a warning.

    Raises:
        InputError: a scan without a stamp.
    """
    empty = [number for number, stamp_s in enumerate(stamps_s) if stamp_s is None]
    timeless = [paths[number] for number in empty if paths[number].is_file()]
    if timeless:
        raise InputError(f"{timeless[0]}: line {paths.index(timeless[0]) + 1} of timestamps.txt, which is its time, is "
                         "empty; unpack the drive again, or remove the scan")
    if empty:
        warnings.warn(f"scene {scene}: skipped {len(empty)} instants without scan and time stamp, first {empty[0]}",
                      stacklevel=2)
    return [number for number in range(len(stamps_s)) if stamps_s[number] is not None]


def read_tracklets(path: Path, num_scans: int) -> list[tuple[Box, ...]]:
    """Boxes of every scan of a drive, of its tracklet_labels.xml; their poses are `velodyne_from_box`.

    Raises:
        InputError: a file that is too large, declares entities, or is no tracklet file of this drive.
    """
    boxes: list[list[Box]] = [[] for _ in range(num_scans)]
    root = _parsed(path)
    try:
        for number, item in enumerate(root.findall("./tracklets/item")):
            label = CLASS_NAMES.index(CLASS_OF_TYPE[item.findtext("objectType").strip()])
            size_lwh_m = np.array([float(item.findtext(tag)) for tag in "lwh"])
            first = int(item.findtext("first_frame"))
            poses = [[float(pose.findtext(tag)) for tag in POSE_TAGS] for pose in item.findall("./poses/item")]
            if first < 0 or first + len(poses) > num_scans:
                raise ValueError(f"tracklet {number} has frames {first} to {first + len(poses) - 1} of {num_scans}")
            if not (np.isfinite(size_lwh_m).all() and size_lwh_m.min() > 0 and np.isfinite(poses).all()):
                raise ValueError(f"tracklet {number} has a size or pose that is not usable")
            for frame, values in enumerate(poses, start=first):
                boxes[frame].append(Box(f"tracklet-{number}", label, _pose(values, size_lwh_m[2]), size_lwh_m))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: not the tracklets of this drive ({type(error).__name__}: {one_line(error)}); "
                         "unpack it again, or remove it to do without boxes") from None
    return [tuple(at_scan) for at_scan in boxes]


def _pose(values: list[float], height_m: float) -> np.ndarray:
    """velodyne_from_box [4, 4] of tx, ty, tz, rx, ry, rz."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", values[3:]).as_matrix()
    pose[:3, 3] = np.array(values[:3]) + pose[:3, 2] * height_m / 2
    return pose


def _parsed(path: Path) -> ElementTree.Element:
    """The XML of a file that is not large and declares no entities: a few lines of those unfold to gigabytes."""
    if path.stat().st_size > MAX_XML_BYTES:
        raise InputError(f"{path}: {path.stat().st_size} bytes are too large for tracklets; remove the file")

    def refuse(name: str, *_: object) -> None:
        raise InputError(f"{path}: declares the entity '{name}', which tracklets do not need; remove the file")

    text, checker = path.read_bytes(), expat.ParserCreate()
    checker.EntityDeclHandler = refuse
    try:
        checker.Parse(text, True)
        return ElementTree.fromstring(text)
    except (expat.ExpatError, ElementTree.ParseError, LookupError, ValueError) as error:  # or an encoding unheard of
        raise InputError(f"{path}: broken XML ({one_line(error)}); unpack it again, or remove it to do without "
                         "boxes") from None
