"""What the readers of KITTI's scans share: the Velodyne's files, its place on the car and the boxes in its frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.geometry import invert
from occflow.logs.cloud import Cloud
from occflow.logs.protocol import Box
from occflow.logs.scan_log import Scan, ScanLog
from occflow.logs.scan_points import read_scan

SCAN_COLUMNS = 4  # x, y, z, reflectance
VELODYNE_HEIGHT_M = 1.73  # above the road, by KITTI's setup page
EGO_FROM_VELODYNE = np.eye(4)  # same axes (x forward, y left, z up); our ego origin is on the road below the scanner
EGO_FROM_VELODYNE[2, 3] = VELODYNE_HEIGHT_M


class KittiScenes(ScanLog):
    """A ScanLog whose scans are KITTI's."""

    def cloud(self, scan: Scan) -> Cloud:
        return Cloud(read_scan(scan.path, SCAN_COLUMNS))


def velodyne_scan(path: Path, stamp_s: float, world_from_velodyne: np.ndarray, boxes_velodyne: Sequence[Box] = ()) \
        -> Scan:
    """A scan of KITTI's car; the poses of its boxes are `velodyne_from_box`."""
    boxes = tuple(replace(box, world_from_box=world_from_velodyne @ box.world_from_box) for box in boxes_velodyne)
    return Scan(path, stamp_s, world_from_velodyne, world_from_velodyne @ invert(EGO_FROM_VELODYNE), boxes)


def refuse_scans_beyond(folder: Path, count: int, what: str) -> None:
    """Raises InputError where a scan of a folder has a number of `count` or more: nothing says when and where it was.

    Args:
        what: the things that were counted, for the message.
    """
    beyond = [path for path in sorted(folder.glob("*.bin")) if not path.stem.isdecimal() or int(path.stem) >= count]
    if beyond:
        raise InputError(f"{beyond[0]}: no such scan among the {count} {what}; unpack the drive again, or remove the "
                         "file")
