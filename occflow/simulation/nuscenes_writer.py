"""Simulated scenes in the nuScenes schema: files of a scene, rows of its tables, and the tables of a log."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from occflow.geometry import planar_pose, quaternion_wxyz
from occflow.simulation.agents import Agent
from occflow.simulation.boxes import CATEGORIES
from occflow.simulation.ground import CELL_M, ROAD, Ground
from occflow.simulation.lidar import Returns
from occflow.simulation.terrain import Terrain
from occflow.simulation.traffic import Traffic

MOUNT_AHEAD_M = 0.94  # of the rear axle, as in nuScenes
FIRST_STAMP_US, SCENE_GAP_US = 1_600_000_000_000_000, 3_600_000_000
ANNOTATED_RANGE_M = 60.0
MAP_PIXEL_M = 0.1  # the devkit's
ATTRIBUTES = ("vehicle.moving", "vehicle.stopped", "vehicle.parked", "cycle.with_rider", "pedestrian.moving",
              "pedestrian.standing")
VISIBILITIES = (("1", "v0-40"), ("2", "v40-60"), ("3", "v60-80"), ("4", "v80-100"))
STOPPED_M_PER_S = 0.2
INTENSITY = 20.0  # of every return
TABLES = ("attribute", "calibrated_sensor", "category", "ego_pose", "instance", "lidarseg", "log", "map", "sample",
          "sample_annotation", "sample_data", "scene", "sensor", "visibility")


def lidar_mount(height_m: float) -> np.ndarray:
    """ego_from_sensor [4, 4] of the sensor so high above the road; its axes are x right, y forward, z up."""
    return planar_pose(MOUNT_AHEAD_M, 0.0, -np.pi / 2, height_m)


def token(*parts: object) -> str:
    """A 32-digit token, the same for the same parts."""
    return hashlib.md5("/".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()


def scene_name(number: int) -> str:
    return f"scene-{number:04d}"


def attribute_of(agent: Agent) -> str | None:
    """The nuScenes attribute of an agent's state; barriers and cones have none."""
    stopped = agent.speed_m_per_s < STOPPED_M_PER_S
    if agent.category.startswith("human"):
        return "pedestrian.standing" if stopped else "pedestrian.moving"
    if agent.category in ("vehicle.bicycle", "vehicle.motorcycle"):
        return "cycle.with_rider"
    if not agent.category.startswith("vehicle"):
        return None
    return "vehicle.parked" if not agent.moves else "vehicle.stopped" if stopped else "vehicle.moving"


def visibility_of(num_points: int) -> str:
    """A visibility level by the number of returns; the simulator does not measure the visible share."""
    return "1" if num_points == 0 else "2" if num_points < 10 else "3" if num_points < 50 else "4"


class SceneWriter:
    """Writes the files of one scene under `root` and collects the rows of its tables."""

    def __init__(self, root: Path, version: str, seed: int, number: int, ego_from_sensor: np.ndarray,
                 terrain: Terrain) -> None:
        self.root, self.version, self.key = root, version, (seed, number)
        self.ego_from_sensor, self.terrain = ego_from_sensor, terrain
        self.name = scene_name(number)
        self.start_us = FIRST_STAMP_US + number * SCENE_GAP_US
        self.rows: dict[str, list[dict]] = {name: [] for name in TABLES}
        self.annotations: dict[tuple[int, int], list[dict]] = {}  # by agent and number of the appearance
        self.seen_last: dict[int, tuple[int, int]] = {}  # of an agent: keyframe, number of the appearance

    def sample_token(self, sample: int) -> str:
        """The name of keyframe number `sample`."""
        return self._token("sample", sample)

    def _token(self, *parts: object) -> str:
        return token(*self.key, *parts)

    def add_sweep(self, index: int, sample: int, seconds: float, world_from_ego: np.ndarray, returns: Returns,
                  keyframe: bool) -> None:
        """Write a revolution that belongs to keyframe number `sample`; lidarseg for keyframes only."""
        stamp = self.start_us + round(seconds * 1e6)
        folder = "samples" if keyframe else "sweeps"
        name = f"{folder}/LIDAR_TOP/{self.name}__LIDAR_TOP__{stamp}.pcd.bin"
        table = np.empty((len(returns.points), 5), dtype=np.float32)
        table[:, :3], table[:, 3], table[:, 4] = returns.points, INTENSITY, returns.beams
        (self.root / name).write_bytes(table.tobytes())
        data_token, pose_token = self._token("sample_data", index), self._token("ego_pose", index)
        self.rows["ego_pose"].append({"token": pose_token, "timestamp": stamp, **_pose_fields(world_from_ego[None])[0]})
        self.rows["sample_data"].append({
            "token": data_token, "sample_token": self._token("sample", sample), "ego_pose_token": pose_token,
            "calibrated_sensor_token": self._token("calibrated_sensor"), "timestamp": stamp, "fileformat": "pcd",
            "is_key_frame": keyframe, "height": 0, "width": 0, "filename": name, "prev": "", "next": ""})
        if keyframe:
            labels = f"lidarseg/{self.version}/{data_token}_lidarseg.bin"
            (self.root / labels).write_bytes(returns.categories.astype(np.uint8).tobytes())
            self.rows["lidarseg"].append({"token": data_token, "sample_data_token": data_token, "filename": labels})

    def add_keyframe(self, sample: int, seconds: float, traffic: Traffic, since_tick_s: float, returns: Returns
                     ) -> None:
        """Annotate the agents near the ego. Who was out of range and comes back is a new instance, as in nuScenes."""
        self.rows["sample"].append({"token": self._token("sample", sample), "prev": "", "next": "",
                                    "timestamp": self.start_us + round(seconds * 1e6),
                                    "scene_token": self._token("scene")})
        poses = traffic.poses(since_tick_s)
        counts = np.bincount(returns.owners[returns.owners >= 0], minlength=len(poses))
        near = np.linalg.norm(poses[:, :2, 3] - poses[0, :2, 3], axis=1) < ANNOTATED_RANGE_M
        annotated = [int(index) for index in np.flatnonzero(near) if index]
        heights_m = traffic.sizes_m[annotated, 2]
        placed = self.terrain.poses(poses[annotated])
        placed[:, :3, 3] += placed[:, :3, 2] * heights_m[:, None] / 2
        for index, pose_fields in zip(annotated, _pose_fields(placed)):
            before, appearance = self.seen_last.get(index, (sample, 0))
            appearance += before < sample - 1
            self.seen_last[index] = sample, appearance
            agent, (length, width, height) = traffic.agents[index], traffic.agents[index].size_m
            attribute = attribute_of(agent)
            row = {"token": self._token("annotation", sample, index), "sample_token": self._token("sample", sample),
                   "instance_token": self._token("instance", index, appearance),
                   "visibility_token": visibility_of(counts[index]),
                   "attribute_tokens": [token("attribute", attribute)] if attribute else [], **pose_fields,
                   "size": [width, length, height], "prev": "", "next": "", "num_lidar_pts": int(counts[index]),
                   "num_radar_pts": 0}
            self.annotations.setdefault((index, appearance), []).append(row)

    def finish(self, traffic: Traffic, ground: Ground) -> dict[str, list[dict]]:
        """Chain the rows, draw the map, and return the rows by table."""
        for name in ("sample", "sample_data"):
            _chain(self.rows[name])
        for (index, appearance), rows in sorted(self.annotations.items()):
            _chain(rows)
            self.rows["instance"].append({
                "token": self._token("instance", index, appearance), "nbr_annotations": len(rows),
                "category_token": token("category", traffic.agents[index].category),
                "first_annotation_token": rows[0]["token"], "last_annotation_token": rows[-1]["token"]})
            self.rows["sample_annotation"] += rows
        samples = self.rows["sample"]
        self.rows["scene"].append({
            "token": self._token("scene"), "log_token": self._token("log"), "nbr_samples": len(samples),
            "name": self.name, "first_sample_token": samples[0]["token"], "last_sample_token": samples[-1]["token"],
            "description": "procedural town, simulated"})
        self.rows["calibrated_sensor"].append({"token": self._token("calibrated_sensor"),
                                               "sensor_token": token("sensor"),
                                               **_pose_fields(self.ego_from_sensor[None])[0],
                                               "camera_intrinsic": []})
        map_name = f"maps/{self.name}.png"
        _draw_map(self.root / map_name, ground)
        self.rows["log"].append({"token": self._token("log"), "logfile": self.name, "vehicle": "simulated",
                                 "date_captured": "2020-09-13", "location": f"procedural-town-{self.name[-4:]}"})
        self.rows["map"].append({"token": self._token("map"), "log_tokens": [self._token("log")],
                                 "category": "semantic_prior", "filename": map_name})
        return self.rows


def _draw_map(path: Path, ground: Ground) -> None:
    """The driveable surface as the devkit's mask: 0.1 m a pixel, north up, the world's origin in the lower left."""
    from PIL import Image

    mask = (ground.categories.T[::-1] == ROAD).astype(np.uint8) * 255
    size = tuple(round(cells * CELL_M / MAP_PIXEL_M) for cells in ground.categories.shape)
    Image.fromarray(mask).resize(size, Image.Resampling.NEAREST).save(path, compress_level=1)


def _pose_fields(poses: np.ndarray) -> list[dict]:
    """The fields that rows have of poses [N, 4, 4]."""
    if not len(poses):
        return []
    return [{"translation": translation, "rotation": rotation}
            for translation, rotation in zip(poses[:, :3, 3].tolist(), quaternion_wxyz(poses).tolist())]


def _chain(rows: list[dict]) -> None:
    for before, after in zip(rows, rows[1:]):
        before["next"], after["prev"] = after["token"], before["token"]


def make_folders(root: Path, version: str) -> None:
    """The folders of a log."""
    for folder in ("samples/LIDAR_TOP", "sweeps/LIDAR_TOP", f"lidarseg/{version}", "maps", version):
        (root / folder).mkdir(parents=True, exist_ok=True)


def write_log(root: Path, version: str, scenes: list[dict[str, list[dict]]], splits: dict[str, list[str]]) -> None:
    """All tables, and the devkit's splits.json."""
    tables = {name: [row for scene in scenes for row in scene[name]] for name in TABLES}
    tables["category"] = [{"token": token("category", name), "name": name, "description": "", "index": index}
                          for index, name in enumerate(CATEGORIES)]
    tables["attribute"] = [{"token": token("attribute", name), "name": name, "description": ""}
                           for name in ATTRIBUTES]
    tables["visibility"] = [{"token": number, "level": level, "description": ""} for number, level in VISIBILITIES]
    tables["sensor"] = [{"token": token("sensor"), "channel": "LIDAR_TOP", "modality": "lidar"}]
    for name, rows in tables.items():
        (root / version / f"{name}.json").write_text(json.dumps(rows, indent=0))
    (root / version / "splits.json").write_text(json.dumps(splits))
