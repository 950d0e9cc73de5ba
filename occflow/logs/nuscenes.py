"""Logs in the nuScenes schema: nuScenes itself, simulated logs and recordings converted to it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from occflow.errors import InputError
from occflow.logs.boxes import boxes_at
from occflow.logs.fingerprint import fingerprint_of
from occflow.logs.nuscenes_classes import box_class, class_of_index
from occflow.logs.nuscenes_tables import (
    broken_records,
    read_splits,
    read_table,
    record_pose,
    record_size,
    refuse_boxes_without_track,
    refuse_broken_json,
    refuse_large_tables,
)
from occflow.logs.protocol import Box, Keyframe, Sweep
from occflow.logs.registry import reader
from occflow.logs.scan_points import PointFilter, SweepReader, read_classes, read_scan
from occflow.records import inside

CHANNEL = "LIDAR_TOP"
SCAN_COLUMNS = 5  # of a .pcd.bin file: x, y, z, intensity, ring
OFFICIAL_SPLITS = {  # our split names -> the devkit's, by published version
    "v1.0-trainval": {"train": "train", "val": "val"},
    "v1.0-mini": {"train": "mini_train", "val": "mini_val"},
    "v1.0-test": {"test": "test"},
}
HINT = "point log.root and log.version at the folder and the table folder of a nuScenes log (see data/README.md)"
SCENES_KEPT = 2  # keyframes of the scenes read last stay in memory


@reader("nuscenes", "v1.0-*/sample_data.json")
class NuScenesLog:
    """A DrivingLog over ROOT/VERSION, read through the nuscenes devkit.

    Sweeps run from the first to the last keyframe of a scene: boxes are known there only.

    Args:
        root: folder that holds samples/, sweeps/, maps/ and the table folder.
        version: name of the table folder, such as v1.0-trainval.

    Raises:
        InputError: a missing or broken root, version or table; later on, a missing or broken file or record.
    """

    def __init__(self, root: str | Path, version: str) -> None:
        self.root = Path(root).expanduser()
        self.version = str(version)
        self._table_folder = self.root / self.version
        self._tables = _open_tables(self.root, self.version)
        with broken_records(self._table_folder):
            self._scenes = {record["name"]: record for record in self._tables.scene}
            self._labels_of = {record["sample_data_token"]: record["filename"]
                               for record in getattr(self._tables, "lidarseg", [])}
            self._class_of_index = None
            if self._labels_of:
                self._class_of_index = class_of_index(self._tables.category, str(self._table_folder / "category.json"))
        if not self._scenes or len(self._scenes) != len(self._tables.scene):
            raise InputError(f"{self._table_folder / 'scene.json'}: no scene, or two of one name; unpack it again")
        self._splits = scene_splits(self._table_folder, list(self._scenes))
        self._kept: dict[str, list[Keyframe]] = {}

    @cached_property
    def name(self) -> str:
        """The version, and which state of its tables, scans and labels: a worker process does not ask for it."""
        with broken_records(self._table_folder):
            scans = [record["filename"] for record in self._tables.sample_data if record["channel"] == CHANNEL]
            files = (self.root / name for name in (*scans, *self._labels_of.values()))
            return f"{self.version}@{fingerprint_of(self.root, [*self._table_folder.glob('*.json'), *files])}"

    def __reduce__(self) -> tuple:
        return NuScenesLog, (self.root, self.version)  # a worker process opens the tables itself

    def scenes(self) -> list[str]:
        return list(self._scenes)

    def splits(self) -> dict[str, list[str]]:
        return {split: list(names) for split, names in self._splits.items()}

    def keyframes(self, scene: str) -> list[Keyframe]:
        if scene not in self._kept:
            with broken_records(self._table_folder):
                keyframes = [self._keyframe(sample) for sample in self._samples(scene)]
            self._refuse_disorder(scene, "sample.json", [keyframe.stamp_s for keyframe in keyframes])
            while len(self._kept) >= SCENES_KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[scene] = keyframes
        return list(self._kept[scene])

    def sweeps(self, scene: str) -> Iterator[Sweep]:
        with broken_records(self._table_folder):
            records = self._sweep_records(scene)
        return SweepReader(scene, records, self._read)

    def boxes_at(self, scene: str, stamp_s: float) -> list[Box]:
        """Boxes at a time; none before the first and after the last keyframe."""
        keyframes = self.keyframes(scene)
        return boxes_at(stamp_s, [keyframe.stamp_s for keyframe in keyframes], lambda place: keyframes[place].boxes)

    def _samples(self, scene: str) -> list[dict]:
        """Sample records of a scene in the order of time."""
        if scene not in self._scenes:
            raise InputError(f"{self._table_folder / 'scene.json'}: no scene '{scene}'; name one of this log")
        samples, token = [], self._scenes[scene]["first_sample_token"]
        while token:
            if len(samples) == len(self._tables.sample):
                raise InputError(f"{self._table_folder / 'sample.json'}: the samples of scene {scene} run in a "
                                 "circle; unpack the tables again")
            samples.append(self._tables.get("sample", token))
            token = samples[-1]["next"]
        return samples

    def _keyframe(self, sample: dict) -> Keyframe:
        if CHANNEL not in sample["data"]:
            raise InputError(f"{self._table_folder / 'sample_data.json'}: sample {sample['token']} has no {CHANNEL} "
                             "scan; unpack the tables again")
        record = self._tables.get("sample_data", sample["data"][CHANNEL])
        boxes = tuple(self._box(token) for token in sample["anns"])
        return Keyframe(sample["token"], record["timestamp"] / 1e6, self._world_from_ego(record), boxes)

    def _box(self, token: str) -> Box:
        path = self._table_folder / "sample_annotation.json"
        record = self._tables.get("sample_annotation", token)
        return Box(record["instance_token"], box_class(record["category_name"]), record_pose(record, str(path)),
                   record_size(record, str(path)))

    def _world_from_ego(self, record: dict) -> np.ndarray:
        ego_pose = self._tables.get("ego_pose", record["ego_pose_token"])
        return record_pose(ego_pose, str(self._table_folder / "ego_pose.json"))

    def _sweep_records(self, scene: str) -> list[dict]:
        """sample_data records from the first to the last keyframe, all keyframes among them."""
        keyframes = [sample["data"].get(CHANNEL) for sample in self._samples(scene)]
        if None in keyframes:
            self.keyframes(scene)  # raises with the sample's name
        records = [self._tables.get("sample_data", keyframes[0])]
        while records[-1]["token"] != keyframes[-1] and records[-1]["next"]:
            records.append(self._tables.get("sample_data", records[-1]["next"]))
            self._refuse_disorder(scene, "sample_data.json", [record["timestamp"] / 1e6 for record in records[-2:]])
        missing = set(keyframes) - {record["token"] for record in records}
        if missing:
            raise InputError(f"{self._table_folder / 'sample_data.json'}: keyframe {missing.pop()} of scene {scene} is "
                             f"not in the chain of its {CHANNEL} scans; unpack the tables again")
        return records

    def _read(self, record: dict, points: PointFilter) -> Sweep | None:
        """The sweep of a record; None where it lies between keyframes and its file is missing."""
        with broken_records(self._table_folder):
            path = inside(self.root, record["filename"])
            if not record["is_key_frame"] and not path.is_file():
                points.missing(path)
                return None
            if record["is_key_frame"] and self._labels_of and record["token"] not in self._labels_of:
                points.unlabelled(path)
            return self._sweep(record, path)

    def _sweep(self, record: dict, path: Path) -> Sweep:
        world_from_ego = self._world_from_ego(record)
        sensor = self._tables.get("calibrated_sensor", record["calibrated_sensor_token"])
        ego_from_sensor = record_pose(sensor, str(self._table_folder / "calibrated_sensor.json"))
        points, labels = read_scan(path, SCAN_COLUMNS), None
        if record["token"] in self._labels_of:
            labels, _ = read_classes(inside(self.root, self._labels_of[record["token"]]), len(points), "u1",
                                     self._class_of_index, "category.json, which comes with nuScenes-lidarseg")
        return Sweep(record["timestamp"] / 1e6, points, labels, world_from_ego @ ego_from_sensor, world_from_ego,
                     record["sample_token"] if record["is_key_frame"] else None, path)

    def _refuse_disorder(self, scene: str, table: str, stamps_s: list[float]) -> None:
        if not (np.diff(stamps_s) > 0).all():
            raise InputError(f"{self._table_folder / table}: time stamps of scene {scene} do not increase; "
                             "unpack the tables again or leave the scene out")


def _open_tables(root: Path, version: str) -> Any:
    """The devkit's NuScenes object for ROOT/VERSION.

    Raises:
        InputError: a missing devkit, root, version, table or file; a broken table.
    """
    tables = root / version
    if not root.is_dir():
        raise InputError(f"{root}: no such log folder; {HINT}")
    if not version or not tables.is_dir():
        found = ", ".join(sorted(path.parent.name for path in root.glob("*/scene.json"))) or "none"
        raise InputError(f"{tables}: no such table folder (found: {found}); {HINT}")
    try:
        from nuscenes.nuscenes import NuScenes
    except ImportError as error:
        raise InputError(f"nuScenes logs need the nuscenes-devkit ({error}); pip install 'occflow[nuscenes]'") from None
    try:
        with broken_records(tables):
            refuse_large_tables(tables)
            return NuScenes(version=version, dataroot=str(root), verbose=False)
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: missing table; unpack the log again") from None
    except AssertionError as error:
        raise InputError(f"{tables}: {' '.join(str(error).split())}; unpack the log again") from None
    except InputError:
        with broken_records(tables):
            refuse_broken_json(tables)
            refuse_boxes_without_track(tables, read_table(tables, "sample_annotation"),
                                       {record["token"] for record in read_table(tables, "instance")})
        raise
    except Exception as error:  # the devkit raises bare Exceptions for layouts it does not know
        raise InputError(f"{tables}: {' '.join(str(error).split())}; unpack the log again") from None


def scene_splits(tables: Path, scenes: list[str]) -> dict[str, list[str]]:
    """Scene names by split: official for the published versions, else of splits.json, else all "val"."""
    if tables.name not in OFFICIAL_SPLITS:
        return read_splits(tables, scenes)
    from nuscenes.utils.splits import create_splits_scenes

    official = create_splits_scenes()
    members = {split: set(official[name]) for split, name in OFFICIAL_SPLITS[tables.name].items()}
    return {"train": [], "val": [],
            **{split: [scene for scene in scenes if scene in names] for split, names in members.items()}}
