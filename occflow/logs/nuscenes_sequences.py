"""Order, stamps and poses of a nuScenes log's keyframes from its JSON tables alone: no scan has to be there."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.logs.nuscenes import CHANNEL, scene_splits
from occflow.logs.nuscenes_classes import box_class
from occflow.logs.nuscenes_tables import broken_records, fingerprint, record_pose
from occflow.logs.protocol import Box, Keyframe


class NuScenesSequences:
    """Keyframes of ROOT/VERSION, all in memory; the poses are those at the LiDAR's stamps.

    Args:
        boxes: whether to read the annotations too.

    Raises:
        InputError: a missing or broken table, or stamps that do not increase.
    """

    def __init__(self, root: str | Path, version: str, boxes: bool = True) -> None:
        self.tables = Path(root).expanduser() / str(version)
        with broken_records(self.tables):
            self._boxes = self._read_boxes() if boxes else defaultdict(list)
            names = {record["token"]: record["name"] for record in self._read("scene")}
            self._keyframes: dict[str, list[Keyframe]] = {name: [] for name in names.values()}
            scene_of = {record["token"]: names[record["scene_token"]] for record in self._read("sample")}
            scans = [record for record in self._read("sample_data")
                     if record["is_key_frame"] and f"/{CHANNEL}/" in record["filename"]]
            wanted = {record["ego_pose_token"] for record in scans}
            poses = {record["token"]: record for record in self._read("ego_pose") if record["token"] in wanted}
            for record in sorted(scans, key=lambda record: record["timestamp"]):
                pose = record_pose(poses[record["ego_pose_token"]], str(self.tables / "ego_pose.json"))
                sample = record["sample_token"]
                self._keyframes[scene_of[sample]].append(
                    Keyframe(sample, record["timestamp"] / 1e6, pose, tuple(self._boxes[sample])))
            self._splits = scene_splits(self.tables, list(self._keyframes))
        if sum(map(len, self._keyframes.values())) != len(scene_of):
            raise InputError(f"{self.tables / 'sample_data.json'}: not one {CHANNEL} keyframe a sample; unpack again")
        for scene, keyframes in self._keyframes.items():
            if not (np.diff([keyframe.stamp_s for keyframe in keyframes]) > 0).all():
                raise InputError(f"{self.tables / 'sample_data.json'}: two keyframes of scene {scene} at one time")
        self.name = f"{version}@{fingerprint(self.tables)}"

    def scenes(self) -> list[str]:
        return list(self._keyframes)

    def splits(self) -> dict[str, list[str]]:
        return {split: list(names) for split, names in self._splits.items()}

    def keyframes(self, scene: str) -> list[Keyframe]:
        """Keyframes of a scene in the order of time; tokens are sample tokens."""
        return list(self._keyframes[scene])

    def _read(self, table: str) -> list[dict]:
        path = self.tables / f"{table}.json"
        if not path.is_file():
            raise InputError(f"{path}: missing table; point log.root and log.version at nuScenes' tables")
        try:
            return json.loads(path.read_bytes())
        except ValueError as error:
            raise InputError(f"{path}: broken JSON table ({error}); unpack the log again") from None

    def _read_boxes(self) -> dict[str, list[Box]]:
        categories = {record["token"]: record["name"] for record in self._read("category")}
        label_of = {record["token"]: box_class(categories[record["category_token"]])
                    for record in self._read("instance")}
        boxes: dict[str, list[Box]] = defaultdict(list)
        for record in self._read("sample_annotation"):
            width, length, height = record["size"]
            pose = record_pose(record, str(self.tables / "sample_annotation.json"))
            boxes[record["sample_token"]].append(Box(record["instance_token"], label_of[record["instance_token"]],
                                                     pose, np.array([length, width, height], dtype=np.float64)))
        return boxes
