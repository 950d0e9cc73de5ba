"""Tiny logs of every kind that is read, hand-made, to break: each is written below a folder and described by its
configuration `log`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from scan_writers import write_argoverse2, write_folder, write_rosbag

from occflow.geometry import invert, planar_pose
from occflow.grid import CLASS_NAMES
from occflow.logs.kitti_scenes import EGO_FROM_VELODYNE, VELODYNE_HEIGHT_M
from occflow.logs.open import open_log
from occflow.logs.pack import PackSettings, pack_log
from occflow.logs.protocol import Box, Sweep
from occflow.occupancy.readers.occ3d import OCC3D_GRID
from occflow.occupancy.readers.uniocc import UNIOCC_GRID

START_US = 1_600_000_000_000_000
SWEEP_US = 250_000  # a keyframe every second sweep, 2 Hz
NUM_SWEEPS = 5
TURN = [2 ** -0.5, 0.0, 0.0, 2 ** -0.5]  # a quarter turn to the left about z
CELL_M = 0.01  # of the recording
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


def _scene_tables(scene: str, tables: dict[str, list], root: Path, sweeps: int) -> None:
    """Sweeps at 1 m steps along x; every second one is a keyframe; one car seen at all, a pedestrian from the second
    on."""
    for number in range(sweeps):
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
            "next": f"{scene}-sweep{number + 1}" if number < sweeps - 1 else ""})
        if not keyframe:
            continue
        index = number // 2
        tables["sample"].append({"token": sample, "timestamp": stamp, "scene_token": scene,
                                 "prev": f"{scene}-sample{index - 1}" if index else "",
                                 "next": f"{scene}-sample{index + 1}" if index < sweeps // 2 else ""})
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
    tables["scene"].append({"token": scene, "name": scene, "log_token": "log", "description": "",
                            "nbr_samples": sweeps // 2 + 1, "first_sample_token": f"{scene}-sample0",
                            "last_sample_token": f"{scene}-sample{sweeps // 2}"})


def write_tiny_nuscenes(folder: Path, sweeps: int = NUM_SWEEPS) -> dict:
    """A log in the nuScenes schema, version v1.0-tiny, with the scenes tiny-1 and tiny-2 of so many sweeps (odd)."""
    root = folder / "tiny"
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
        _scene_tables(scene, tables, root, sweeps)
    (root / "v1.0-tiny").mkdir()
    for name, records in tables.items():
        (root / "v1.0-tiny" / f"{name}.json").write_text(json.dumps(records))
    return {"kind": "nuscenes", "root": root, "version": "v1.0-tiny"}


def write_recording(folder: Path) -> dict:
    """The tiny nuScenes log, packed."""
    pack_log(open_log(write_tiny_nuscenes(folder)), folder / "recording", PackSettings(cell_m=CELL_M))
    return {"kind": "recording", "root": folder / "recording"}


def write_occ3d(folder: Path) -> dict:
    """Occ3D's volumes of tiny-1, on the tables of the tiny nuScenes log without its scans: a car in one voxel."""
    log = write_tiny_nuscenes(folder)
    volume, mask = np.full(OCC3D_GRID.shape, 17, np.uint8), np.zeros(OCC3D_GRID.shape, np.uint8)
    volume[3, 4, 5], mask[:100] = 4, 1
    for number in range(3):
        frame = log["root"] / f"gts/tiny-1/tiny-1-sample{number}"
        frame.mkdir(parents=True)
        np.savez_compressed(frame / "labels.npz", semantics=volume, mask_lidar=mask, mask_camera=mask)
    shutil.rmtree(log["root"] / "samples")
    return {**log, "kind": "occ3d", "gts": log["root"] / "gts"}


def write_uniocc(folder: Path, steps: int = 3, **changed: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for step in range(1, steps + 1):
        labels, mask, pose = np.full(UNIOCC_GRID.shape, 10), np.zeros(UNIOCC_GRID.shape), planar_pose(step, 0.0, 0.1)
        labels[5, 6, 7], labels[5, 6, 8], mask[:50] = 1, 7, 1
        np.savez_compressed(folder / f"{step}.npz", **{
            "occ_label": labels.astype(np.uint8), "occ_mask_camera": mask.astype(np.uint8),
            "ego_to_world_transformation": pose, "annotations": np.array([{"size": 1}], dtype=object), **changed})


TRACKLETS = """<?xml version="1.0" encoding="UTF-8" standalone="yes" ?>
<!DOCTYPE boost_serialization>
<boost_serialization signature="serialization::archive" version="9">
<tracklets class_id="0" tracking_level="0" version="0"><count>1</count><item_version>1</item_version>
<item class_id="1" tracking_level="0" version="1"><objectType>Van</objectType><h>2</h><w>1.8</w><l>4</l>
<first_frame>1</first_frame><poses class_id="2" tracking_level="0" version="0"><count>2</count>
<item_version>2</item_version><item><tx>10</tx><ty>2</ty><tz>-1.7</tz><rx>0</rx><ry>0</ry><rz>1.5</rz></item>
<item><tx>9</tx><ty>2</ty><tz>-1.7</tz><rx>0</rx><ry>0</ry><rz>1.5</rz></item></poses></item></tracklets>
</boost_serialization>"""


def write_drive(root: Path, scans: int = 11, tracklets: str | None = None) -> Path:
    """A drive that stands at a place, 10 Hz, facing east; the IMU sits in the scanner."""
    folder = root / "2011_09_26/2011_09_26_drive_0001_sync"
    for part in ("velodyne_points/data", "oxts/data"):
        (folder / part).mkdir(parents=True)
    stamps = "".join(f"2011-09-26 13:02:{25 + i / 10:012.9f}\n" for i in range(scans))
    for i in range(scans):
        np.array([[5, 0, -1.7, 0]] * 4, dtype="<f4").tofile(folder / f"velodyne_points/data/{i:010d}.bin")
        (folder / f"oxts/data/{i:010d}.txt").write_text(" ".join(["49.0", "8.4", "110.0"] + ["0"] * 27))
    for part in ("velodyne_points", "oxts"):
        (folder / part / "timestamps.txt").write_text(stamps)
    (folder.parent / "calib_imu_to_velo.txt").write_text("R: 1 0 0 0 1 0 0 0 1\nT: 0 0 0\n")
    if tracklets:
        (folder / "tracklet_labels.xml").write_text(tracklets)
    return folder


IDENTITY_ROWS = "1 0 0 0 0 1 0 0 0 0 1 0"
CAMERA_ROWS = "0 -1 0 0 0 0 -1 0 1 0 0 0"  # right, down, ahead of a scanner that is ahead, left, up
SCAN = np.array([[5, y / 4, z / 4, 0] for y in range(-8, 8) for z in range(-6, 0)], dtype="<f4")  # a wall 5 m ahead
LABEL_LINE = "{frame} {track} {type} 0 0 -1.5 0 0 10 10 2 1.8 4 {x} 1.7 {z} {turn}"


def write_tracking(folder: Path, scans: int = 11, labels: str = "") -> Path:
    """training/ of KITTI's tracking benchmark with the sequence 0000: as `write_drive`, the camera in the scanner."""
    root = folder / "training"
    for part in ("velodyne/0000", "oxts", "calib", "label_02"):
        (root / part).mkdir(parents=True)
    for i in range(scans):
        SCAN.tofile(root / f"velodyne/0000/{i:06d}.bin")
    (root / "oxts/0000.txt").write_text("".join(" ".join(["49.0", "8.4", "110.0"] + ["0"] * 27) + "\n"
                                                for _ in range(scans)))
    (root / "calib/0000.txt").write_text(f"P0: {IDENTITY_ROWS}\nR_rect 1 0 0 0 1 0 0 0 1\nTr_velo_cam {CAMERA_ROWS}\n"
                                         f"Tr_imu_velo {IDENTITY_ROWS}\n")
    (root / "label_02/0000.txt").write_text(labels or LABEL_LINE.format(frame=0, track=3, type="Car", x=-2, z=5, turn=0)
                                            + "\n")
    return root


def write_semantickitti(folder: Path, scans: int = 11) -> Path:
    """A sequence 00 of SemanticKITTI: a scanner that stands, labels (a building), and voxels at every fifth scan."""
    sequence = folder / "semantickitti/sequences/00"
    for part in ("velodyne", "labels", "voxels"):
        (sequence / part).mkdir(parents=True)
    for i in range(scans):
        SCAN.tofile(sequence / f"velodyne/{i:06d}.bin")
        np.full(len(SCAN), 50, "<u4").tofile(sequence / f"labels/{i:06d}.label")
        if i % 5 == 0:
            bits = np.zeros(256 * 256 * 32 // 8, np.uint8)
            bits[1000:1010] = 255
            bits.tofile(sequence / f"voxels/{i:06d}.bin")
            (~bits).tofile(sequence / f"voxels/{i:06d}.invalid")
            (np.unpackbits(bits) * 50).astype("<u2").tofile(sequence / f"voxels/{i:06d}.label")
    (sequence / "poses.txt").write_text(f"{IDENTITY_ROWS}\n" * scans)
    (sequence / "calib.txt").write_text(f"P0: {IDENTITY_ROWS}\nTr: {CAMERA_ROWS}\n")
    (sequence / "times.txt").write_text("".join(f"{i / 10}\n" for i in range(scans)))
    return folder / "semantickitti"


def own_sweeps(scans: int = 11) -> list[Sweep]:
    """As `write_semantickitti`, 10 Hz, in memory."""
    return [Sweep(1e9 + i / 10, SCAN[:, :3], None, np.eye(4), invert(EGO_FROM_VELODYNE), None, Path(str(i)))
            for i in range(scans)]


def write_folder_log(folder: Path) -> dict:
    """A folder of counted BIN files, with their times and poses in TUM's form."""
    root = write_folder(folder / "own", own_sweeps(), times=True)
    return {"kind": "folder", "root": root, "height_m": VELODYNE_HEIGHT_M}


def write_rosbag_log(folder: Path, sweeps: list[Sweep] | None = None, **settings: object) -> dict:
    """A ROS 2 recording (MCAP) with odometry; the scanner is the vehicle's frame."""
    shutil.rmtree(folder / "drive", ignore_errors=True)
    root = write_rosbag(folder / "drive", own_sweeps() if sweeps is None else sweeps, **settings)
    return {"kind": "rosbag", "root": root, "height_m": VELODYNE_HEIGHT_M}


def write_argoverse2_log(folder: Path) -> dict:
    """A log of Argoverse 2 with one car that stands."""
    sweeps = own_sweeps()
    car = Box("car-1", CLASS_NAMES.index("car"), planar_pose(5.0, 0.0, 0.0, -1.0), np.array([4.0, 1.8, 1.5]))
    root = write_argoverse2(folder / "av2", sweeps, [(car,)] * len(sweeps)).parent
    return {"kind": "argoverse2", "root": root, "height_m": VELODYNE_HEIGHT_M}
