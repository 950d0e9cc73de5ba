"""A DrivingLog over drives of a KITTI scanner: each drive gives its scans with stamps and poses, the rest is here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.geometry import invert
from occflow.logs.kitti_files import EGO_FROM_VELODYNE, keyframe_numbers, read_scan
from occflow.logs.protocol import Box, Keyframe, Sweep
from occflow.logs.scan_points import PointFilter, SweepReader


@dataclass(frozen=True)
class Scan:
    """A scan's file, time (seconds) and `world_from_velodyne` [4, 4]; the file may be missing."""

    path: Path
    stamp_s: float
    world_from_velodyne: np.ndarray

    @property
    def world_from_ego(self) -> np.ndarray:
        return self.world_from_velodyne @ invert(EGO_FROM_VELODYNE)


class KittiScenes(ABC):
    """The part of a DrivingLog that does not depend on where a drive keeps its poses. Drives have no boxes."""

    name: str

    @abstractmethod
    def scenes(self) -> list[str]:
        """Names of the drives."""

    @abstractmethod
    def scans(self, scene: str) -> list[Scan]:
        """Scans of a drive in the order of time."""

    def labels(self, scan: Scan, num_points: int) -> np.ndarray | None:
        """Classes [num_points] uint8; None where the drive has none."""
        return None

    def splits(self) -> dict[str, list[str]]:
        return {"train": [], "val": self.scenes()}

    def keyframes(self, scene: str) -> list[Keyframe]:
        scans = self._checked(scene)
        return [Keyframe(scans[i].path.stem, scans[i].stamp_s, scans[i].world_from_ego, ())
                for i in self._keyframe_numbers(scans)]

    def sweeps(self, scene: str) -> Iterator[Sweep]:
        scans = self._checked(scene)
        keyframes = set(self._keyframe_numbers(scans))

        def read(number: int, points: PointFilter) -> Sweep | None:
            scan = scans[number]
            if number not in keyframes and not scan.path.is_file():
                points.missing(scan.path)
                return None
            cloud = read_scan(scan.path)  # refuses a missing keyframe
            return Sweep(scan.stamp_s, cloud, self.labels(scan, len(cloud)), scan.world_from_velodyne,
                         scan.world_from_ego, scan.path.stem if number in keyframes else None, scan.path)

        return SweepReader(scene, range(len(scans)), read)

    def boxes_at(self, scene: str, stamp_s: float) -> list[Box]:
        return []

    def _checked(self, scene: str) -> list[Scan]:
        if scene not in self.scenes():
            raise InputError(f"{self.name}: no scene '{scene}'; it has {', '.join(self.scenes())}")
        scans = self.scans(scene)
        if not scans or not (np.diff([scan.stamp_s for scan in scans]) > 0).all():
            raise InputError(f"{self.name}: scene {scene} has no scans, or time stamps that do not increase; "
                             "unpack it again or leave it out")
        return scans

    @staticmethod
    def _keyframe_numbers(scans: list[Scan]) -> list[int]:
        return keyframe_numbers(np.array([scan.stamp_s for scan in scans]))
