"""SemanticKITTI's own voxels: sequences/NN/voxels/NNNNNN.{bin,label,invalid}, one grid ahead of the scanner."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.grid import OTHERS, VoxelGrid
from occflow.logs.kitti_scenes import refuse_scans_beyond
from occflow.logs.protocol import UNLABELLED
from occflow.logs.semantickitti import CLASS_OF_LABEL, SemanticKittiLog, read_track
from occflow.occupancy.frame import OccupancyFrame

# Velodyne frame. Published: z from -2 m; measured on the files, it starts one voxel lower: its bottom layer is empty.
VOXELS_GRID = VoxelGrid((0.0, -25.6, -2.2), (256, 256, 32), 0.2)


class SemanticKittiVoxels:
    """OccupancySequences over ROOT/sequences/NN/voxels.

    With .label files the completed, labelled volumes; without, the scan's own voxels (.bin) as class "others".
    Observed is what .invalid does not name; the grid pose is the Velodyne's. Sequences without voxels are left out.
    """

    def __init__(self, root: str | Path) -> None:
        self._log, self.grid = SemanticKittiLog(root), VOXELS_GRID
        self._folders = {scene: self._log.root / "sequences" / scene for scene in self._log.scenes()}
        self._scenes = [scene for scene, folder in self._folders.items() if any(folder.glob("voxels/*.bin"))]
        if not self._scenes:
            raise InputError(f"{self._log.root}: no sequences/NN/voxels/*.bin; unpack SemanticKITTI's voxel data")
        self.name = self._log.name.replace("semantickitti@", "semantickitti_voxels@")

    def scenes(self) -> list[str]:
        return list(self._scenes)

    def splits(self) -> dict[str, list[str]]:
        return {split: [name for name in names if name in self._scenes] for split, names in self._log.splits().items()}

    def frames(self, scene: str) -> Iterator[OccupancyFrame]:
        stamps_s, poses = read_track(self._folders[scene])
        folder = self._folders[scene] / "voxels"
        refuse_scans_beyond(folder, len(poses), "poses")
        paths = sorted(folder.glob("*.bin"), key=lambda path: int(path.stem))
        _refuse_partly(paths, ".label")
        _refuse_partly(paths, ".invalid")
        _warn_of_gaps(scene, paths)
        for path in paths:
            number = int(path.stem)
            volume, invalid = self._classes(path), path.with_suffix(".invalid")
            observed = np.packbits(~self._bits(invalid)) if invalid.is_file() else None
            flat = np.flatnonzero(volume != UNLABELLED)
            yield OccupancyFrame(flat, volume[flat], poses[number], float(stamps_s[number]), path.stem,
                                 observed=observed)

    def _classes(self, path: Path) -> np.ndarray:
        """Classes [V] uint8 in flat order, UNLABELLED where free."""
        labels, bits = path.with_suffix(".label"), self._bits(path)
        if not labels.is_file():
            return np.where(bits, OTHERS, UNLABELLED).astype(np.uint8)
        self._refuse_length(labels, 2 * self.grid.num_voxels)
        classes = CLASS_OF_LABEL[np.fromfile(labels, dtype="<u2")]
        if (classes < 0).any():
            raise InputError(f"{labels}: a label that SemanticKITTI does not define; copy the file again")
        return classes.astype(np.uint8)

    def _bits(self, path: Path) -> np.ndarray:
        """Mask [V] of a bit-packed file, most significant bit first."""
        self._refuse_length(path, self.grid.num_voxels // 8)
        return np.unpackbits(np.fromfile(path, dtype=np.uint8)).astype(bool)

    @staticmethod
    def _refuse_length(path: Path, size: int) -> None:
        if path.stat().st_size != size:
            raise InputError(f"{path}: {path.stat().st_size} bytes, not {size}; copy the file again")


def _refuse_partly(paths: list[Path], suffix: str) -> None:
    """Raises InputError where some of the frames have a file of a suffix and some have not."""
    lacking = [path for path in paths if not path.with_suffix(suffix).is_file()]
    if lacking and len(lacking) < len(paths):
        raise InputError(f"{lacking[0].with_suffix(suffix)}: missing, as are {len(lacking) - 1} more, though other "
                         "frames have theirs; copy it again, or remove those of the others")


def _warn_of_gaps(scene: str, paths: list[Path]) -> None:
    """One warning of the frames that are not there between others; frames come every fifth scan or so."""
    steps = np.diff([int(path.stem) for path in paths])
    wide = np.flatnonzero(steps > steps.min()) if len(steps) else ()
    if len(wide):
        missing = int((np.ceil(steps[wide] / steps.min()) - 1).sum())
        warnings.warn(f"scene {scene}: {missing} frames are missing, first after {paths[wide[0]]}", stacklevel=3)
