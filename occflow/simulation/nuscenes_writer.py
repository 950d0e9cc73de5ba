"""Simulated scenes in the nuScenes schema: files of a scene, rows of its tables, and the tables of a log."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from occflow.geometry import planar_pose, quaternion_wxyz
from occflow.simulation.boxes import CATEGORIES
from occflow.simulation.lidar import Returns
from occflow.simulation.traffic import Agent, Traffic

LIDAR_MOUNT_M = (0.94, 0.0, 1.84)  # on the car, as in nuScenes; lidar axes x right, y forward
LIDAR_MOUNT = planar_pose(*LIDAR_MOUNT_M[:2], -np.pi / 2, LIDAR_MOUNT_M[2])  # ego_from_sensor
FIRST_STAMP_US, SCENE_GAP_US = 1_600_000_000_000_000, 3_600_000_000
ANNOTATED_RANGE_M = 60.0
ATTRIBUTES = ("vehicle.moving", "vehicle.stopped", "vehicle.parked", "cycle.with_rider", "pedestrian.moving",
              "pedestrian.standing")
VISIBILITIES = (("1", "v0-40"), ("2", "v40-60"), ("3", "v60-80"), ("4", "v80-100"))
STOPPED_M_PER_S = 0.2
TABLES = ("attribute", "calibrated_sensor", "category", "ego_pose", "instance", "lidarseg", "log", "map", "sample",
          "sample_annotation", "sample_data", "scene", "sensor", "visibility")


def token(*parts: object) -> str:
    """A 32-digit token, the same for the same parts."""
    return hashlib.md5("/".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()


def attribute_of(agent: Agent) -> str:
    """The nuScenes attribute of an agent's state."""
    category, stopped = CATEGORIES[agent.category], agent.speed_m_per_s < STOPPED_M_PER_S
    if agent.pedestrian:
        return "pedestrian.standing" if stopped else "pedestrian.moving"
    if category in ("vehicle.bicycle", "vehicle.motorcycle"):
        return "cycle.with_rider"
    return "vehicle.parked" if not agent.moves else "vehicle.stopped" if stopped else "vehicle.moving"


def visibility_of(num_points: int) -> str:
    """A visibility level by the number of returns; the simulator does not measure the visible share."""
    return "1" if num_points == 0 else "2" if num_points < 10 else "3" if num_points < 50 else "4"


class SceneWriter:
    """Writes the files of one scene under `root` and collects the rows of its tables."""

    def __init__(self, root: Path, version: str, seed: int, number: int) -> None:
        self.root, self.version, self.key = root, version, (seed, number)
        self.name = f"scene-{number:04d}"
        self.start_us = FIRST_STAMP_US + number * SCENE_GAP_US
        self.rows: dict[str, list[dict]] = {name: [] for name in TABLES}
        self.annotations: dict[int, list[dict]] = {}

    def _token(self, *parts: object) -> str:
        return token(*self.key, *parts)

    def add_sweep(self, index: int, sample: int, seconds: float, world_from_ego: np.ndarray, returns: Returns,
                  keyframe: bool) -> None:
        """Write a revolution that belongs to keyframe number `sample`; lidarseg for keyframes only."""
        stamp = self.start_us + round(seconds * 1e6)
        folder = "samples" if keyframe else "sweeps"
        name = f"{folder}/LIDAR_TOP/{self.name}__LIDAR_TOP__{stamp}.pcd.bin"
        intensity = np.full((len(returns.points), 1), 20.0)
        table = np.concatenate([returns.points, intensity, returns.beams[:, None]], axis=1).astype(np.float32)
        (self.root / name).write_bytes(table.tobytes())
        data_token, pose_token = self._token("sample_data", index), self._token("ego_pose", index)
        self.rows["ego_pose"].append({"token": pose_token, "timestamp": stamp, **_pose_fields(world_from_ego)})
        self.rows["sample_data"].append({
            "token": data_token, "sample_token": self._token("sample", sample), "ego_pose_token": pose_token,
            "calibrated_sensor_token": token("calibrated_sensor"), "timestamp": stamp, "fileformat": "pcd",
            "is_key_frame": keyframe, "height": 0, "width": 0, "filename": name, "prev": "", "next": ""})
        if keyframe:
            labels = f"lidarseg/{self.version}/{data_token}_lidarseg.bin"
            (self.root / labels).write_bytes(returns.categories.astype(np.uint8).tobytes())
            self.rows["lidarseg"].append({"token": data_token, "sample_data_token": data_token, "filename": labels})

    def add_keyframe(self, sample: int, seconds: float, traffic: Traffic, returns: Returns) -> None:
        """Annotate the agents near the ego."""
        self.rows["sample"].append({"token": self._token("sample", sample), "prev": "", "next": "",
                                    "timestamp": self.start_us + round(seconds * 1e6),
                                    "scene_token": self._token("scene")})
        poses = traffic.poses()
        counts = np.bincount(returns.owners[returns.owners >= 0], minlength=len(poses))
        near = np.hypot(*(poses[:, :2] - poses[0, :2]).T) < ANNOTATED_RANGE_M
        for index in np.flatnonzero(near)[np.flatnonzero(near) > 0]:
            agent = traffic.agents[index]
            length, width, height = agent.size_m
            x, y, heading = poses[index]
            row = {"token": self._token("annotation", sample, index), "sample_token": self._token("sample", sample),
                   "instance_token": self._token("instance", index), "visibility_token": visibility_of(counts[index]),
                   "attribute_tokens": [token("attribute", attribute_of(agent))],
                   **_pose_fields(planar_pose(x, y, heading, agent.ground_m + height / 2)),
                   "size": [width, length, height], "prev": "", "next": "", "num_lidar_pts": int(counts[index]),
                   "num_radar_pts": 0}
            self.annotations.setdefault(int(index), []).append(row)

    def finish(self, traffic: Traffic) -> dict[str, list[dict]]:
        """Chain the rows and return them by table."""
        for name in ("sample", "sample_data"):
            _chain(self.rows[name])
        for index, rows in sorted(self.annotations.items()):
            _chain(rows)
            self.rows["instance"].append({
                "token": self._token("instance", index), "nbr_annotations": len(rows),
                "category_token": token("category", CATEGORIES[traffic.agents[index].category]),
                "first_annotation_token": rows[0]["token"], "last_annotation_token": rows[-1]["token"]})
            self.rows["sample_annotation"] += rows
        samples = self.rows["sample"]
        self.rows["scene"].append({
            "token": self._token("scene"), "log_token": token("log"), "nbr_samples": len(samples), "name": self.name,
            "first_sample_token": samples[0]["token"], "last_sample_token": samples[-1]["token"],
            "description": "procedural town, simulated"})
        return self.rows


def _pose_fields(pose: np.ndarray) -> dict:
    return {"translation": pose[:3, 3].tolist(), "rotation": quaternion_wxyz(pose).tolist()}


def _chain(rows: list[dict]) -> None:
    for before, after in zip(rows, rows[1:]):
        before["next"], after["prev"] = after["token"], before["token"]


def make_folders(root: Path, version: str) -> None:
    """The folders of a log."""
    for folder in ("samples/LIDAR_TOP", "sweeps/LIDAR_TOP", f"lidarseg/{version}", "maps", version):
        (root / folder).mkdir(parents=True, exist_ok=True)


def write_log(root: Path, version: str, scenes: list[dict[str, list[dict]]], splits: dict[str, list[str]]) -> None:
    """All tables, the map mask that the devkit insists on, and the devkit's splits.json."""
    from PIL import Image

    Image.new("L", (8, 8)).save(root / "maps" / "blank.png")
    tables = {name: [row for scene in scenes for row in scene[name]] for name in TABLES}
    tables["log"] = [{"token": token("log"), "logfile": "simulated", "vehicle": "simulated",
                      "date_captured": "2020-09-13", "location": "procedural-town"}]
    tables["map"] = [{"token": token("map"), "log_tokens": [token("log")], "category": "semantic_prior",
                      "filename": "maps/blank.png"}]
    tables["category"] = [{"token": token("category", name), "name": name, "description": "", "index": index}
                          for index, name in enumerate(CATEGORIES)]
    tables["attribute"] = [{"token": token("attribute", name), "name": name, "description": ""}
                           for name in ATTRIBUTES]
    tables["visibility"] = [{"token": number, "level": level, "description": ""} for number, level in VISIBILITIES]
    tables["sensor"] = [{"token": token("sensor"), "channel": "LIDAR_TOP", "modality": "lidar"}]
    tables["calibrated_sensor"] = [{"token": token("calibrated_sensor"), "sensor_token": token("sensor"),
                                    **_pose_fields(LIDAR_MOUNT), "camera_intrinsic": []}]
    for name, rows in tables.items():
        (root / version / f"{name}.json").write_text(json.dumps(rows, indent=0))
    (root / version / "splits.json").write_text(json.dumps(splits))
