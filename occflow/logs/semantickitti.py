"""SemanticKITTI: sequences/NN with velodyne/, labels/, poses.txt, calib.txt, times.txt."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.geometry import invert
from occflow.grid import CLASS_NAMES
from occflow.logs.fingerprint import fingerprint_of
from occflow.logs.kitti_scenes import KittiScenes, refuse_scans_beyond, velodyne_scan
from occflow.logs.protocol import UNLABELLED
from occflow.logs.registry import reader
from occflow.logs.scan_log import PointLabels, Scan
from occflow.logs.scan_points import read_classes
from occflow.logs.texts import read_calibration, read_rows, rigid

FOLDERS = ("*.txt", "velodyne/*.bin", "labels/*.label", "voxels/*")  # what a store may be made of
VAL_SEQUENCES = ("08",)  # of the benchmark; 11 to 21 have no labels
TEST_SEQUENCES = tuple(str(number) for number in range(11, 22))
FIRST_MOVING = 252  # ids from here on belong to what moves during its sequence; cars of id 10 stand
LABELS_OF_CLASS = {  # semantic-kitti-api's ids, moving ones (252 and up) in the class of the standing; 0, 1: unlabelled
    "others": (16, 20, 99, 256, 259), "bicycle": (11, 31, 253), "bus": (13, 257), "car": (10, 252),
    "motorcycle": (15, 32, 255), "pedestrian": (30, 254), "truck": (18, 258), "driveable_surface": (40, 44, 60),
    "other_flat": (49,), "sidewalk": (48,), "terrain": (72,), "manmade": (50, 51, 52, 80, 81), "vegetation": (70, 71),
}
CLASS_OF_LABEL = np.full(1 << 16, -1, dtype=np.int16)  # -1: no such label
CLASS_OF_LABEL[[0, 1]] = UNLABELLED
for _name, _labels in LABELS_OF_CLASS.items():
    CLASS_OF_LABEL[list(_labels)] = CLASS_NAMES.index(_name)


@reader("semantickitti", "sequences/*/poses.txt")
class SemanticKittiLog(KittiScenes):
    """A DrivingLog over ROOT/sequences; scans need not exist for every pose.

    World: the Velodyne's frame at the first pose (x forward, y left, z up). Sensor: the Velodyne.

    Raises:
        InputError: no sequence; later on, a missing or broken file.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()
        scenes = sorted(path.parent.name for path in self.root.glob("sequences/*/poses.txt"))
        if not scenes:
            raise InputError(f"{self.root}: no sequences/NN/poses.txt; point log.root at the folder that holds "
                             "sequences/ (see data/README.md)")
        files = [path for folder in FOLDERS for path in self.root.glob(f"sequences/*/{folder}") if path.is_file()]
        super().__init__(f"semantickitti@{self.root.name}-{fingerprint_of(self.root, files)}", scenes)

    def splits(self) -> dict[str, list[str]]:
        return {"train": [scene for scene in self._scenes if scene not in VAL_SEQUENCES + TEST_SEQUENCES],
                "val": [scene for scene in self._scenes if scene in VAL_SEQUENCES],
                "test": [scene for scene in self._scenes if scene in TEST_SEQUENCES]}

    def scans(self, scene: str) -> list[Scan]:
        folder = self.root / "sequences" / scene
        stamps_s, poses = read_track(folder)
        refuse_scans_beyond(folder / "velodyne", len(poses), "poses")
        return [velodyne_scan(folder / f"velodyne/{i:06d}.bin", float(stamp_s), pose)
                for i, (stamp_s, pose) in enumerate(zip(stamps_s, poses))]

    def labels(self, scan: Scan, num_points: int) -> PointLabels | None:
        path = scan.path.parents[1] / "labels" / f"{scan.path.stem}.label"
        return read_labels(path, num_points) if path.is_file() else None

    def labelled(self, scene: str) -> bool:
        return (self.root / "sequences" / scene / "labels").is_dir()


def read_track(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Stamps [N] (seconds) and world_from_velodyne [N, 4, 4] of a sequence: inv(Tr) P Tr; 10 Hz without times.txt.

    Raises:
        InputError: a missing or broken file, files of different lengths, or times that do not increase.
    """
    (mount,) = read_calibration(folder / "calib.txt", {"Tr": 12})
    camera_from_velodyne = rigid(mount, folder / "calib.txt")
    rows = read_rows(folder / "poses.txt", 12)
    stamps_s = np.arange(len(rows)) / 10
    if (folder / "times.txt").is_file():
        stamps_s = read_rows(folder / "times.txt", 1)[:, 0]
    if len(stamps_s) != len(rows):
        raise InputError(f"{folder}: {len(stamps_s)} times and {len(rows)} poses; unpack the sequence again")
    if not (np.diff(stamps_s) > 0).all():
        raise InputError(f"{folder / 'times.txt'}: time stamps do not increase; unpack the sequence again")
    poses = [invert(camera_from_velodyne) @ rigid(row, folder / "poses.txt") @ camera_from_velodyne for row in rows]
    return stamps_s, np.stack(poses)


def read_labels(path: Path, num_points: int) -> PointLabels:
    """Labels of a .label file (uint32, class in the low 16 bits); class UNLABELLED where it has none.

    Raises:
        InputError: a file of another length, or an unknown label.
    """
    classes, labels = read_classes(path, num_points, "<u4", CLASS_OF_LABEL, "those that SemanticKITTI defines")
    return PointLabels(classes, labels >= FIRST_MOVING)
