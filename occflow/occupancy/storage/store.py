"""The occupancy of a log on disk: a folder with meta.json and one file a scene (storage.scene_file)."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from typing_extensions import TypedDict

from occflow.atomic import write_json
from occflow.errors import InputError
from occflow.grid import CLASS_NAMES, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.settings import DEMO_HISTORY, DEMO_HORIZON, OccupancySettings
from occflow.occupancy.sighting import Sighting
from occflow.occupancy.storage.remote import is_url, local_folder, refuse_url
from occflow.occupancy.storage.scene_file import META, SceneFile, scene_path
from occflow.occupancy.tasks import Perceive, Task, task_at
from occflow.records import bounded, conform, one_line, read_json, refuse_broken_seal, sealed

FORMAT = "occflow-occupancy-4"
FIRST_HALF, SECOND_HALF = "first_half", "second_half"
MAX_FRAMES = 1_000_000  # of a scene: more than a day at 10 Hz
KEPT_BYTES = 512 << 20  # of frames in memory: trainings draw them from all scenes; one at 200 x 200 x 16 has 0.4 MB
SCENE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")  # it becomes a file name
REMEDY = "remove the folder to have it built anew, or name another folder"


class Meta(TypedDict):
    """meta.json, sealed; `scenes` are the frames of every scene, None while the store is being built."""

    format: str
    grid: dict
    grid_pose: str
    class_names: list[str]
    settings: dict | None
    log: str
    splits: dict[str, list[str]]
    left_out: list[str]
    scenes: dict[str, int] | None
    sha256: str


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
        settings: how its occupancy is made; None where it was made by somebody else.
        log: name of the log.
        splits: scene names by split.
        left_out: scenes of the log that could not be read.
    """

    grid: VoxelGrid
    settings: OccupancySettings | None
    log: str
    splits: dict[str, list[str]]
    left_out: tuple[str, ...] = ()

    def identity(self) -> dict:
        """The part of meta.json that must agree for a store to be the wanted one."""
        return {"format": FORMAT, "grid": self.grid.to_dict(), "grid_pose": "ego", "class_names": list(CLASS_NAMES),
                "settings": self.settings and self.settings.to_dict(), "log": self.log, "splits": self.splits,
                "left_out": list(self.left_out)}


class OccupancyStore:
    """Read access to a finished store.

    Attributes:
        path: its folder, or its URL.
        grid: grid of every frame.
        log: name of the log it was built from.
        settings: how it was built, plain values; None where it was made by somebody else.
        left_out: scenes of the log that could not be read.
    """

    def __init__(self, path: str | Path, grid: VoxelGrid, log: str, splits: dict[str, list[str]],
                 num_frames: dict[str, int], settings: dict | None = None, left_out: Sequence[str] = ()) -> None:
        self.path = path if is_url(path) else Path(path)
        self.grid = grid
        self.log = log
        self.settings = settings
        self.left_out = tuple(left_out)
        self._splits = splits
        self._num_frames = num_frames
        self._files: dict[str, SceneFile] = {}
        self._kept: OrderedDict[tuple[str, int, bool], OccupancyFrame] = OrderedDict()
        self._kept_bytes = 0

    def __getstate__(self) -> dict:
        """For another process, which opens the files itself."""
        return {**vars(self), "_files": {}, "_kept": OrderedDict(), "_kept_bytes": 0}

    @classmethod
    def open(cls, path: str | Path) -> OccupancyStore:
        """A store that `build_store` finished, in a folder or, read through fsspec, at a URL.

        Raises:
            InputError: no store, an unfinished one, or one of another format.
        """
        folder = local_folder(path, META) if is_url(path) else Path(path)
        path = path if is_url(path) else folder
        if not (folder / META).is_file():
            raise InputError(f"{path}: no occupancy store; run build_occupancy, or name another folder")
        meta = _read_meta(folder)
        if meta["scenes"] is None:
            raise InputError(f"{path}: unfinished occupancy store; run build_occupancy again to finish it")
        splits, num_frames = meta["splits"], meta["scenes"]
        try:
            grid = VoxelGrid.from_dict(meta["grid"])
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, InputError) as error:
            raise InputError(f"{folder / META}: broken field ({type(error).__name__}: {one_line(error)}); "
                             f"{REMEDY}") from None
        unknown = sorted({name for names in splits.values() for name in names} - set(num_frames))
        if unknown or not all(SCENE_NAME.fullmatch(scene) for scene in num_frames):
            raise InputError(f"{folder / META}: its splits and scenes do not agree; {REMEDY}")
        return cls(path, grid, meta["log"], splits, num_frames, meta["settings"], meta["left_out"])

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

    def parts(self, split: str | None = None) -> list[tuple[str, range]]:
        """Scenes of a split (None: all) and the numbers of their frames. Of FIRST_HALF and SECOND_HALF, which every
        store has, all scenes and the frames of that half of each: to train on a drive and score on the rest of it.

        Raises:
            InputError: no such split.
        """
        halves, counts = (FIRST_HALF, SECOND_HALF), self._num_frames
        if split not in halves:
            return [(scene, range(counts[scene])) for scene in self.scenes(split)]
        return [(scene, range(count // 2) if split == FIRST_HALF else range(count // 2, count))
                for scene, count in counts.items()]

    def splits(self) -> list[str]:
        """Names of the splits."""
        return list(self._splits)

    def num_frames(self, scene: str) -> int:
        self._refuse_unknown(scene)
        return self._num_frames[scene]

    def stamps_s(self, scene: str) -> list[float]:
        """Times of the frames of a scene, seconds, increasing."""
        return self.scene_file(scene).stamps_s

    def frame(self, scene: str, index: int) -> OccupancyFrame:
        """Frame number `index` (from 0, in the order of time) of a scene.

        Raises:
            InputError: no such scene or frame, or a broken file.
        """
        return self._frame(scene, index, causal=False)

    def causal_frame(self, scene: str, index: int) -> OccupancyFrame:
        """What was known at frame number `index` from the sweeps until then: geometry without labels and boxes.

        Raises:
            InputError: as `frame`; a store without causal occupancy.
        """
        self._refuse_without_causal(scene)
        return self._frame(scene, index, causal=True)

    def sighting(self, scene: str, index: int) -> Sighting:
        """As `causal_frame`, with the cells of its voxels; not kept in memory."""
        self._refuse_without_causal(scene)
        self._refuse_no_frame(scene, index)
        return self.scene_file(scene).sighting(index)

    def voxel_parts(self, scene: str, index: int) -> np.ndarray | None:
        """In which parts of its voxels (occupancy.parts) the matter of a frame is, [N, PARTS] bool, for trainings; None
        where the store does not tell (data.occupancy.voxel_parts).

        Raises:
            InputError: as `frame`.
        """
        self._refuse_no_frame(scene, index)
        return self.scene_file(scene).voxel_parts(index)

    def _refuse_without_causal(self, scene: str) -> None:
        if not self.scene_file(scene).causal:
            raise InputError(f"{self.path}: built without causal occupancy; build another with "
                             "a causal window (data.occupancy.causal_window_s) from a log with sweeps")

    def task(self, scene: str, present: int, history: int = DEMO_HISTORY, horizon: int = DEMO_HORIZON,
             input_kind: str = "occupancy", perceive: Perceive | None = None) -> Task:
        """What a forecaster is given at frame number `present` of a scene; see `task_at`."""
        return task_at(self, scene, present, history, horizon, input_kind, perceive)

    def scene_file(self, scene: str) -> SceneFile:
        """The file of a scene.

        Raises:
            InputError: no such scene, or a broken file.
        """
        self._refuse_unknown(scene)
        if scene not in self._files:
            folder = local_folder(self.path, f"{scene}.occ") if is_url(self.path) else self.path
            file = SceneFile(folder, scene, self.grid)
            if len(file) != self._num_frames[scene]:
                raise InputError(f"{file.path}: {len(file)} frames where {META} counts {self._num_frames[scene]}; "
                                 f"{REMEDY}")
            self._files[scene] = file
        return self._files[scene]

    def summary(self) -> StoreSummary:
        """Figures of the whole store; reads every scene."""
        num_frames = sum(self._num_frames.values())
        num_occupied = sum(len(self.frame(scene, index).flat)
                           for scene, count in self._num_frames.items() for index in range(count))
        size = sum(self.scene_file(scene).path.stat().st_size for scene in self._num_frames)
        share = num_occupied / (num_frames * self.grid.num_voxels) if num_frames else float("nan")
        return StoreSummary(len(self._num_frames), num_frames, share, size / 1e6)

    def _frame(self, scene: str, index: int, causal: bool) -> OccupancyFrame:
        self._refuse_no_frame(scene, index)
        key = scene, index, causal
        if key not in self._kept:
            frame = self.scene_file(scene).frame(index, causal)
            self._kept[key] = frame
            self._kept_bytes += frame.num_bytes
            while self._kept_bytes > KEPT_BYTES and len(self._kept) > 1:
                self._kept_bytes -= self._kept.popitem(last=False)[1].num_bytes
        self._kept.move_to_end(key)
        return self._kept[key]

    def _refuse_no_frame(self, scene: str, index: int) -> None:
        self._refuse_unknown(scene)
        if not 0 <= index < self._num_frames[scene]:
            has = f"frames 0 to {self._num_frames[scene] - 1}, not {index}" if self._num_frames[scene] else "no frames"
            raise InputError(f"{self.path}: scene {scene} has {has}")

    def _refuse_unknown(self, scene: str) -> None:
        if scene not in self._num_frames:
            raise InputError(f"{self.path}: no scene '{scene}' in this store; it has {len(self._num_frames)} others")


def start_store(path: Path, layout: StoreLayout, scenes: list[str], alone: bool = True) -> dict[str, int] | None:
    """Open a folder for building the scenes of a log.

    Args:
        alone: nobody else builds into the folder, so half-written files are of a build that was killed: removed.

    Returns:
        number of frames of the scenes that are there already; None where the store is finished and none was removed.

    Raises:
        InputError: the folder holds another store or something else.
    """
    refuse_url(path)
    for scene in scenes:
        if not SCENE_NAME.fullmatch(scene):
            raise InputError(f"{layout.log}: scene name {scene!r} cannot be a file name; rename it in the log")
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: a file, not a folder; name a folder")
    if not (path / META).is_file():
        if path.is_dir() and any(not item.name.startswith(".") for item in path.iterdir() if item.name != META):
            raise InputError(f"{path}: holds something that is no occupancy store; name another folder")
        write_json(path / META, sealed({**layout.identity(), "scenes": None}))
    meta = _read_meta(path)
    for key, wanted in layout.identity().items():
        if meta.get(key) != wanted:
            found = f" or another state of it ({one_line(meta['log'])}, now {wanted})" if key == "log" else ""
            raise InputError(f"{path}: this store was built with another {key.replace('_', ' ')}{found}; {REMEDY}")
    if meta["scenes"] is not None and all(scene_path(path, scene).is_file() for scene in scenes):
        return None
    if alone:
        _remove_partial_files(path)
    return finished_scenes(path, layout, scenes)


def finished_scenes(path: Path, layout: StoreLayout, scenes: list[str]) -> dict[str, int]:
    """Number of frames of the scenes that are there, in the given order."""
    return {scene: len(SceneFile(path, scene, layout.grid)) for scene in scenes if scene_path(path, scene).exists()}


def abandon_store(path: Path) -> None:
    """Leave nothing of a build that stopped before its first scene, so that a repaired log can take the place."""
    if not any(path.glob("*.occ")):
        _remove_partial_files(path)
        (path / META).unlink(missing_ok=True)
        if not any(path.iterdir()):
            path.rmdir()


def _remove_partial_files(path: Path, pattern: str = ".*.partial*") -> None:
    for partial in path.glob(pattern):
        partial.unlink(missing_ok=True)


def finish_store(path: Path, layout: StoreLayout, num_frames: dict[str, int]) -> None:
    """Mark a store as finished, with the number of frames of every scene in the log's order."""
    _remove_partial_files(path, ".*.partial.occ")  # another machine may be finishing it too, and writing META
    write_json(path / META, sealed({**layout.identity(), "scenes": num_frames}))


def _read_meta(path: Path) -> Meta:
    """meta.json of this format."""
    meta = read_json(path / META, remedy=REMEDY)
    if not isinstance(meta, dict) or "scenes" not in meta or "log" not in meta:
        raise InputError(f"{path / META}: broken (not the description of a store); {REMEDY}")
    if meta.get("format") != FORMAT:
        raise InputError(f"{path / META}: store of format '{one_line(str(meta.get('format')))}', this occflow reads "
                         f"'{FORMAT}'; {REMEDY}")
    try:
        checked = conform(meta, Meta)
        for scene, count in (checked["scenes"] or {}).items():
            bounded(count, MAX_FRAMES, f"frames of scene {one_line(scene)}")
    except ValueError as error:
        raise InputError(f"{path / META}: broken field ({error}); {REMEDY}") from None
    try:
        refuse_broken_seal(meta)
    except ValueError as error:
        raise InputError(f"{path / META}: broken ({error}); {REMEDY}") from None
    return checked
