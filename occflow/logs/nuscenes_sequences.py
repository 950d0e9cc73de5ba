"""Order, stamps and poses of a nuScenes log's keyframes from its JSON tables alone: no scan has to be there."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from occflow.errors import InputError
from occflow.logs.fingerprint import fingerprint_of
from occflow.logs.nuscenes import CHANNEL, scene_splits
from occflow.logs.nuscenes_classes import box_class
from occflow.logs.nuscenes_tables import (
    broken_records,
    read_table,
    record_pose,
    record_size,
    refuse_boxes_without_track,
)
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
            names = {record["token"]: record["name"] for record in read_table(self.tables, "scene")}
            self._keyframes: dict[str, list[Keyframe]] = {name: [] for name in names.values()}
            samples = read_table(self.tables, "sample")
            scene_of = {record["token"]: names[record["scene_token"]] for record in samples}
            scans = [record for record in read_table(self.tables, "sample_data")
                     if record["is_key_frame"] and f"/{CHANNEL}/" in record["filename"]]
            wanted = {record["ego_pose_token"] for record in scans}
            poses = {record["token"]: record for record in read_table(self.tables, "ego_pose")
                     if record["token"] in wanted}
            for record in sorted(scans, key=lambda record: record["timestamp"]):
                pose = record_pose(poses[record["ego_pose_token"]], str(self.tables / "ego_pose.json"))
                sample = record["sample_token"]
                self._keyframes[scene_of[sample]].append(
                    Keyframe(sample, record["timestamp"] / 1e6, pose, tuple(self._boxes[sample])))
            self._splits = scene_splits(self.tables, list(self._keyframes))
        if sum(map(len, self._keyframes.values())) != len(scene_of):
            raise InputError(f"{self.tables / 'sample_data.json'}: not one {CHANNEL} keyframe a sample; unpack again")
        self._refuse_disorder({record["token"]: record["next"] for record in samples})
        self.name = f"{version}@{fingerprint_of(self.tables, self.tables.glob('*.json'))}"

    def _refuse_disorder(self, following: dict[str, str]) -> None:
        """Raises InputError where the order of time is not that of the samples, or two are at one time."""
        for scene, keyframes in self._keyframes.items():
            for first, second in zip(keyframes, keyframes[1:]):
                if first.stamp_s == second.stamp_s or following[first.token] != second.token:
                    raise InputError(f"{self.tables / 'sample_data.json'}: time stamps of scene {scene} do not "
                                     f"increase from sample to sample, at {second.token}; unpack the tables again")

    def scenes(self) -> list[str]:
        return list(self._keyframes)

    def splits(self) -> dict[str, list[str]]:
        return {split: list(names) for split, names in self._splits.items()}

    def keyframes(self, scene: str) -> list[Keyframe]:
        """Keyframes of a scene in the order of time; tokens are sample tokens."""
        return list(self._keyframes[scene])

    def _read_boxes(self) -> dict[str, list[Box]]:
        annotations, table = read_table(self.tables, "sample_annotation"), str(self.tables / "sample_annotation.json")
        categories = {record["token"]: record["name"] for record in read_table(self.tables, "category")}
        label_of = {record["token"]: box_class(categories[record["category_token"]])
                    for record in read_table(self.tables, "instance")}
        refuse_boxes_without_track(self.tables, annotations, label_of)
        boxes: dict[str, list[Box]] = defaultdict(list)
        for record in annotations:
            boxes[record["sample_token"]].append(Box(record["instance_token"], label_of[record["instance_token"]],
                                                     record_pose(record, table), record_size(record, table)))
        return boxes
