"""Occ3D-nuScenes: gts/SCENE/SAMPLE_TOKEN/labels.npz, with order, stamps, poses and boxes of nuScenes' tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.grid import FREE, OCC3D_GRID
from occflow.logs.fingerprint import fingerprint_of
from occflow.logs.nuscenes_sequences import NuScenesSequences
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.readers.ready_made import read_volume
from occflow.records import file_name


class Occ3dSequences:
    """OccupancySequences over Occ3D; scenes without a folder in gts/ are left out. Observed is `mask_lidar`.

    Args:
        gts: the folder of scenes.
        root, version: nuScenes' tables, ROOT/VERSION/*.json; no scans are needed.
    """

    def __init__(self, gts: str | Path, root: str | Path, version: str) -> None:
        self._arguments = gts, root, version
        self.gts, self._tables, self.grid = Path(gts).expanduser(), NuScenesSequences(root, version), OCC3D_GRID
        self._scenes = [scene for scene in self._tables.scenes() if self._folder(scene).is_dir()]
        if not self._scenes:
            raise InputError(f"{self.gts}: no scene of {self._tables.tables}; point log.gts at Occ3D's gts/ folder")
        files = [path for scene in self._scenes for path in self._folder(scene).glob("*/labels.npz")]
        self.name = f"occ3d-{fingerprint_of(self.gts, files)}/{self._tables.name}"

    def __reduce__(self) -> tuple:
        return Occ3dSequences, self._arguments  # a worker process reads the tables itself

    def scenes(self) -> list[str]:
        return list(self._scenes)

    def splits(self) -> dict[str, list[str]]:
        splits = self._tables.splits()
        return {split: [name for name in names if name in self._scenes] for split, names in splits.items()}

    def frames(self, scene: str) -> Iterator[OccupancyFrame]:
        for keyframe in self._tables.keyframes(scene):
            path = self._folder(scene, keyframe.token) / "labels.npz"
            semantics = read_volume(path, "semantics", self.grid.shape)
            if semantics.min() < 0 or semantics.max() > FREE or (semantics != semantics.astype(np.uint8)).any():
                raise InputError(f"{path}: semantics beyond 0..{FREE}; not an Occ3D-nuScenes file")
            mask = read_volume(path, "mask_lidar", self.grid.shape, optional=True)
            frame = OccupancyFrame.from_dense(semantics, keyframe.world_from_ego, keyframe.stamp_s, keyframe.token,
                                              keyframe.boxes)
            yield frame if mask is None else replace(frame, observed=np.packbits(mask.reshape(-1) != 0))

    def _folder(self, *names: str) -> Path:
        """The folder of a scene, or of a keyframe of it, as the tables name them."""
        try:
            return self.gts.joinpath(*map(file_name, names))
        except ValueError as error:
            raise InputError(f"{self._tables.tables}: {error}, as Occ3D's folders are called; unpack the tables "
                             "again") from None
