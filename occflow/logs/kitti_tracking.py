"""KITTI's tracking benchmark: velodyne/NNNN/, oxts/NNNN.txt, calib/NNNN.txt and label_02/NNNN.txt of its sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.geometry import invert
from occflow.grid import CLASS_NAMES
from occflow.logs.fingerprint import fingerprint_of
from occflow.logs.kitti_raw import CLASS_OF_TYPE, OXTS_COLUMNS, oxts_poses
from occflow.logs.kitti_scenes import KittiScenes, refuse_scans_beyond, velodyne_scan
from occflow.logs.protocol import Box
from occflow.logs.registry import reader
from occflow.logs.scan_log import Scan
from occflow.logs.texts import read_calibration, read_rows, read_text, rigid

RATE_HZ = 10  # the benchmark has no time stamps; its scans come at 10 Hz
LABEL_COLUMNS = (17, 18)  # without and with the score that only results have
NOT_AN_OBJECT = "DontCare"  # a region of the image
MOUNTS = {"R_rect|R0_rect": 9, "Tr_velo_cam|Tr_velo_to_cam": 12, "Tr_imu_velo|Tr_imu_to_velo": 12}  # both are in use
PARTS = ("velodyne/*/*.bin", "oxts/*.txt", "calib/*.txt", "label_02/*.txt")  # what a store may be made of
OBJECT_FROM_BOX = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # KITTI's objects: x along, y down, z across


@reader("kitti_tracking", "oxts/[0-9][0-9][0-9][0-9].txt")
class KittiTrackingLog(KittiScenes):
    """A DrivingLog over the sequences of ROOT, the benchmark's training/ or testing/ (which has no labels).

    World: east, north, up; its origin is the GPS unit at the first scan. Sensor: the Velodyne.

    Raises:
        InputError: no sequence; later on, a missing or broken file.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()
        scenes = sorted(path.stem for path in self.root.glob("oxts/*.txt"))
        if not scenes:
            raise InputError(f"{self.root}: no oxts/NNNN.txt; point log.root at training/ or testing/ of KITTI's "
                             "tracking benchmark (see data/README.md)")
        files = [path for part in PARTS for path in self.root.glob(part) if path.is_file()]
        super().__init__(f"kitti_tracking@{self.root.name}-{fingerprint_of(self.root, files)}", scenes)

    def scans(self, scene: str) -> list[Scan]:
        poses = oxts_poses(read_rows(self.root / f"oxts/{scene}.txt", OXTS_COLUMNS))
        velodyne_from_camera, imu_from_velodyne = read_mounts(self.root / f"calib/{scene}.txt")
        folder, labels = self.root / "velodyne" / scene, self.root / f"label_02/{scene}.txt"
        refuse_scans_beyond(folder, len(poses), f"rows of oxts/{scene}.txt")
        boxes = read_tracking_labels(labels, len(poses), velodyne_from_camera) if labels.is_file() else None
        return [velodyne_scan(folder / f"{i:06d}.bin", i / RATE_HZ, pose @ imu_from_velodyne, boxes[i] if boxes else ())
                for i, pose in enumerate(poses)]


def read_mounts(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Poses velodyne_from_camera (rectified camera 0, whose frame labels are in) and imu_from_velodyne, [4, 4] each.

    Raises:
        InputError: a missing or broken file.
    """
    rectified, camera, imu = read_calibration(path, MOUNTS)
    rectified_from_velodyne = rigid(np.column_stack([rectified.reshape(3, 3), np.zeros(3)]), path) @ rigid(camera, path)
    return invert(rectified_from_velodyne), invert(rigid(imu, path))


def read_tracking_labels(path: Path, num_scans: int, velodyne_from_camera: np.ndarray) -> list[tuple[Box, ...]]:
    """Boxes of every scan of a sequence; their poses are `velodyne_from_box`. Track -1 is none.

    Columns (the benchmark's readme): frame, track, type, truncated, occluded, alpha, image box (4), height, width,
    length, location x y z of the bottom's middle in the rectified camera (right, down, ahead; metres), rotation_y.

    Raises:
        InputError: a file that is no label file of this sequence.
    """
    boxes: list[list[Box]] = [[] for _ in range(num_scans)]
    for number, words in enumerate(map(str.split, read_text(path).splitlines()), start=1):
        if not words or words[2:3] == [NOT_AN_OBJECT]:
            continue
        try:
            frame, box = _labelled_box(words, velodyne_from_camera)
            if not 0 <= frame < num_scans or box.track and box.track in {other.track for other in boxes[frame]}:
                raise ValueError(f"frame {frame} of {num_scans}, or {box.track} twice in it")
        except (ValueError, KeyError) as error:
            raise InputError(f"{path}: line {number} is no label of this sequence ({type(error).__name__}: {error}); "
                             "unpack it again, or remove it to do without boxes") from None
        boxes[frame].append(box)
    return [tuple(sorted(at_scan, key=lambda box: not box.track)) for at_scan in boxes]  # those without a track last


def _labelled_box(words: list[str], velodyne_from_camera: np.ndarray) -> tuple[int, Box]:
    """Frame and object of a line."""
    if len(words) not in LABEL_COLUMNS:
        raise ValueError(f"{len(words)} columns")
    height_m, width_m, length_m, *place_m, turn_rad = map(float, words[10:17])
    size_lwh_m = np.array([length_m, width_m, height_m])
    if not np.isfinite([*size_lwh_m, *place_m, turn_rad]).all() or size_lwh_m.min() <= 0:
        raise ValueError("a size or place that is not usable")
    cos, sin = np.cos(turn_rad), np.sin(turn_rad)
    pose = np.eye(4)
    pose[:3, :3] = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]) @ OBJECT_FROM_BOX
    pose[:3, 3] = np.array(place_m) + pose[:3, 2] * height_m / 2
    track = "" if int(words[1]) < 0 else f"track-{int(words[1])}"
    return int(words[0]), Box(track, CLASS_NAMES.index(CLASS_OF_TYPE[words[2]]), velodyne_from_camera @ pose,
                              size_lwh_m)
