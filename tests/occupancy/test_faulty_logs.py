"""Every reader with every fault: the build refuses the log with one line, or goes through with a counted warning.

The tables of data/README.md and docs/readers.md say the same in words.
"""

from __future__ import annotations

import json
import runpy
import shutil
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather
from small_logs import (
    LABEL_LINE,
    TRACKLETS,
    own_sweeps,
    write_argoverse2_log,
    write_drive,
    write_folder_log,
    write_occ3d,
    write_rosbag_log,
    write_semantickitti,
    write_tiny_nuscenes,
    write_tracking,
    write_uniocc,
)

from occflow.errors import InputError
from occflow.jobs.build import build_configured_store
from occflow.occupancy.readers.occ3d import OCC3D_GRID
from occflow.occupancy.readers.ready_made import read_volume

GRID = {"origin_m": [-8.0, -8.0, -3.0], "shape": [20, 20, 8], "voxel_size_m": 0.8}
TOOL = Path(__file__).resolve().parents[2] / "tools/build_occupancy.py"


def write_uniocc_log(folder: Path) -> dict:
    write_uniocc(folder / "Carla-2Hz-val/scene-1")
    return {"kind": "uniocc", "root": folder / "Carla-2Hz-val"}


def write_drive_log(folder: Path) -> dict:
    write_drive(folder, tracklets=TRACKLETS)
    return {"kind": "kitti_raw", "root": folder}


WRITERS: dict[str, Callable[[Path], dict]] = {
    "nuscenes": write_tiny_nuscenes, "occ3d": write_occ3d, "uniocc": write_uniocc_log, "kitti_raw": write_drive_log,
    "kitti_tracking": lambda folder: {"kind": "kitti_tracking", "root": write_tracking(folder)},
    "semantickitti": lambda folder: {"kind": "semantickitti", "root": write_semantickitti(folder)},
    "semantickitti_voxels": lambda folder: {"kind": "semantickitti_voxels", "root": write_semantickitti(folder, 16)},
    "folder": write_folder_log, "rosbag": write_rosbag_log, "argoverse2": write_argoverse2_log,
}
FAULTS = ("truncated", "not finite", "1e9 m", "stamps", "missing", "no track", "label length", "grid", "bomb", "pose")
SCAN = {  # by reader: a scan or volume of a frame, and one whose frame is not the first
    "nuscenes": ("samples/LIDAR_TOP/tiny-1-sweep0.pcd.bin", "sweeps/LIDAR_TOP/tiny-1-sweep3.pcd.bin"),
    "occ3d": ("gts/tiny-1/tiny-1-sample0/labels.npz", "gts/tiny-1/tiny-1-sample1/labels.npz"),
    "uniocc": ("scene-1/1.npz", "scene-1/2.npz"),
    "kitti_raw": tuple(f"2011_09_26/2011_09_26_drive_0001_sync/velodyne_points/data/000000000{i}.bin" for i in (0, 3)),
    "kitti_tracking": ("velodyne/0000/000000.bin", "velodyne/0000/000003.bin"),
    "semantickitti": ("sequences/00/velodyne/000000.bin", "sequences/00/velodyne/000003.bin"),
    "semantickitti_voxels": ("sequences/00/voxels/000000.bin", "sequences/00/voxels/000005.bin"),
    "folder": ("scans/000000.bin", "scans/000003.bin"), "rosbag": ("drive.mcap",),
    "argoverse2": ("log-1/sensors/lidar/1000000000000000000.feather",),
}
NAME_OF_VOLUME = {"occ3d": "semantics", "uniocc": "occ_label"}
Damage = Callable[[Path], object]  # of the log's root


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def put(value: float, fields: int) -> Callable[[Path], None]:
    """Write a value over x of the scan's third point."""
    def damage(path: Path) -> None:
        points = np.fromfile(path, np.float32)
        points[2 * fields] = value
        points.tofile(path)
    return damage


def edit_record(table: str, token: str, **fields) -> Damage:
    def damage(root: Path) -> None:
        path = root / f"v1.0-tiny/{table}.json"
        records = json.loads(path.read_text())
        next(record for record in records if record["token"] == token).update(fields)
        path.write_text(json.dumps(records))
    return damage


def edit_line(name: str, number: int, text: str) -> Damage:
    def damage(root: Path) -> None:
        lines = (root / name).read_text().splitlines()
        lines[number] = text
        (root / name).write_text("\n".join(lines) + "\n")
    return damage


def edit_volume(reader: str, **arrays: np.ndarray) -> Damage:
    """Some of the arrays in the second frame's file."""
    def damage(root: Path) -> None:
        path = root / SCAN[reader][1]
        with np.load(path, allow_pickle=True) as stored:
            kept = {name: stored[name] for name in stored.files}
        np.savez_compressed(path, **{**kept, **arrays})
    return damage


def edit_table(name: str, column: str, row: int, value: object) -> Damage:
    """A value in a Feather file."""
    def damage(root: Path) -> None:
        table = feather.read_table(root / name, memory_map=False).to_pydict()
        table[column][row] = value
        feather.write_feather(pa.table(table), root / name)
    return damage


def edit_recording(**changed: object) -> Damage:
    """Another ROS recording in the place of one: attributes of its fourth sweep are changed, or `stamps_s` of all."""
    def damage(root: Path) -> None:
        sweeps, settings = own_sweeps(), {name: changed[name] for name in changed if name == "stamps_s"}
        own = {name: value for name, value in changed.items() if name not in settings}
        sweeps[3] = replace(sweeps[3], **own)
        write_rosbag_log(root.parent, sweeps, **settings)
    return damage


def with_value(array: np.ndarray, place: tuple[int, int], value: float) -> np.ndarray:
    changed = array.copy()
    changed[place] = value
    return changed


def in_scan(reader: str, damage: Callable[[Path], object], which: int = 0) -> Damage:
    return lambda root: damage(root / SCAN[reader][which])


def refused(damage: Damage, message: str) -> tuple[Damage, str, str]:
    return damage, "refused", message


def counted(damage: Damage, message: str) -> tuple[Damage, str, str]:
    return damage, "counted", message


OXTS = "2011_09_26/2011_09_26_drive_0001_sync/oxts"
NO_ROWS = " ".join(["nan"] * 30)
FLOATS = np.full((200, 200, 16), np.nan, np.float32)
CASES: dict[tuple[str, str], tuple[Damage, str, str]] = {}
for name, fields in (("nuscenes", 5), ("kitti_raw", 4), ("kitti_tracking", 4), ("semantickitti", 4), ("folder", 4)):
    CASES |= {
        (name, "truncated"): refused(in_scan(name, cut), "truncated"),
        (name, "not finite"): counted(in_scan(name, put(np.inf, fields)), "dropped 1 non-finite .* in 1 sweeps, first"),
        (name, "1e9 m"): counted(in_scan(name, put(1e9, fields)), "dropped 1 .*impossibly far .* in 1 sweeps, first"),
        (name, "missing"): counted(in_scan(name, Path.unlink, 1), "skipped 1 sweeps whose file is missing, first"),
        (name, "grid"): refused(lambda root: None, "grid"),  # the build is told an absurd one
    }
for name, volume in NAME_OF_VOLUME.items():
    CASES |= {
        (name, "truncated"): refused(in_scan(name, cut), "cannot read"),
        (name, "not finite"): refused(edit_volume(name, **{volume: FLOATS}), f"{volume} is not finite"),
        (name, "1e9 m"): refused(edit_volume(name, **{volume: np.full(FLOATS.shape, 1e9)}), "beyond"),
        (name, "label length"): refused(edit_volume(name, **{volume: FLOATS[:100]}), "has shape"),
        (name, "grid"): refused(edit_volume(name, **{volume: FLOATS[:0]}), "has shape"),
        (name, "bomb"): refused(edit_volume(name, **{volume: np.zeros(30_000_000, np.uint8)}), "would inflate"),
    }
VOXELS = "sequences/00/voxels/000005"
CASES |= {
    ("nuscenes", "stamps"): refused(edit_record("sample_data", "tiny-1-sweep1", timestamp=0), "do not increase"),
    ("nuscenes", "no track"): refused(edit_record("sample_annotation", "tiny-1-sweep0-car", instance_token=""),
                                      "1 boxes without a track"),
    ("nuscenes", "label length"): refused(
        lambda root: cut(root / "lidarseg/v1.0-tiny/tiny-1-sweep0_lidarseg.bin"), "labels for a scan of"),
    ("nuscenes", "pose"): refused(edit_record("ego_pose", "tiny-1-sweep1", translation=[1e400, 0, 0]), "not finite"),
    ("occ3d", "stamps"): refused(edit_record("sample_data", "tiny-1-sweep2", timestamp=0), "do not increase"),
    ("occ3d", "missing"): refused(in_scan("occ3d", Path.unlink, 1), "missing file"),
    ("occ3d", "no track"): refused(edit_record("sample_annotation", "tiny-1-sweep0-car", instance_token=""),
                                   "1 boxes without a track"),
    ("occ3d", "pose"): refused(edit_record("ego_pose", "tiny-1-sweep2", rotation=[2, 0, 0, 0]), "not finite and rigid"),
    ("uniocc", "stamps"): refused(lambda root: (root / "scene-1/01.npz").write_bytes(
        (root / "scene-1/1.npz").read_bytes()), "there twice"),
    ("uniocc", "missing"): refused(in_scan("uniocc", Path.unlink, 1), "step 2 is missing"),
    ("uniocc", "pose"): refused(edit_volume("uniocc", ego_to_world_transformation=np.ones((4, 4))), "rigid"),
    ("kitti_raw", "stamps"): refused(edit_line(f"{OXTS}/../velodyne_points/timestamps.txt", 4,
                                               "2011-09-26 13:02:25.000000000"), "0004.bin: time stamps do not"),
    ("kitti_raw", "pose"): refused(edit_line(f"{OXTS}/data/0000000003.txt", 0, NO_ROWS), "0003.txt: .*finite"),
    ("kitti_tracking", "no track"): counted(
        edit_line("label_02/0000.txt", 0, LABEL_LINE.format(frame=0, track=-1, type="Car", x=-2, z=5, turn=0)),
        "1 boxes without a track"),
    ("kitti_tracking", "label length"): refused(
        edit_line("label_02/0000.txt", 0, LABEL_LINE.format(frame=11, track=1, type="Car", x=-2, z=5, turn=0)),
        "line 1 .*frame 11 of 11"),
    ("kitti_tracking", "pose"): refused(edit_line("oxts/0000.txt", 3, NO_ROWS), "oxts/0000.txt: .*finite"),
    ("semantickitti", "label length"): refused(
        lambda root: cut(root / "sequences/00/labels/000000.label"), "not of one release"),
    ("semantickitti_voxels", "truncated"): refused(in_scan("semantickitti_voxels", cut), "bytes, not 262144"),
    ("semantickitti_voxels", "missing"): counted(in_scan("semantickitti_voxels", Path.unlink, 1),
                                                 "1 frames are missing, first after .*000000.bin"),
    ("semantickitti_voxels", "label length"): refused(lambda root: cut(root / f"{VOXELS}.label"), "bytes, not"),
    ("semantickitti_voxels", "grid"): refused(lambda root: (root / f"{VOXELS}.invalid").write_bytes(b""), "0 bytes"),
}
for name in ("semantickitti", "semantickitti_voxels"):
    CASES |= {(name, "stamps"): refused(edit_line("sequences/00/times.txt", 4, "0.0"), "times.txt: .*not increase"),
              (name, "pose"): refused(edit_line("sequences/00/poses.txt", 4, "2 0 0 0 0 2 0 0 0 0 2 0"), "not rigid")}
AV2_SCAN, AV2_POSES = SCAN["argoverse2"][0], "log-1/city_SE3_egovehicle.feather"
POINTS = own_sweeps(1)[0].points_sensor
CASES |= {
    ("folder", "stamps"): refused(edit_line("times.txt", 4, "0.0"), "000004.bin: time stamps do not increase"),
    ("folder", "pose"): refused(edit_line("poses.txt", 4, "1000000000.4 0 0 0 0 0 0 2"), "row 5 has no unit quatern"),
    ("rosbag", "truncated"): refused(in_scan("rosbag", cut), "broken or truncated recording"),
    ("rosbag", "not finite"): counted(edit_recording(points_sensor=with_value(POINTS, (2, 0), np.nan)),
                                      "dropped 1 non-finite .* in 1 sweeps, first"),
    ("rosbag", "1e9 m"): counted(edit_recording(points_sensor=with_value(POINTS, (2, 0), 1e9)),
                                 "dropped 1 .*impossibly far .* in 1 sweeps, first"),
    ("rosbag", "stamps"): refused(edit_recording(stamps_s=[1e9 + i / 10 * (i != 4) for i in range(11)]),
                                  "/points: time stamps do not increase"),
    ("rosbag", "pose"): refused(edit_recording(world_from_sensor=with_value(np.eye(4), (0, 3), np.inf)),
                                "/odom: a pose that is not finite and rigid"),
    ("argoverse2", "truncated"): refused(in_scan("argoverse2", cut), "0.feather: broken or truncated table"),
    ("argoverse2", "not finite"): counted(edit_table(AV2_SCAN, "x", 2, np.inf), "dropped 1 non-finite"),
    ("argoverse2", "1e9 m"): counted(edit_table(AV2_SCAN, "x", 2, 1e9), "dropped 1 .*impossibly far"),
    ("argoverse2", "stamps"): refused(edit_table(AV2_POSES, "timestamp_ns", 2, 0), "time stamps do not increase"),
    ("argoverse2", "no track"): counted(edit_table("log-1/annotations.feather", "track_uuid", 0, ""),
                                        "1 boxes without a track"),
    ("argoverse2", "pose"): refused(edit_table(AV2_POSES, "tx_m", 2, np.nan), "a pose is not finite and rigid"),
    **{(name, "grid"): refused(lambda root: None, "grid") for name in ("rosbag", "argoverse2")},
}
IMPOSSIBLE = {  # by fault: the readers whose files cannot have it
    "not finite": {"semantickitti_voxels"}, "1e9 m": {"semantickitti_voxels"},  # one bit a voxel
    "stamps": {"kitti_tracking"},  # has none: 10 Hz
    "missing": {"rosbag", "argoverse2"},  # nothing tells
    "no track": {"uniocc", "kitti_raw", "semantickitti", "semantickitti_voxels", "folder", "rosbag"},  # no boxes, or a
    "label length": {"kitti_raw", "folder", "rosbag", "argoverse2"},  # have no labels                 # tracklet is one
    "bomb": set(WRITERS) - set(NAME_OF_VOLUME),  # files of fixed or seen length
}


def test_the_table_is_complete():
    every = {(reader, fault) for reader in WRITERS for fault in FAULTS}
    assert every - set(CASES) == {(reader, fault) for fault, readers in IMPOSSIBLE.items() for reader in readers}


def config_of(log: dict, fault: str = "") -> dict:
    grid = {**GRID, "shape": [0, 20, 8]} if fault == "grid" else GRID
    return {"log": log, "workers": 1, "data": {"grid": grid, "grid_pose": "ego"}}


@pytest.mark.parametrize("reader, fault", CASES, ids=lambda value: value.replace(" ", "-"))
def test_a_faulty_log_is_refused_or_built_with_a_counted_warning(reader, fault, tmp_path):
    damage, outcome, message = CASES[reader, fault]
    log = WRITERS[reader](tmp_path)
    damage(log["root"])
    if outcome == "counted":
        with pytest.warns(UserWarning, match=message):
            store = build_configured_store(config_of(log), tmp_path / "store")
        assert store.summary().frames > 0
        return
    with pytest.raises(InputError, match=message) as error:
        build_configured_store(config_of(log, fault), tmp_path / "store")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "store").exists()  # nothing half-made is left


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("reader", WRITERS)
def test_a_sound_log_is_built_without_a_warning(reader, tmp_path):
    store = build_configured_store(config_of(WRITERS[reader](tmp_path)), tmp_path / "store")
    assert all(len(store.frame(scene, i).flat) for scene in store.scenes() for i in range(store.num_frames(scene)))


def empty(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


def write_text(name: str, text: str) -> Damage:
    return lambda root: (root / name).write_text(text)


OWN_CASES: dict[tuple[str, str], tuple[Damage, dict, str]] = {  # damage, settings of the log, message
    ("folder", "empty"): (empty, {}, "no scans in it"),
    ("folder", "no such folder"): (shutil.rmtree, {}, "no such folder"),
    ("folder", "no poses"): (lambda root: None, {"poses": "mine.txt"}, "mine.txt: missing file; log.poses names it"),
    ("folder", "poses of others"): (write_text("poses.txt", "5 0 0 0 0 0 0 1\n6 0 0 0 0 0 0 1\n"), {},
                                    "no pose is known of 11 of 11 scans .*poses from 5.000 to 6.000 s; give"),
    ("folder", "too few poses"): (write_text("poses.txt", "1 0 0 0 0 1 0 0 0 0 1 0\n"), {}, "1 poses for 11 scans"),
    ("folder", "poses of text"): (write_text("poses.txt", "a b c d e f g h\n"), {}, "poses.txt: not a table of num"),
    ("folder", "unsorted poses"): (write_text("poses.txt", "6 0 0 0 0 0 0 1\n5 0 0 0 0 0 0 1\n"), {},
                                   "poses.txt: time stamps do not increase, at row 2"),
    ("folder", "times of text"): (write_text("times.txt", "now\nthen\n"), {}, "times.txt: not a list of times"),
    ("folder", "too few times"): (write_text("times.txt", "1\n2\n"), {}, "times.txt: 2 rows for 11 scans"),
    ("folder", "two kinds"): (write_text("scans/000001.pcd", "x"), {}, "scans of several kinds"),
    ("folder", "a number"): (lambda root: None, {"mount": [1, 2, "x", 0, 0, 0]}, "log.mount: needs six numbers"),
    ("rosbag", "empty"): (empty, {}, "no recording in it"),
    ("rosbag", "no such file"): (shutil.rmtree, {}, "no such file or folder"),
    ("rosbag", "no poses"): (lambda root: None, {"poses": "/gps"}, "no topic '/gps' of nav_msgs/Odometry"),
    ("rosbag", "text"): (write_text("drive.mcap", "hello"), {}, "broken or truncated recording"),
    ("rosbag", "no metadata"): (write_text("metadata.yaml", "hello: ["), {}, "broken or truncated recording"),
    ("argoverse2", "empty"): (empty, {}, "no LOG/city_SE3_egovehicle.feather"),
    ("argoverse2", "no poses"): (lambda root: (root / AV2_POSES).unlink(), {}, "no LOG/city_SE3_egovehicle.feather"),
    ("argoverse2", "text"): (write_text(AV2_POSES, "hello"), {}, "broken or truncated table"),
    ("argoverse2", "no column"): (lambda root: shutil.copy(root / AV2_SCAN, root / AV2_POSES), {}, "no column"),
    ("argoverse2", "column of text"): (edit_table(AV2_POSES, "tx_m", slice(None), ["x"] * 11), {}, "not of numbers"),
    ("argoverse2", "category"): (edit_table("log-1/annotations.feather", "category", 0, "UFO"), {}, "'UFO' is none"),
    ("argoverse2", "no calibration"): (lambda root: shutil.rmtree(root / "log-1/calibration"), {}, "missing file"),
}


@pytest.mark.parametrize("reader, fault", OWN_CASES, ids=lambda value: value.replace(" ", "-"))
def test_what_people_do_to_their_own_logs_is_one_line(reader, fault, tmp_path):
    damage, settings, message = OWN_CASES[reader, fault]
    log = WRITERS[reader](tmp_path)
    damage(log["root"])
    with pytest.raises(InputError, match=message) as error:
        build_configured_store(config_of({**log, **settings}), tmp_path / "store")
    assert "\n" not in str(error.value) and not (tmp_path / "store").exists()


def run_tool(monkeypatch, *overrides: str) -> None:
    monkeypatch.setattr(sys, "argv", [str(TOOL), *overrides])
    runpy.run_path(str(TOOL), run_name="__main__")


def test_the_tool_exits_with_one_line_or_says_what_it_skipped(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    root = write_tracking(tmp_path)
    overrides = ("log=kitti_tracking", f"log.root={root}", "data.store=store", "workers=1")
    (root / "velodyne/0000/000003.bin").unlink()
    scan = root / "velodyne/0000/000000.bin"
    sound = scan.read_bytes()
    cut(scan)
    with pytest.raises(SystemExit) as stopped:
        run_tool(monkeypatch, *overrides)
    assert stopped.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "000000.bin: truncated scan" in line
    scan.write_bytes(sound)
    with pytest.warns(UserWarning, match="skipped 1 sweeps"):
        run_tool(monkeypatch, *overrides)
    assert "1 scenes, 3 frames" in capsys.readouterr().out


def test_the_tool_says_which_drives_it_left_out_and_exits_with_another_status(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sound = write_drive(tmp_path)
    broken = sound.parent / sound.name.replace("0001", "0002")
    shutil.copytree(sound, broken)
    (broken / "velodyne_points/timestamps.txt").write_text("")
    for _ in range(2):  # built, and found finished
        with pytest.warns(UserWarning, match=f"{broken.name} is left out: .*no time stamp"):
            with pytest.raises(SystemExit) as stopped:
                run_tool(monkeypatch, "log=kitti_raw", f"log.root={tmp_path}", "data.store=store", "workers=1")
        out = capsys.readouterr().out
        assert stopped.value.code == 3 and "1 scenes, 3 frames" in out and f"cannot be read: {broken.name}" in out


@pytest.mark.parametrize("header", [b"{'descr': '|u1', 'fortran_order': False, 'shape': (", b"(" * 500, b"\xff\xfe",
                                    b"{'descr': '|V1000000', 'fortran_order': False, 'shape': (200, 200, 16), }",
                                    b"{'descr': '<U2', 'fortran_order': False, 'shape': (200, 200, 16), }",
                                    b"{'descr': '|O', 'fortran_order': False, 'shape': (200, 200, 16), }"])
@pytest.mark.parametrize("version", [1, 2, 3, 9])
@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore:Reading")
def test_a_volume_with_any_header_is_refused(tmp_path, header, version):
    length = len(header).to_bytes(2 if version == 1 else 4, "little")
    with zipfile.ZipFile(tmp_path / "labels.npz", "w") as archive:
        archive.writestr("semantics.npy", b"\x93NUMPY" + bytes([version, 0]) + length + header)
    with pytest.raises(InputError, match="labels.npz: "):
        read_volume(tmp_path / "labels.npz", "semantics", OCC3D_GRID.shape)
