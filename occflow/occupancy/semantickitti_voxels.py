"""SemanticKITTI's own voxels: sequences/NN/voxels/NNNNNN.{bin,label,invalid}, one grid ahead of the scanner."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.grid import OTHERS, VoxelGrid
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
        for path in sorted((self._folders[scene] / "voxels").glob("*.bin")):
            if not path.stem.isdigit() or int(path.stem) >= len(poses):
                raise InputError(f"{path}: no pose for it among the {len(poses)} of poses.txt; remove the file")
            number = int(path.stem)
            volume, invalid = self._classes(path), path.with_suffix(".invalid")
            observed = np.packbits(~self._bits(invalid)) if invalid.is_file() else None
            flat = np.flatnonzero(volume != UNLABELLED)
            yield OccupancyFrame(flat, volume[flat], poses[number], float(stamps_s[number]), path.stem,
                                 observed=observed)

    def _classes(self, path: Path) -> np.ndarray:
        """Classes [V] uint8 in flat order, UNLABELLED where free."""
        labels = path.with_suffix(".label")
        if not labels.is_file():
            return np.where(self._bits(path), OTHERS, UNLABELLED).astype(np.uint8)
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
