"""The records of a recording, sealed JSON: ROOT/recording.json, what it is; ROOT/SCENE/scene.json, when and where its
sweeps were taken and what was annotated. Poses are x, y, z in metres and a quaternion w, x, y, z."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from typing_extensions import TypedDict

from occflow.errors import InputError
from occflow.geometry import pose_matrix, quaternion_wxyz
from occflow.grid import CLASS_NAMES, NUM_CLASSES
from occflow.logs.protocol import Box
from occflow.logs.sweep_codec import MAX_SWEEP_BYTES
from occflow.records import bounded, conform, file_name, read_json, refuse_broken_seal, sealed, shown_name

FORMAT = "occflow-recording-1"
RECORDING, SCENE = "recording.json", "scene.json"
REMEDY = "copy the recording again"
LEAST_CELL_M, MOST_CELL_M = 1e-4, 1.0
MAX_WORLD_M = 1e9  # of a place; maps in metres end at some 1e7
UNIT_TOLERANCE = 1e-6  # of a quaternion's norm
PLACE_DECIMALS, TURN_DECIMALS = 6, 9  # 1 micrometre; as much at a kilometre's distance

BoxRecord = tuple[int, int, list[float], list[float]]  # number of its track, label, world_from_box, size_lwh_m


class Description(TypedDict):
    """recording.json; `attribution` says whose the data are and what was changed, `scenes` are folders."""

    format: str
    name: str
    attribution: str
    class_names: list[str]
    cell_m: float
    scenes: list[str]
    splits: dict[str, list[str]]
    sha256: str


class KeyframeRecord(TypedDict):
    token: str
    boxes: list[BoxRecord]


class SweepRecord(TypedDict):
    """Of the sweep in the file NUMBER.sweep; `file` is its length and its CRC-32."""

    stamp_s: float
    world_from_ego: list[float]
    world_from_sensor: list[float]
    keyframe: KeyframeRecord | None
    file: tuple[int, int]


class SceneRecord(TypedDict):
    format: str
    scene: str
    tracks: list[str]
    sweeps: list[SweepRecord]
    sha256: str


@dataclass(frozen=True)
class RecordedSweep:
    """A sweep before its points are read; poses [4, 4], token and boxes (of keyframes) as in `Sweep`, `Keyframe`."""

    stamp_s: float
    world_from_ego: np.ndarray
    world_from_sensor: np.ndarray
    keyframe: str | None
    boxes: tuple[Box, ...]
    num_bytes: int
    checksum: int


def sweep_file(number: int) -> str:
    return f"{number:06d}.sweep"


def write_record(path: Path, values: dict) -> None:
    path.write_text(json.dumps(sealed(values), separators=(",", ":")) + "\n")


def read_description(root: Path) -> Description:
    """ROOT/recording.json.

    Raises:
        InputError: no such file, one that is not sound, or one of another format.
    """
    path = root / RECORDING
    values = read_json(path, remedy=REMEDY)
    try:
        found = _unsealed(values, Description)
        shown_name(found["name"])
        bounded(found["cell_m"], MOST_CELL_M, "cell_m", LEAST_CELL_M)
        scenes = [file_name(scene) for scene in found["scenes"]]
        unknown = {name for names in found["splits"].values() for name in names} - set(scenes)
        if not scenes or len(set(scenes)) < len(scenes) or unknown:
            raise ValueError("no scene, two of one name, or a split of others")
        if found["class_names"] != list(CLASS_NAMES):
            raise ValueError("other classes")
    except ValueError as error:
        raise InputError(f"{path}: broken recording ({error}); {REMEDY}") from None
    return found


def scene_values(scene: str, sweeps: Sequence[RecordedSweep]) -> dict:
    """What scene.json has of a scene, to be sealed."""
    tracks: dict[str, int] = {}
    for box in (box for sweep in sweeps for box in sweep.boxes):
        tracks.setdefault(box.track, len(tracks))
    return {"format": FORMAT, "scene": scene, "tracks": list(tracks), "sweeps": [
        {"stamp_s": float(sweep.stamp_s), "world_from_ego": _seven(sweep.world_from_ego),
         "world_from_sensor": _seven(sweep.world_from_sensor),
         "keyframe": None if sweep.keyframe is None else {"token": sweep.keyframe, "boxes": [
             [tracks[box.track], int(box.label), _seven(box.world_from_box), _rounded(box.size_lwh_m, PLACE_DECIMALS)]
             for box in sweep.boxes]},
         "file": [sweep.num_bytes, sweep.checksum]} for sweep in sweeps]}


def read_scene(path: Path, scene: str) -> list[RecordedSweep]:
    """The sweeps of a scene.json in the order of time, keyframes among them.

    Raises:
        InputError: no such file, or one that is not sound.
    """
    values = read_json(path, remedy=REMEDY)
    try:
        found = _unsealed(values, SceneRecord)
        if found["scene"] != scene:
            raise ValueError("of another scene")
        sweeps = [_sweep(record, found["tracks"]) for record in found["sweeps"]]
        tokens = [sweep.keyframe for sweep in sweeps if sweep.keyframe is not None]
        if not tokens or len(set(tokens)) < len(tokens):
            raise ValueError("no keyframe, or two of one token")
        if any(later.stamp_s <= sweep.stamp_s for sweep, later in zip(sweeps, sweeps[1:])):
            raise ValueError("time stamps do not increase")
    except (ValueError, IndexError) as error:
        raise InputError(f"{path}: broken scene ({error}); {REMEDY}") from None
    return sweeps


def _unsealed(values: object, kind: type) -> dict:
    """A record of this format that is as it was written.

    Raises:
        ValueError: anything else.
    """
    found = conform(values, kind)
    if found["format"] != FORMAT:
        raise ValueError(f"not of format {FORMAT}")
    refuse_broken_seal(values)
    return found


def _sweep(record: SweepRecord, tracks: list[str]) -> RecordedSweep:
    keyframe, (size, checksum) = record["keyframe"], record["file"]
    boxes = () if keyframe is None else tuple(_box(box, tracks) for box in keyframe["boxes"])
    return RecordedSweep(record["stamp_s"], _pose(record["world_from_ego"]), _pose(record["world_from_sensor"]),
                         keyframe and shown_name(keyframe["token"]), boxes,
                         int(bounded(size, MAX_SWEEP_BYTES, "bytes of a sweep", 1)), checksum)


def _box(record: BoxRecord, tracks: list[str]) -> Box:
    track, label, pose, size = record
    bounded(label, NUM_CLASSES - 1, "a box's label")
    bounded(track, len(tracks) - 1, "a box's track")
    if len(size) != 3 or not 0 < min(size) <= max(size) < MAX_WORLD_M:
        raise ValueError("a box's size is not three positive lengths")
    return Box(tracks[track], label, _pose(pose), np.array(size, np.float64))


def _pose(seven: list[float]) -> np.ndarray:
    if len(seven) != 7 or max(map(abs, seven[:3])) > MAX_WORLD_M \
            or not abs(np.linalg.norm(np.clip(seven[3:], -2, 2)) - 1) < UNIT_TOLERANCE:
        raise ValueError("a pose is not a place and a unit quaternion")
    return pose_matrix(np.array(seven[:3], np.float64), np.array(seven[3:], np.float64))


def _seven(pose: np.ndarray) -> list[float]:
    return _rounded(pose[:3, 3], PLACE_DECIMALS) + _rounded(quaternion_wxyz(pose), TURN_DECIMALS)


def _rounded(values: np.ndarray, decimals: int) -> list[float]:
    return [round(float(value), decimals) + 0.0 for value in values]
