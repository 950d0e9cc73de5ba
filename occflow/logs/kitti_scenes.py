"""What the readers of KITTI's scans share: a DrivingLog over drives, each of which gives its scans with stamps and
poses, and the text files that these stand in."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.geometry import invert
from occflow.logs.boxes import boxes_at
from occflow.logs.protocol import Box, Keyframe, Sweep
from occflow.logs.scan_points import PointFilter, SweepReader, read_scan
from occflow.records import one_line

MAX_TEXT_BYTES = 64 << 20  # poses of the longest sequence have 1 MB
SCAN_COLUMNS = 4  # x, y, z, reflectance
VELODYNE_HEIGHT_M = 1.73  # above the road, by KITTI's setup page
KEYFRAME_PERIOD_S = 0.5
EGO_FROM_VELODYNE = np.eye(4)  # same axes (x forward, y left, z up); our ego origin is on the road below the scanner
EGO_FROM_VELODYNE[2, 3] = VELODYNE_HEIGHT_M


@dataclass(frozen=True)
class Scan:
    """A scan's file, time (seconds) and `world_from_velodyne` [4, 4]; the file may be missing.

    `boxes_velodyne` are the annotated objects, their poses `velodyne_from_box`.
    """

    path: Path
    stamp_s: float
    world_from_velodyne: np.ndarray
    boxes_velodyne: tuple[Box, ...] = field(default=())

    @property
    def world_from_ego(self) -> np.ndarray:
        return self.world_from_velodyne @ invert(EGO_FROM_VELODYNE)

    def boxes(self) -> tuple[Box, ...]:
        """The annotated objects in the world."""
        return tuple(replace(box, world_from_box=self.world_from_velodyne @ box.world_from_box)
                     for box in self.boxes_velodyne)


@dataclass(frozen=True)
class PointLabels:
    """Labels of a scan's points: classes [N] uint8 and which of them belong to something that moves, [N] bool."""

    classes: np.ndarray
    moving: np.ndarray


class KittiScenes(ABC):
    """The part of a DrivingLog that does not depend on where a drive keeps its poses and boxes.

    Keyframes are the scans nearest to a 2 Hz raster, among those whose file is there.
    """

    name: str
    left_out: tuple[str, ...] = ()  # drives that cannot be read
    _scenes: list[str]
    _kept: tuple[str, list[Scan], list[int]] | None = None  # the scene read last, its scans and keyframes

    def scenes(self) -> list[str]:
        """Names of the drives."""
        return list(self._scenes)

    def leave_out_broken(self) -> None:
        """Leave out the drives whose stamps, poses, calibration or boxes cannot be read, with a warning each.

        Raises:
            InputError: none is left; the reason of the first.
        """
        broken: dict[str, InputError] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is skipped within a drive is told when it is read for good
            for scene in self.scenes():
                try:
                    self._checked(scene)
                except InputError as error:
                    broken[scene] = error
        self._kept = None
        if len(broken) == len(self._scenes):
            raise next(iter(broken.values()))
        for scene, error in broken.items():
            warnings.warn(f"scene {scene} is left out: {error}", stacklevel=2)
        self._scenes, self.left_out = [scene for scene in self._scenes if scene not in broken], tuple(broken)

    @abstractmethod
    def scans(self, scene: str) -> list[Scan]:
        """Scans of a drive in the order of time."""

    def labels(self, scan: Scan, num_points: int) -> PointLabels | None:
        """Labels of a scan of `num_points`; None where it has none."""
        return None

    def labelled(self, scene: str) -> bool:
        """Whether scans of a drive should have labels."""
        return False

    def splits(self) -> dict[str, list[str]]:
        return {"train": [], "val": self.scenes()}

    def keyframes(self, scene: str) -> list[Keyframe]:
        scans, numbers = self._checked(scene)
        return [Keyframe(scans[i].path.stem, scans[i].stamp_s, scans[i].world_from_ego, scans[i].boxes())
                for i in numbers]

    def sweeps(self, scene: str) -> Iterator[Sweep]:
        scans, numbers = self._checked(scene)
        keyframes = set(numbers)

        def read(number: int, points: PointFilter) -> Sweep | None:
            scan = scans[number]
            if not scan.path.is_file():
                points.missing(scan.path)
                return None
            cloud = read_scan(scan.path, SCAN_COLUMNS)
            labels = self.labels(scan, len(cloud))
            if labels is None and self.labelled(scene):
                points.unlabelled(scan.path)
            return Sweep(scan.stamp_s, cloud, labels and labels.classes, scan.world_from_velodyne, scan.world_from_ego,
                         scan.path.stem if number in keyframes else None, scan.path, labels and labels.moving)

        return SweepReader(scene, range(len(scans)), read)

    def boxes_at(self, scene: str, stamp_s: float) -> list[Box]:
        """Boxes at a time; none before the first and after the last scan."""
        scans, _ = self._checked(scene)
        return boxes_at(stamp_s, [scan.stamp_s for scan in scans], lambda place: scans[place].boxes())

    def _checked(self, scene: str) -> tuple[list[Scan], list[int]]:
        """Scans of a scene, and which of them are keyframes."""
        if self._kept is None or self._kept[0] != scene:
            if scene not in self.scenes():
                raise InputError(f"{self.name}: no scene '{scene}'; it has {', '.join(self.scenes())}")
            scans = self.scans(scene)
            present = [number for number, scan in enumerate(scans) if scan.path.is_file()]
            stuck = np.flatnonzero(~(np.diff([scan.stamp_s for scan in scans]) > 0))
            if not present or len(stuck):
                reason = f"time stamps that do not increase, at {scans[stuck[0] + 1].path}" if present else "no scans"
                raise InputError(f"{self.name}: scene {scene} has {reason}; unpack it again or leave it out")
            chosen = keyframe_numbers(np.array([scans[number].stamp_s for number in present]))
            self._kept = scene, scans, [present[place] for place in chosen]
        return self._kept[1:]


def read_text(path: Path) -> str:
    """The contents of a text file.

    Raises:
        InputError: a missing or impossibly large file, or one that is no text.
    """
    if not path.is_file():
        raise InputError(f"{path}: missing file; unpack the drive and its calibration again")
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise InputError(f"{path}: {path.stat().st_size} bytes are more than a drive's text can have; unpack it again")
    try:
        return path.read_text()
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file; unpack the drive and its calibration again") from None


def read_rows(path: Path, columns: int) -> np.ndarray:
    """Numbers [rows, columns] float64 of a text file.

    Raises:
        InputError: a missing file, other columns, or a value that is not finite.
    """
    text = read_text(path)
    try:
        rows = np.array([[float(word) for word in line.split()] for line in text.splitlines() if line.strip()])
    except ValueError as error:
        raise InputError(f"{path}: not a table of numbers ({one_line(error)}); unpack the drive again") from None
    if rows.ndim != 2 or rows.shape[1] != columns or not np.isfinite(rows).all():
        raise InputError(f"{path}: needs rows of {columns} finite numbers; unpack the drive again")
    return rows


def read_calibration(path: Path, names: dict[str, int]) -> list[np.ndarray]:
    """The numbers of lines `NAME: v v v` or `NAME v v v`, by name and number of values; `A|B` is either name.

    Raises:
        InputError: a missing file or line.
    """
    entries = [line.replace(":", " ", 1).split(None, 1) for line in read_text(path).splitlines()]
    lines = dict(entry for entry in entries if len(entry) == 2)
    try:
        found = [next((lines[name] for name in either.split("|") if name in lines), None) for either in names]
        if None in found:
            raise ValueError(list(names)[found.index(None)].replace("|", " or "))
        values = [np.array(line.split(), dtype=np.float64) for line in found]
    except ValueError as error:
        raise InputError(f"{path}: no usable line {one_line(error)}; unpack the calibration again") from None
    if any(len(value) != size or not np.isfinite(value).all() for value, size in zip(values, names.values())):
        raise InputError(f"{path}: lines {', '.join(names)} are incomplete; unpack the calibration again")
    return values


def rigid(rows: np.ndarray, path: Path) -> np.ndarray:
    """Pose [4, 4] of its upper three rows [3, 4] or [12], its rotation cleaned of rounding.

    Raises:
        InputError: a matrix that is no rotation.
    """
    pose = np.eye(4)
    pose[:3] = np.reshape(rows, (3, 4))
    left, scale, right = np.linalg.svd(pose[:3, :3])
    if np.abs(scale - 1).max() > 1e-2 or np.linalg.det(left @ right) < 0:
        raise InputError(f"{path}: a pose is not rigid; unpack the drive again")
    pose[:3, :3] = left @ right
    return pose


def refuse_scans_beyond(folder: Path, count: int, what: str) -> None:
    """Raises InputError where a scan of a folder has a number of `count` or more: nothing says when and where it was.

    Args:
        what: the things that were counted, for the message.
    """
    beyond = [path for path in sorted(folder.glob("*.bin")) if not path.stem.isdecimal() or int(path.stem) >= count]
    if beyond:
        raise InputError(f"{beyond[0]}: no such scan among the {count} {what}; unpack the drive again, or remove the "
                         "file")


def keyframe_numbers(stamps_s: np.ndarray) -> list[int]:
    """Positions of the stamps [N] nearest to a 2 Hz raster from the first on, each once, none farther than 0.25 s."""
    before = np.floor((stamps_s - stamps_s[0]) / KEYFRAME_PERIOD_S)
    ticks = stamps_s[0] + KEYFRAME_PERIOD_S * np.unique([before, before + 1])  # of the raster, those beside a stamp
    ticks = ticks[ticks < stamps_s[-1] + KEYFRAME_PERIOD_S / 2]
    after = np.searchsorted(stamps_s, ticks).clip(1, max(len(stamps_s) - 1, 1))
    last, following = np.abs(stamps_s[after - 1] - ticks), np.abs(stamps_s[after % len(stamps_s)] - ticks)
    nearest = np.where(last <= following, after - 1, after)
    near = np.minimum(last, following) <= KEYFRAME_PERIOD_S / 2
    return sorted({int(number) for number in nearest[near]})
