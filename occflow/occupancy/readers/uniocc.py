"""UniOcc: SCENE/STEP.npz, or SCENE/VEHICLE/STEP.npz, in a folder whose name ends in RATEHz-SPLIT.

Read are `occ_label`, `occ_mask_camera` and `ego_to_world_transformation`. Left out are the flow fields, which no
forecaster here takes, and `annotations` and `cameras`, which are pickled objects: nothing is unpickled from a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.geometry import is_rigid
from occflow.grid import CLASS_NAMES, FREE, OCC3D_GRID
from occflow.logs.fingerprint import fingerprint_of
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.readers.ready_made import read_volume

UNIOCC_GRID = OCC3D_GRID
FOLDER_NAME = re.compile(r".+-(\d+)Hz-(\w+)")
CLASSES = ("others", "car", "bicycle", "motorcycle", "pedestrian", "traffic_cone", "vegetation", "driveable_surface",
           "terrain", "manmade")  # ours, in the order of UniOcc's; 10 is free
LABEL_OF = np.array([*(CLASS_NAMES.index(name) for name in CLASSES), FREE], dtype=np.uint8)
SPLIT_OF = {"train": "train", "val": "val", "mini": "val", "test": "test"}


class UniOccSequences:
    """OccupancySequences over one data set of UniOcc; observed is `occ_mask_camera` (in a camera's view).

    Stamps are steps divided by the rate. A vehicle of a scene with several is a scene of its own, SCENE-VEHICLE.

    Raises:
        InputError: no steps, or a folder whose name does not say rate and split; later on, a broken file.
    """

    def __init__(self, root: str | Path) -> None:
        self.root, self.grid = Path(root).expanduser().resolve(), UNIOCC_GRID
        named = FOLDER_NAME.fullmatch(self.root.name)
        if not named or named[2] not in SPLIT_OF or int(named[1]) == 0:
            raise InputError(f"{self.root}: its name must end in RATEHz-SPLIT, such as NuScenes-via-Occ3D-2Hz-mini; "
                             "point log.root at one of UniOcc's data sets")
        self._rate_hz, self._split = int(named[1]), SPLIT_OF[named[2]]
        steps = [path for pattern in ("*/*.npz", "*/*/*.npz") for path in self.root.glob(pattern)
                 if path.stem.isdecimal()]
        self._steps: dict[str, list[Path]] = {}
        for path in sorted(steps, key=lambda path: (path.parent.as_posix(), int(path.stem))):
            self._steps.setdefault("-".join(path.parent.relative_to(self.root).parts), []).append(path)
        if not steps:
            raise InputError(f"{self.root}: no SCENE/STEP.npz; point log.root at one of UniOcc's data sets")
        self.name = f"uniocc-{fingerprint_of(self.root, steps)}/{self.root.name}"

    def scenes(self) -> list[str]:
        return list(self._steps)

    def splits(self) -> dict[str, list[str]]:
        return {"train": [], "val": [], self._split: self.scenes()}

    def frames(self, scene: str) -> Iterator[OccupancyFrame]:
        paths = self._steps[scene]
        steps = [int(path.stem) for path in paths]
        for step, following in zip(steps, steps[1:]):
            if following != step + 1:
                raise InputError(f"{paths[0].parent}: step {step + (following > step)} is missing or there twice; "
                                 "unpack the scene again")
        for path in paths:
            yield self._frame(path)

    def _frame(self, path: Path) -> OccupancyFrame:
        labels = read_volume(path, "occ_label", self.grid.shape).reshape(-1)
        pose = read_volume(path, "ego_to_world_transformation", (4, 4))
        if not np.isin(labels, np.arange(len(LABEL_OF))).all():
            raise InputError(f"{path}: occ_label beyond 0..{len(LABEL_OF) - 1}; not a UniOcc file")
        if not is_rigid(pose.astype(np.float64)):
            raise InputError(f"{path}: ego_to_world_transformation is not finite and rigid; copy the file again")
        classes = LABEL_OF[labels.astype(np.int64)]
        mask = read_volume(path, "occ_mask_camera", self.grid.shape, optional=True)
        flat = np.flatnonzero(classes != FREE)
        return OccupancyFrame(flat, classes[flat], pose.astype(np.float64), int(path.stem) / self._rate_hz, path.stem,
                              observed=None if mask is None else np.packbits(mask.reshape(-1) != 0))
