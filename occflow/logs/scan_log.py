"""What readers of plain scans share: a DrivingLog over drives, each of which gives its scans with stamps and poses."""

from __future__ import annotations

import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.geometry import planar_pose
from occflow.logs.boxes import boxes_at
from occflow.logs.cloud import Cloud, corrected_for_motion
from occflow.logs.cloud_files import read_cloud
from occflow.logs.mounting import TURNED_DEG, yaw_of_way_deg
from occflow.logs.protocol import Box, Keyframe, Sweep
from occflow.logs.scan_points import PointFilter, SweepReader
from occflow.logs.trajectory import Trajectory

KEYFRAME_PERIOD_S = 0.5
MAX_SCENE_NAME = 100  # characters


@dataclass(frozen=True)
class Scan:
    """One scan before its points are read.

    Args:
        path: its file, which may be missing.
        stamp_s: time, seconds.
        world_from_sensor, world_from_ego: poses [4, 4] at the stamp.
        boxes: the objects annotated then, in the world.
    """

    path: Path
    stamp_s: float
    world_from_sensor: np.ndarray
    world_from_ego: np.ndarray
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True)
class PointLabels:
    """Labels of a scan's points: classes [N] uint8 and which of them belong to something that moves, [N] bool."""

    classes: np.ndarray
    moving: np.ndarray


class ScanLog(ABC):
    """The part of a DrivingLog that does not depend on where a drive keeps its points, poses and boxes.

    Keyframes are the scans nearest to a 2 Hz raster, among those that are there.

    Args:
        name: of the log and of its state: a store is made of one state.
        scenes: names of the drives.
    """

    left_out: tuple[str, ...] = ()  # drives that cannot be read
    _kept: tuple[str, list[Scan], list[int]] | None = None  # the scene read last, its scans and keyframes

    def __init__(self, name: str, scenes: Sequence[str]) -> None:
        self.name, self._scenes = name, list(scenes)

    @abstractmethod
    def scans(self, scene: str) -> list[Scan]:
        """Scans of a drive in the order of time."""

    def cloud(self, scan: Scan) -> Cloud:
        """The points of a scan, as they were measured; by default those of its file, by its suffix."""
        return read_cloud(scan.path, scan.stamp_s)

    def is_there(self, scan: Scan) -> bool:
        """Whether there is anything to read of a scan."""
        return scan.path.is_file()

    def labels(self, scan: Scan, num_points: int) -> PointLabels | None:
        """Labels of a scan of `num_points`; None where it has none."""
        return None

    def labelled(self, scene: str) -> bool:
        """Whether scans of a drive should have labels."""
        return False

    def ahead_told(self, scene: str) -> bool | None:
        """Whether somebody told how the sensor sits on the vehicle of a drive; None where the format itself says it."""
        return None

    def sensor_path(self, scene: str) -> Trajectory:
        """Where the sensor was at any time of a drive: between the poses of its scans, where nothing better is known.
        Points that know when they were measured are brought to the instant of their scan along it."""
        scans, _ = self._checked(scene)
        return Trajectory(np.array([scan.stamp_s for scan in scans]), np.stack([scan.world_from_sensor
                                                                               for scan in scans]))

    def scenes(self) -> list[str]:
        """Names of the drives."""
        return list(self._scenes)

    def splits(self) -> dict[str, list[str]]:
        return {"train": [], "val": self.scenes()}

    def keyframes(self, scene: str) -> list[Keyframe]:
        scans, numbers = self._checked(scene)
        return [Keyframe(scans[i].path.stem, scans[i].stamp_s, scans[i].world_from_ego, scans[i].boxes)
                for i in numbers]

    def sweeps(self, scene: str) -> Iterator[Sweep]:
        scans, numbers = self._checked(scene)
        keyframes, path = set(numbers), self.sensor_path(scene)

        def read(number: int, points: PointFilter) -> Sweep | None:
            scan = scans[number]
            if not self.is_there(scan):
                points.missing(scan.path)
                return None
            cloud = self.cloud(scan)
            labels = self.labels(scan, len(cloud.points))
            if labels is None and self.labelled(scene):
                points.unlabelled(scan.path)
            return Sweep(scan.stamp_s, corrected_for_motion(cloud, scan.stamp_s, path), labels and labels.classes,
                         scan.world_from_sensor, scan.world_from_ego, scan.path.stem if number in keyframes else None,
                         scan.path, labels and labels.moving)

        return SweepReader(scene, range(len(scans)), read)

    def boxes_at(self, scene: str, stamp_s: float) -> list[Box]:
        """Boxes at a time; none before the first and after the last scan."""
        scans, _ = self._checked(scene)
        return boxes_at(stamp_s, [scan.stamp_s for scan in scans], lambda place: scans[place].boxes)

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

    def _checked(self, scene: str) -> tuple[list[Scan], list[int]]:
        """Scans of a scene, and which of them are keyframes."""
        if self._kept is None or self._kept[0] != scene:
            if scene not in self.scenes():
                raise InputError(f"{self.name}: no scene '{scene}'; it has {', '.join(self.scenes())}")
            scans = self._along_x(scene, self.scans(scene))
            present = [number for number, scan in enumerate(scans) if self.is_there(scan)]
            if not present:
                raise InputError(f"{self.name}: scene {scene} has no scans; unpack it again or leave it out")
            refuse_stuck([scan.stamp_s for scan in scans], lambda number: f"{scans[number].path}",
                         "unpack it again or leave it out")
            chosen = keyframe_numbers(np.array([scans[number].stamp_s for number in present]))
            self._kept = scene, scans, [present[place] for place in chosen]
        return self._kept[1:]

    def _along_x(self, scene: str, scans: list[Scan]) -> list[Scan]:
        """The scans in a vehicle that drives along its x axis: where nobody has told how the sensor sits and it goes
        along its y axis, it is turned; other doubts are a warning."""
        told = self.ahead_told(scene)
        yaw_deg = yaw_of_way_deg([scan.world_from_ego for scan in scans]) if scans and told is not None else None
        if yaw_deg is None or abs(yaw_deg) <= TURNED_DEG:
            return scans
        quarters = round(yaw_deg / 90)
        off = f"scene {scene}: it drives {yaw_deg:+.0f} degrees off the x axis that is taken for ahead; "
        if told or abs(quarters) != 1:
            warnings.warn(f"{off}if it does not reverse, the sensor's axes are others: log.mount=[x,y,z,roll,pitch,"
                          f"{-90 * quarters}] turns them", stacklevel=3)
            return scans
        warnings.warn(f"{off}the sensor is taken to be turned, as by log.mount=[0,0,0,0,0,{-90 * quarters}]; log.mount "
                      "says otherwise", stacklevel=3)
        turn = planar_pose(0.0, 0.0, np.pi / 2 * quarters)  # x ahead in the axes that were taken for the vehicle's
        return [replace(scan, world_from_ego=scan.world_from_ego @ turn) for scan in scans]


def refuse_stuck(stamps_s: Sequence[float], what: Callable[[int], str], remedy: str) -> None:
    """Raises InputError where times of scans are not finite, come twice or go back; `what` names the file of one."""
    stamps_s = np.asarray(stamps_s, np.float64)
    lost = np.flatnonzero(~np.isfinite(stamps_s))
    if len(lost):
        raise InputError(f"{what(int(lost[0]))}: a time stamp that is not finite; {remedy}")
    stuck = np.flatnonzero(np.diff(stamps_s) <= 0)
    if len(stuck):
        before_s, then_s = stamps_s[stuck[0]:stuck[0] + 2]
        how = f"{then_s:.6f} s comes twice" if then_s == before_s else f"{before_s:.6f} s is followed by {then_s:.6f} s"
        raise InputError(f"{what(int(stuck[0]) + 1)}: time stamps do not increase, {how}"
                         f"{f', and {len(stuck) - 1} more such' if len(stuck) > 1 else ''}; {remedy}")


def scenes_of_paths(paths: Iterable[Path], root: Path) -> dict[str, Path]:
    """Folders or files by the names of their scenes: their own, but for what cannot stand in the name of a file.

    Raises:
        InputError: two of one name.
    """
    named: dict[str, Path] = {}
    for path in paths:
        own = path.stem if path.is_file() else path.resolve().name
        name = re.sub(r"[^A-Za-z0-9._-]", "_", own).lstrip("._-")[:MAX_SCENE_NAME] or "drive"
        if name in named:
            raise InputError(f"{root}: {named[name].name} and {path.name} would be scenes of one name, {name}; rename "
                             "one")
        named[name] = path
    return named


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
