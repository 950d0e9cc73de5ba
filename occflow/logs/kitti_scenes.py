"""A DrivingLog over drives of a KITTI scanner: each drive gives its scans with stamps and poses, the rest is here."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.geometry import invert
from occflow.logs.boxes import interpolate_boxes
from occflow.logs.kitti_files import EGO_FROM_VELODYNE, keyframe_numbers, read_scan
from occflow.logs.protocol import Box, Keyframe, Sweep
from occflow.logs.scan_points import PointFilter, SweepReader

SAME_STAMP_S = 1e-6


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
            cloud = read_scan(scan.path)
            labels = self.labels(scan, len(cloud))
            if labels is None and self.labelled(scene):
                points.unlabelled(scan.path)
            return Sweep(scan.stamp_s, cloud, labels and labels.classes, scan.world_from_velodyne, scan.world_from_ego,
                         scan.path.stem if number in keyframes else None, scan.path, labels and labels.moving)

        return SweepReader(scene, range(len(scans)), read)

    def boxes_at(self, scene: str, stamp_s: float) -> list[Box]:
        """Boxes at a time; none before the first and after the last scan."""
        scans, _ = self._checked(scene)
        following = bisect_right([scan.stamp_s for scan in scans], stamp_s + SAME_STAMP_S)
        if following == 0:
            return []
        before = scans[following - 1]
        if stamp_s - before.stamp_s <= SAME_STAMP_S:
            return list(before.boxes())
        if following == len(scans):
            return []
        fraction = (stamp_s - before.stamp_s) / (scans[following].stamp_s - before.stamp_s)
        return interpolate_boxes(before.boxes(), scans[following].boxes(), fraction)

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
