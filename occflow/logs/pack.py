"""Any driving log -> a recording in occflow's own compact format (occflow.logs.recording reads it)."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from occflow.atomic import atomic_folder
from occflow.errors import InputError
from occflow.geometry import is_rigid
from occflow.grid import CLASS_NAMES
from occflow.logs.protocol import DrivingLog, Keyframe, Sweep
from occflow.logs.recording_files import (
    FORMAT,
    LEAST_CELL_M,
    MOST_CELL_M,
    RECORDING,
    SCENE,
    RecordedSweep,
    scene_values,
    sweep_file,
    write_record,
)
from occflow.logs.scan_points import FARTHEST_M
from occflow.logs.sweep_codec import SweepPoints, sweep_bytes
from occflow.records import bounded, file_name, one_line, shown_name

MAX_ATTRIBUTION = 2000  # characters


@dataclass(frozen=True)
class PackSettings:
    """How a log is packed.

    Args:
        name: of the recording; that of its folder where empty.
        attribution: whose the data are, under which licence, and what was changed; one line.
        cell_m: points are kept to the middle of cells of this size, metres, and points in one cell are one.
        max_range_m: points farther from the sensor are dropped.
    """

    name: str = ""
    attribution: str = ""
    cell_m: float = 0.01
    max_range_m: float = 250.0

    def __post_init__(self) -> None:
        try:
            bounded(self.cell_m, MOST_CELL_M, "pack.cell_m", LEAST_CELL_M)
            bounded(self.max_range_m, FARTHEST_M, "pack.max_range_m", self.cell_m)
            if len(self.attribution) > MAX_ATTRIBUTION or not (self.attribution + " ").isprintable():
                raise ValueError(f"pack.attribution is no line of at most {MAX_ATTRIBUTION} printable characters")
        except ValueError as error:
            raise InputError(f"{error}; set another") from None


@dataclass
class Packed:
    """What was packed: how many sweeps, points that the log had, points too far off, and points that are kept."""

    scenes: int = 0
    sweeps: int = 0
    points: int = 0
    far: int = 0
    kept: int = 0
    num_bytes: int = 0

    def __str__(self) -> str:
        lost = self.points - self.far - self.kept
        return (f"{self.scenes} scenes, {self.sweeps} sweeps, {self.num_bytes / 1e6:.1f} MB; of {self.points} points "
                f"{self.kept} are kept, {self.far} were beyond the range, {lost} in the cell of another")


def pack_log(log: DrivingLog, root: Path, settings: PackSettings, scenes: Sequence[str] | None = None) -> Packed:
    """Write scenes of a log (None: all) as a recording into a folder, which appears whole or not at all.

    Boxes are kept at the keyframes; between them a recording interpolates, whatever the log did.

    Raises:
        InputError: no such scenes, what cannot be read of them, or a folder that is there already and not empty.
    """
    names = log.scenes() if scenes is None else list(dict.fromkeys(scenes))
    unknown = [scene for scene in names if scene not in log.scenes()]
    if unknown or not names:
        what = f"no scene {one_line(repr(unknown[0]))}" if unknown else "no scenes"
        raise InputError(f"{log.name}: {what}; name others with pack.scenes or pack.split")
    try:
        name = shown_name(settings.name or root.resolve().name)
        splits = {split: [scene for scene in members if scene in names] for split, members in log.splits().items()}
        for scene in names:
            file_name(scene)
    except ValueError as error:
        raise InputError(f"{log.name}: {error}; a recording and its scenes are named so in files") from None
    packed = Packed()
    try:
        with atomic_folder(root) as partial:
            for scene in names:
                (partial / scene).mkdir()
                _pack_scene(log, scene, partial / scene, settings, packed)
            write_record(partial / RECORDING, {
                "format": FORMAT, "name": name, "attribution": settings.attribution, "class_names": list(CLASS_NAMES),
                "cell_m": settings.cell_m, "scenes": names, "splits": splits})
            packed.num_bytes = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
    except FileExistsError:
        raise InputError(f"{root}: is there already and not empty; remove it, or name another with "
                         "pack.root=PATH") from None
    return packed


def configured_scenes(log: DrivingLog, pack: Mapping) -> list[str]:
    """The scenes that `pack.split` and `pack.scenes` name; all where both are empty.

    Raises:
        InputError: no such split, or a scene that is not in it.
    """
    splits = log.splits()
    if pack["split"] and pack["split"] not in splits:
        raise InputError(f"pack.split: no split '{one_line(pack['split'])}'; the log has {', '.join(splits)}")
    names = splits[pack["split"]] if pack["split"] else log.scenes()
    unknown = [scene for scene in pack["scenes"] if scene not in names]
    if unknown:
        raise InputError(f"pack.scenes: no scene {one_line(repr(unknown[0]))} among the {len(names)} of "
                         f"{pack['split'] or 'the log'}; name others")
    return list(pack["scenes"]) or names


def _pack_scene(log: DrivingLog, scene: str, folder: Path, settings: PackSettings, packed: Packed) -> None:
    keyframes = {keyframe.token: keyframe for keyframe in log.keyframes(scene)}
    recorded = []
    for number, sweep in enumerate(log.sweeps(scene)):
        content = _content(sweep, settings, packed)
        (folder / sweep_file(number)).write_bytes(content)
        recorded.append(_recorded(sweep, keyframes, content))
    missing = set(keyframes) - {sweep.keyframe for sweep in recorded}
    if missing or not keyframes:
        what = f"no sweep of keyframe {min(missing)}" if missing else "no keyframes"
        raise InputError(f"{log.name}: scene {scene} has {what}; leave it out with pack.scenes")
    write_record(folder / SCENE, scene_values(scene, recorded))
    packed.scenes += 1


def _content(sweep: Sweep, settings: PackSettings, packed: Packed) -> bytes:
    """The file of a sweep."""
    near = np.linalg.norm(sweep.points_sensor, axis=1) <= settings.max_range_m
    labels, moving = (None if part is None else part[near] for part in (sweep.labels, sweep.moving))
    try:
        content, kept = sweep_bytes(SweepPoints(sweep.points_sensor[near], labels, moving), settings.cell_m)
    except ValueError as error:
        raise InputError(f"{sweep.path}: cannot be packed ({error} within {settings.max_range_m:g} m); set "
                         "pack.max_range_m or pack.cell_m, or leave its scene out with pack.scenes") from None
    packed.sweeps += 1
    packed.points += len(near)
    packed.far += int((~near).sum())
    packed.kept += kept
    return content


def _recorded(sweep: Sweep, keyframes: Mapping[str, Keyframe], content: bytes) -> RecordedSweep:
    poses = sweep.world_from_ego, sweep.world_from_sensor
    if not (math.isfinite(sweep.stamp_s) and all(map(is_rigid, poses))):
        raise InputError(f"{sweep.path}: time or pose of the sweep is not finite and rigid; repair the log")
    boxes = () if sweep.keyframe is None else keyframes[sweep.keyframe].boxes
    return RecordedSweep(sweep.stamp_s, *poses, sweep.keyframe, boxes, len(content), zlib.crc32(content))
