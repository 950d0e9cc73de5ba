"""The occupancy of a log on disk: a folder with meta.json and one file a scene (occflow.occupancy.scene_file)."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from occflow.atomic import write_json
from occflow.errors import InputError
from occflow.grid import CLASS_NAMES, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.scene_file import read_scene, scene_path
from occflow.occupancy.settings import OccupancySettings

FORMAT = "occflow-occupancy-1"
META = "meta.json"
SCENES_KEPT = 32  # trainings draw frames from all scenes; a scene at 200 x 200 x 16 takes some 15 MB
SCENE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")  # it becomes a file name
REMEDY = "remove the folder, or name another with data.store=PATH"


@dataclass(frozen=True)
class StoreSummary:
    """What a store amounts to; `occupied_share` is the mean share of occupied voxels a frame (nan without frames)."""

    scenes: int
    frames: int
    occupied_share: float
    megabytes: float


@dataclass(frozen=True)
class StoreLayout:
    """What a store holds, before any of it is built.

    Args:
        grid: grid of every frame.
        settings: how its occupancy is made.
        log: name of the log.
        splits: scene names by split.
    """

    grid: VoxelGrid
    settings: OccupancySettings
    log: str
    splits: dict[str, list[str]]

    def identity(self) -> dict:
        """The part of meta.json that must agree for a store to be the wanted one."""
        return {"format": FORMAT, "grid": self.grid.to_dict(), "grid_pose": "ego", "class_names": list(CLASS_NAMES),
                "settings": self.settings.to_dict(), "log": self.log, "splits": self.splits}


class OccupancyStore:
    """Read access to a finished store.

    Attributes:
        path: its folder.
        grid: grid of every frame.
        log: name of the log it was built from.
    """

    def __init__(self, path: Path, grid: VoxelGrid, log: str, splits: dict[str, list[str]],
                 num_frames: dict[str, int]) -> None:
        self.path = Path(path)
        self.grid = grid
        self.log = log
        self._splits = splits
        self._num_frames = num_frames
        self._kept: OrderedDict[str, tuple[OccupancyFrame, ...]] = OrderedDict()

    @classmethod
    def open(cls, path: str | Path) -> OccupancyStore:
        """A store that `build_store` finished.

        Raises:
            InputError: no store, an unfinished one, or one of another format.
        """
        path = Path(path)
        if not (path / META).is_file():
            raise InputError(f"{path}: no occupancy store; run tools/build_occupancy.py, or name one with data.store=")
        meta = _read_meta(path)
        if meta["scenes"] is None:
            raise InputError(f"{path}: unfinished occupancy store; run tools/build_occupancy.py again to finish it")
        try:
            splits = {str(split): [str(name) for name in names] for split, names in meta["splits"].items()}
            num_frames = {str(scene): int(count) for scene, count in meta["scenes"].items()}
            grid = VoxelGrid.from_dict(meta["grid"])
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise InputError(f"{path / META}: broken field ({type(error).__name__}: {error}); {REMEDY}") from None
        unknown = sorted({name for names in splits.values() for name in names} - set(num_frames))
        if unknown or not all(SCENE_NAME.fullmatch(scene) for scene in num_frames):
            raise InputError(f"{path / META}: its splits and scenes do not agree; {REMEDY}")
        return cls(path, grid, str(meta["log"]), splits, num_frames)

    def scenes(self, split: str | None = None) -> list[str]:
        """Scene names of a split, or of all.

        Raises:
            InputError: no such split.
        """
        if split is None:
            return list(self._num_frames)
        if split not in self._splits:
            raise InputError(f"{self.path}: no split '{split}'; it has {', '.join(self._splits)}")
        return list(self._splits[split])

    def num_frames(self, scene: str) -> int:
        self._refuse_unknown(scene)
        return self._num_frames[scene]

    def frame(self, scene: str, index: int) -> OccupancyFrame:
        """Frame number `index` (from 0, in the order of time) of a scene.

        Raises:
            InputError: no such scene or frame, or a broken file.
        """
        self._refuse_unknown(scene)
        if not 0 <= index < self._num_frames[scene]:
            raise InputError(f"{self.path}: scene {scene} has frames 0 to {self._num_frames[scene] - 1}, not {index}")
        if scene not in self._kept:
            frames = read_scene(self.path, scene, self.grid)
            if len(frames) != self._num_frames[scene]:
                raise InputError(f"{scene_path(self.path, scene)}: {len(frames)} frames where {META} counts "
                                 f"{self._num_frames[scene]}; {REMEDY}")
            while len(self._kept) >= SCENES_KEPT:
                self._kept.popitem(last=False)
            self._kept[scene] = frames
        self._kept.move_to_end(scene)
        return self._kept[scene][index]

    def summary(self) -> StoreSummary:
        """Figures of the whole store; reads every scene."""
        num_frames = sum(self._num_frames.values())
        num_occupied = sum(len(self.frame(scene, index).flat)
                           for scene, count in self._num_frames.items() for index in range(count))
        size = sum(file.stat().st_size for file in self.path.iterdir())
        share = num_occupied / (num_frames * self.grid.num_voxels) if num_frames else float("nan")
        return StoreSummary(len(self._num_frames), num_frames, share, size / 1e6)

    def _refuse_unknown(self, scene: str) -> None:
        if scene not in self._num_frames:
            raise InputError(f"{self.path}: no scene '{scene}' in this store; it has {len(self._num_frames)} others")


def start_store(path: Path, layout: StoreLayout, scenes: list[str]) -> dict[str, int] | None:
    """Open a folder for building the scenes of a log.

    Returns:
        number of frames of the scenes that are there already; None where the store is finished.

    Raises:
        InputError: the folder holds another store or something else.
    """
    for scene in scenes:
        if not SCENE_NAME.fullmatch(scene):
            raise InputError(f"{layout.log}: scene name {scene!r} cannot be a file name; rename it in the log")
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: a file, not a folder; name another with data.store=PATH")
    if not (path / META).is_file():
        if path.is_dir() and any(not item.name.startswith(".") for item in path.iterdir()):
            raise InputError(f"{path}: holds something that is no occupancy store; name another with data.store=PATH")
        write_json(path / META, {**layout.identity(), "scenes": None})
    meta = _read_meta(path)
    for key, wanted in layout.identity().items():
        if meta.get(key) != wanted:
            raise InputError(f"{path}: this store was built with another {key.replace('_', ' ')}; {REMEDY}")
    if meta["scenes"] is not None:
        return None
    for partial in path.glob(".*.partial*"):
        partial.unlink()  # of a build that was killed
    return {scene: len(read_scene(path, scene, layout.grid)) for scene in scenes if scene_path(path, scene).exists()}


def finish_store(path: Path, layout: StoreLayout, num_frames: dict[str, int]) -> None:
    """Mark a store as finished, with the number of frames of every scene in the log's order."""
    write_json(path / META, {**layout.identity(), "scenes": num_frames})


def _read_meta(path: Path) -> dict:
    """meta.json of this format."""
    try:
        meta = json.loads((path / META).read_text())
        if not isinstance(meta, dict) or "scenes" not in meta or "log" not in meta:
            raise ValueError("not the description of a store")
    except ValueError as error:
        raise InputError(f"{path / META}: broken ({' '.join(str(error).split())}); {REMEDY}") from None
    if meta.get("format") != FORMAT:
        raise InputError(f"{path}: store of format '{meta.get('format')}', this occflow reads '{FORMAT}'; {REMEDY}")
    return meta
