"""Driving logs to test with: a tiny hand-made one in the nuScenes schema, and a real one where it is installed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from small_forecaster import small_forecaster, small_settings, street_window

__all__ = ["small_forecaster", "small_settings", "street_window"]  # fixtures

torch.set_num_threads(1)  # on a busy machine two threads mostly wait for each other, and tests are small

REAL_LOGS = Path(os.environ.get("OCCFLOW_REAL_LOGS", "~/.cache/occflow/real_logs")).expanduser()
START_US = 1_600_000_000_000_000
SWEEP_US = 250_000  # a keyframe every second sweep, 2 Hz
NUM_SWEEPS = 5
TURN = [2 ** -0.5, 0.0, 0.0, 2 ** -0.5]  # a quarter turn to the left about z
CATEGORIES = {0: "noise", 17: "vehicle.car", 24: "flat.driveable_surface", 28: "static.manmade", 2: "animal"}


def tiny_points() -> np.ndarray:
    """Scan [N, 5] float32: a strip of road, a wall to the left and a return of the own roof, sensor frame."""
    x = np.arange(-9.75, 10, 0.5)
    road = np.stack([x, np.full_like(x, -3.2), np.full_like(x, -1.9)], axis=1)
    wall = np.stack([x, np.full_like(x, 6.2), np.full_like(x, -0.5)], axis=1)
    points = np.concatenate([road, wall, [[0.0, 0.0, -0.2]]])
    return np.concatenate([points, np.zeros((len(points), 2))], axis=1).astype(np.float32)


def tiny_labels() -> np.ndarray:
    return np.array([24] * 40 + [28] * 40 + [0], dtype=np.uint8)


def _scene_tables(scene: str, tables: dict[str, list], root: Path) -> None:
    """Five sweeps at 1 m steps along x; keyframes 0, 2, 4; one car seen at all, a pedestrian at the last two."""
    for number in range(NUM_SWEEPS):
        keyframe, stamp = number % 2 == 0, START_US + number * SWEEP_US
        token = f"{scene}-sweep{number}"
        sample = f"{scene}-sample{(number + 1) // 2}"
        name = f"{'samples' if keyframe else 'sweeps'}/LIDAR_TOP/{token}.pcd.bin"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        tiny_points().tofile(root / name)
        tables["ego_pose"].append({"token": token, "timestamp": stamp, "rotation": [1.0, 0, 0, 0],
                                   "translation": [100.0 + number, 50.0, 0.0]})
        tables["sample_data"].append({
            "token": token, "sample_token": sample, "ego_pose_token": token, "calibrated_sensor_token": "mount",
            "timestamp": stamp, "fileformat": "pcd", "is_key_frame": keyframe, "height": 0, "width": 0,
            "filename": name, "prev": f"{scene}-sweep{number - 1}" if number else "",
            "next": f"{scene}-sweep{number + 1}" if number < NUM_SWEEPS - 1 else ""})
        if not keyframe:
            continue
        index = number // 2
        tables["sample"].append({"token": sample, "timestamp": stamp, "scene_token": scene,
                                 "prev": f"{scene}-sample{index - 1}" if index else "",
                                 "next": f"{scene}-sample{index + 1}" if index < 2 else ""})
        label_name = f"lidarseg/v1.0-tiny/{token}_lidarseg.bin"
        (root / label_name).parent.mkdir(parents=True, exist_ok=True)
        tiny_labels().tofile(root / label_name)
        tables["lidarseg"].append({"token": token, "sample_data_token": token, "filename": label_name})
        for kind in ("car", "person") if index else ("car",):
            tables["sample_annotation"].append({
                "token": f"{token}-{kind}", "sample_token": sample, "instance_token": f"{scene}-{kind}",
                "visibility_token": "", "attribute_tokens": [], "translation": [110.0, 50.0 + 2 * index, 1.0],
                "size": [2.0, 4.5, 1.5], "rotation": [1.0, 0, 0, 0] if index == 0 else TURN, "prev": "", "next": "",
                "num_lidar_pts": 0, "num_radar_pts": 0})
    for kind, category in (("car", "vehicle.car"), ("person", "human.pedestrian.adult")):
        tables["instance"].append({"token": f"{scene}-{kind}", "category_token": category})
    tables["scene"].append({"token": scene, "name": scene, "log_token": "log", "nbr_samples": 3, "description": "",
                            "first_sample_token": f"{scene}-sample0", "last_sample_token": f"{scene}-sample2"})


@pytest.fixture
def tiny_log_root(tmp_path: Path) -> Path:
    """Root of a log of version v1.0-tiny with the scenes tiny-1 and tiny-2."""
    root = tmp_path / "tiny"
    names = ("attribute", "visibility", "ego_pose", "sample_data", "sample", "lidarseg", "sample_annotation",
             "instance", "scene")
    tables: dict[str, list] = {name: [] for name in names}
    tables["category"] = [{"token": name, "name": name, "description": "", "index": index}
                          for index, name in CATEGORIES.items()]
    tables["category"].append({"token": "human.pedestrian.adult", "name": "human.pedestrian.adult", "index": 3})
    tables["sensor"] = [{"token": "lidar", "channel": "LIDAR_TOP", "modality": "lidar"}]
    tables["calibrated_sensor"] = [{"token": "mount", "sensor_token": "lidar", "translation": [1.0, 0.0, 2.0],
                                    "rotation": [1.0, 0, 0, 0], "camera_intrinsic": []}]
    tables["log"] = [{"token": "log", "logfile": "", "vehicle": "", "date_captured": "", "location": ""}]
    tables["map"] = [{"token": "map", "log_tokens": ["log"], "category": "", "filename": "maps/blank.png"}]
    (root / "maps").mkdir(parents=True)
    (root / "maps/blank.png").touch()
    for scene in ("tiny-1", "tiny-2"):
        _scene_tables(scene, tables, root)
    (root / "v1.0-tiny").mkdir()
    for name, records in tables.items():
        (root / "v1.0-tiny" / f"{name}.json").write_text(json.dumps(records))
    return root


@pytest.fixture(scope="session")
def real_log_root() -> Path:
    """Root of a real recording in the nuScenes schema, version v1.0-pandaset."""
    root = REAL_LOGS / "pandaset_nuscenes"
    if not root.is_dir():
        pytest.skip(f"no real recording at {root}; set OCCFLOW_REAL_LOGS")
    return root
