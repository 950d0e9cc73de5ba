"""KITTI raw's tracklet_labels.xml: boxes by scan, in the Velodyne's frame."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np
from scipy.spatial.transform import Rotation

from occflow.errors import InputError
from occflow.grid import CLASS_NAMES
from occflow.logs.protocol import Box
from occflow.records import one_line

MAX_BYTES = 64 << 20  # the largest published file has 5 MB
CLASS_OF_TYPE = {"Car": "car", "Van": "car", "Truck": "truck", "Pedestrian": "pedestrian",
                 "Person": "pedestrian", "Person (sitting)": "pedestrian", "Person_sitting": "pedestrian",
                 "Cyclist": "bicycle", "Tram": "others", "Misc": "others"}
POSE_TAGS = ("tx", "ty", "tz", "rx", "ry", "rz")  # metres, radians; tz is the bottom of the box


def read_tracklets(path: Path, num_scans: int) -> list[tuple[Box, ...]]:
    """Boxes of every scan of a drive; their poses are `velodyne_from_box`.

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
    if path.stat().st_size > MAX_BYTES:
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
