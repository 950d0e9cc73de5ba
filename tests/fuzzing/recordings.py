"""Files of recordings and of occupancy that others have made: most have no checksum, other numbers are other data."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from fuzzing.judging import Kind
from scan_writers import write_scan
from small_logs import (
    CELL_M,
    SCAN,
    TRACKLETS,
    write_drive,
    write_folder_log,
    write_occ3d,
    write_recording,
    write_rosbag_log,
    write_semantickitti,
    write_tiny_nuscenes,
    write_tracking,
    write_uniocc,
)

from occflow.grid import VoxelGrid
from occflow.logs.cloud_files import read_cloud
from occflow.logs.open import open_log
from occflow.logs.recording import read_sweep_file
from occflow.occupancy.building.scene_frames import build_scene_and_causal
from occflow.occupancy.readers.ready_made import is_ready_made, open_sequences
from occflow.occupancy.settings import OccupancySettings

GRID = VoxelGrid((-8.0, -8.0, -3.0), (20, 20, 8), 0.8)
TABLES = ("attribute", "calibrated_sensor", "category", "ego_pose", "instance", "lidarseg", "log", "map", "sample",
          "sample_annotation", "sample_data", "scene", "sensor", "visibility")
DRIVE = "2011_09_26/2011_09_26_drive_0001_sync"
WriteLog = Callable[[Path], Mapping]  # below a folder; returns the configuration `log`


def _nuscenes(folder: Path) -> Mapping:
    log = write_tiny_nuscenes(folder)
    (log["root"] / "v1.0-tiny/splits.json").write_text('{"train": ["tiny-1"], "val": ["tiny-2"]}')
    return log


def _kitti_raw(folder: Path) -> Mapping:
    write_drive(folder, 6, TRACKLETS)
    return {"kind": "kitti_raw", "root": folder}


def _kitti_tracking(folder: Path) -> Mapping:
    return {"kind": "kitti_tracking", "root": write_tracking(folder, 6)}


def _semantickitti(folder: Path) -> Mapping:
    return {"kind": "semantickitti", "root": write_semantickitti(folder, 6)}


def _voxels(folder: Path) -> Mapping:
    return {"kind": "semantickitti_voxels", "root": write_semantickitti(folder, 1)}


def _uniocc(folder: Path) -> Mapping:
    write_uniocc(folder / "Carla-2Hz-val/scene-1", steps=1)
    return {"kind": "uniocc", "root": folder / "Carla-2Hz-val"}


def _kind(name: str, write: WriteLog, file: str, *forms: str, told: tuple[str, ...] = ()) -> Kind:
    """The kind of ROOT/FILE of a log."""
    logs: dict[Path, Mapping] = {}  # configuration by file; the same files are written into one folder only

    def write_file(folder: Path) -> Path:
        log = write(folder)
        logs[Path(log["root"]) / file] = log
        return Path(log["root"]) / file

    def read(path: Path) -> object:
        log = logs[path]
        return read_sequences(log) if is_ready_made(log) else read_log(log)

    return Kind(name, write_file, read, forms, told, _log_names)


def _log_names(folder: Path) -> tuple[str, ...]:
    """A path below the folder, or the name of the log that is there."""
    return str(folder), "v1.0-tiny@", *(f"{kind}@{path.name}-" for path in (folder, *folder.iterdir()) for kind in
                                        ("kitti_raw", "kitti_tracking", "semantickitti", "semantickitti_voxels",
                                         "folder", "rosbag", "argoverse2"))


def read_log(config: Mapping) -> object:
    """Splits, keyframes and occupancy of every scene of a log."""
    log = open_log(config)
    return log.splits(), {scene: (log.keyframes(scene), build_scene_and_causal(log, scene, GRID, OccupancySettings()))
                          for scene in log.scenes()}


def read_sequences(config: Mapping) -> object:
    """Splits and frames of ready-made occupancy."""
    sequences = open_sequences(config)
    return sequences.splits(), {scene: list(sequences.frames(scene)) for scene in sequences.scenes()}


def _sweep_whose_checksum_is_right(folder: Path) -> Path:
    return write_recording(folder)["root"] / SWEEP


def _read_sweep(path: Path) -> object:
    content = path.read_bytes()
    return read_sweep_file(path, len(content), zlib.crc32(content), CELL_M)


def _scan(name: str, encoding: str, *forms: str) -> Kind:
    """The kind of one scan's file of people's own logs."""
    def write(folder: Path) -> Path:
        write_scan(folder / name, SCAN[:, :3], encoding)
        return folder / name

    return Kind(f"scan {name} {encoding}".strip(), write, lambda path: read_cloud(path, 0.0), forms)


SWEEP = "tiny-1/000002.sweep"
VOXELS = "sequences/00/voxels/000000"
KINDS = (
    *(_kind(f"nuScenes table {name}", _nuscenes, f"v1.0-tiny/{name}.json", "json", "text", "bytes")
      for name in TABLES),
    _kind("nuScenes splits", _nuscenes, "v1.0-tiny/splits.json", "json", "text", "bytes"),
    _kind("nuScenes scan", _nuscenes, "samples/LIDAR_TOP/tiny-1-sweep2.pcd.bin", "bytes", "float32"),
    _kind("nuScenes scan between", _nuscenes, "sweeps/LIDAR_TOP/tiny-1-sweep1.pcd.bin", "bytes", "float32"),
    _kind("nuScenes lidarseg", _nuscenes, "lidarseg/v1.0-tiny/tiny-1-sweep2_lidarseg.bin", "bytes"),
    _kind("KITTI scan", _kitti_raw, f"{DRIVE}/velodyne_points/data/0000000002.bin", "bytes", "float32"),
    _kind("KITTI scan stamps", _kitti_raw, f"{DRIVE}/velodyne_points/timestamps.txt", "text", "bytes"),
    _kind("KITTI oxts", _kitti_raw, f"{DRIVE}/oxts/data/0000000002.txt", "text", "bytes"),
    _kind("KITTI oxts stamps", _kitti_raw, f"{DRIVE}/oxts/timestamps.txt", "text", "bytes"),
    _kind("KITTI calibration", _kitti_raw, "2011_09_26/calib_imu_to_velo.txt", "text", "bytes"),
    _kind("KITTI tracklets", _kitti_raw, f"{DRIVE}/tracklet_labels.xml", "xml", "text", "bytes"),
    _kind("KITTI tracking scan", _kitti_tracking, "velodyne/0000/000002.bin", "bytes", "float32"),
    _kind("KITTI tracking oxts", _kitti_tracking, "oxts/0000.txt", "text", "bytes"),
    _kind("KITTI tracking calibration", _kitti_tracking, "calib/0000.txt", "text", "bytes"),
    _kind("KITTI tracking labels", _kitti_tracking, "label_02/0000.txt", "text", "bytes"),
    _kind("SemanticKITTI scan", _semantickitti, "sequences/00/velodyne/000002.bin", "bytes", "float32"),
    _kind("SemanticKITTI labels", _semantickitti, "sequences/00/labels/000000.label", "bytes"),
    _kind("SemanticKITTI poses", _semantickitti, "sequences/00/poses.txt", "text", "bytes"),
    _kind("SemanticKITTI calibration", _semantickitti, "sequences/00/calib.txt", "text", "bytes"),
    _kind("SemanticKITTI times", _semantickitti, "sequences/00/times.txt", "text", "bytes"),
    _kind("SemanticKITTI voxels", _voxels, f"{VOXELS}.bin", "bytes"),
    _kind("SemanticKITTI voxel labels", _voxels, f"{VOXELS}.label", "bytes"),
    _kind("SemanticKITTI invalid voxels", _voxels, f"{VOXELS}.invalid", "bytes"),
    _kind("recording", write_recording, "recording.json", "json", "text", "bytes", told=("json", "text", "bytes")),
    _kind("recording's scene", write_recording, "tiny-1/scene.json", "json", "text", "bytes",
          told=("json", "text", "bytes")),
    _kind("recording's sweep", write_recording, SWEEP, "bytes", "sweep", told=("bytes", "sweep")),
    Kind("recording's sweep, checksum renewed", _sweep_whose_checksum_is_right, _read_sweep, ("bytes", "sweep")),
    _kind("Occ3D volume", write_occ3d, "gts/tiny-1/tiny-1-sample0/labels.npz", "npz", "bytes", told=("bytes",)),
    _kind("Occ3D table", write_occ3d, "v1.0-tiny/sample_data.json", "json", "text", "bytes"),
    *(_scan("a.pcd", encoding, "bytes", "text") for encoding in ("ascii", "binary", "binary_compressed")),
    *(_scan(name, "", "bytes") for name in ("a.ply", "a.npy", "a.bin")),
    _kind("folder's poses", write_folder_log, "poses.txt", "text", "bytes"),
    _kind("folder's times", write_folder_log, "times.txt", "text", "bytes"),
    _kind("ROS recording's description", write_rosbag_log, "metadata.yaml", "text", "bytes"),  # MCAP and Feather: their
    # libraries ask for whatever memory a file claims, before anybody could check it; what they raise then is one line
    _kind("UniOcc volume", _uniocc, "scene-1/1.npz", "npz", "bytes", told=("bytes",)),
)
