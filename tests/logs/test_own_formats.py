"""A real drive in the formats in which others keep theirs reads back as it was: points, times, poses, boxes."""

from __future__ import annotations

import pickle
import sys
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from real_recordings import DRIVE, sweeps_of_the_drive
from scan_writers import ROS_KINDS, write_argoverse2, write_folder, write_rosbag, write_scan

from occflow.errors import InputError
from occflow.geometry import invert, is_rigid
from occflow.grid import CLASS_NAMES
from occflow.logs.argoverse2 import CATEGORIES_OF_CLASS
from occflow.logs.cloud import point_offsets_s
from occflow.logs.cloud_files import read_cloud
from occflow.logs.mounting import mount_matrix
from occflow.logs.open import described_log, open_log
from occflow.logs.protocol import Box, Sweep
from occflow.logs.trajectory import Trajectory, tum_text

HEIGHT_M = 2.164  # of the drive's scanner
TURNED = mount_matrix([0.776, 0.0, 1.5, 0.0, 0.0, -90.0])  # its x points to the right


@pytest.fixture(scope="module")
def drive() -> list[Sweep]:
    """Five sweeps of the real drive while it moves, of which every tenth point."""
    return sweeps_of_the_drive(40, 45, every_point=10)


def assert_equal(log: object, drive: list[Sweep], tolerance_m: float = 1e-5) -> None:
    (scene,) = log.scenes()
    for found, sweep in zip(log.sweeps(scene), drive, strict=True):
        assert found.stamp_s == pytest.approx(sweep.stamp_s, abs=1e-6) and found.labels is None
        np.testing.assert_allclose(found.points_sensor, sweep.points_sensor, rtol=0, atol=tolerance_m)
        np.testing.assert_allclose(found.world_from_sensor, sweep.world_from_sensor, rtol=0, atol=1e-5)
        assert is_rigid(found.world_from_ego)


def opened(**config: object) -> object:
    return open_log(config)


def folder_log(root: Path, **settings: object) -> object:
    return open_log({"kind": "folder", "root": root, "mount": [0, 0, 0, 0, 0, -90], "height_m": HEIGHT_M, **settings})


@pytest.mark.parametrize("suffix, poses, times", [
    (".pcd", "tum", False), (".ply", "kitti", True), (".bin", "tum", True), (".npy", "kitti", False),
    (".pcd.bin", "tum", False)])
def test_a_folder_reads_back(drive, tmp_path, suffix, poses, times):
    log = folder_log(write_folder(tmp_path / "mine", drive, suffix, poses, times))
    assert log.scenes() == ["mine"] and len(log.keyframes("mine")) == 2
    assert_equal(log, drive)
    (first, *_) = log.sweeps("mine")
    ego_from_sensor = invert(first.world_from_ego) @ first.world_from_sensor
    np.testing.assert_allclose(ego_from_sensor[:3, 3], [0, 0, HEIGHT_M], atol=1e-9)
    np.testing.assert_allclose(ego_from_sensor[:3, 1], [1, 0, 0], atol=1e-9)  # the sensor's y is ahead


@pytest.mark.parametrize("encoding", ["ascii", "binary", "binary_compressed"])
def test_every_encoding_of_pcd_reads_back(drive, tmp_path, encoding):
    root = write_folder(tmp_path / "mine", drive, ".pcd")
    for path, sweep in zip(sorted((root / "scans").iterdir()), drive):
        write_scan(path, sweep.points_sensor, encoding)
    assert_equal(folder_log(root), drive, 1e-4)


def test_names_and_tables_tell_times_in_every_clock(drive, tmp_path):
    root = write_folder(tmp_path / "mine", drive)
    for path, sweep in zip(sorted((root / "scans").iterdir()), drive):
        path.rename(path.with_name(f"{round(sweep.stamp_s * 1e9)}.bin"))
    rows = (root / "poses.txt").read_text().splitlines()
    (root / "poses.txt").write_text("# time, place, quaternion\n" + "\n".join(
        f"{row.split()[0].replace('.', '')},{','.join(row.split()[1:])}" for row in rows))  # microseconds, commas
    assert_equal(folder_log(root), drive)
    for number, path in enumerate(sorted((root / "scans").iterdir())):
        path.rename(path.with_name(f"cloud_{number}.bin"))
    (root / "times.txt").write_text("\n".join(str(np.datetime64(round(sweep.stamp_s * 1e6), "us")).replace("T", " ")
                                              for sweep in drive))
    assert_equal(folder_log(root), drive)


@pytest.mark.parametrize("unit, factor", [("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9)])
def test_times_of_a_clock_of_its_own_are_read_in_the_unit_in_which_scans_come_as_often(drive, tmp_path, unit, factor):
    root = write_folder(tmp_path / "mine", drive, times=True)
    since_s = np.array([sweep.stamp_s for sweep in drive]) - drive[0].stamp_s + 12.5
    (root / "times.txt").write_text("\n".join(f"{time * factor:.0f}" for time in since_s))
    rows = (root / "poses.txt").read_text().splitlines()
    (root / "poses.txt").write_text("\n".join(f"{time * factor:.0f} {row.split(maxsplit=1)[1]}"
                                              for time, row in zip(since_s, rows)))
    with pytest.warns(UserWarning) as told:
        scans = list(folder_log(root).sweeps("mine"))
    assert all(any(f"{name}: its times are taken for {unit}" in str(one.message) for one in told)
               for name in ("times.txt", "poses.txt"))
    np.testing.assert_allclose([scan.stamp_s for scan in scans], since_s, atol=1e-3)
    np.testing.assert_allclose(scans[-1].world_from_sensor, drive[-1].world_from_sensor, atol=5e-3)


def test_one_line_says_which_scans_no_pose_covers(drive, tmp_path):
    root = write_folder(tmp_path / "mine", drive)
    rows = (root / "poses.txt").read_text().splitlines()
    (root / "poses.txt").write_text("\n".join(rows[:2]))  # the others are as much as 0.3 s later
    with pytest.warns(UserWarning, match=r"no pose is known of \d of 5 scans \(\d after the poses\): .*left out"):
        log = folder_log(root)
        assert len(list(log.sweeps("mine"))) < 5
    (root / "poses.txt").write_text("\n".join("9" + row for row in rows))
    with pytest.raises(InputError, match=r"poses.txt: no pose is known of 5 of 5 scans \(5 before the poses\)"):
        folder_log(root)
    (root / "poses.txt").write_text("\n".join([rows[0], *rows]))
    with pytest.raises(InputError, match="at row 2, whose time comes twice; remove one"):
        folder_log(root)
    (root / "poses.txt").write_text("\n".join([*rows[:2], rows[2].replace(" ", " nan ", 1).rsplit(" ", 1)[0]]))
    with pytest.raises(InputError, match="row 3 has others"):
        folder_log(root)


@pytest.mark.parametrize("times, message", [
    ("0 0.1 0.1 0.2 0.3", "000002.*0.100000 s comes twice;"),
    ("0 0.1 0.05 0.2 0.1", "0.100000 s is followed by 0.050000 s, and 1 more such"),
    ("0 0.1 nan 0.2 0.3", "time 3 of 5 is not finite")])
def test_one_line_says_what_is_wrong_with_times(drive, tmp_path, times, message):
    root = write_folder(tmp_path / "mine", drive, poses="kitti", times=True)
    (root / "times.txt").write_text(times.replace(" ", "\n"))
    with pytest.raises(InputError, match=message) as error:
        folder_log(root)
    assert "\n" not in str(error.value)


def test_one_line_says_what_is_wrong_with_times_of_a_ros_recording(drive, tmp_path):
    stamps_s = np.array([sweep.stamp_s for sweep in drive])
    path = write_rosbag(tmp_path / "twice", drive, stamps_s=stamps_s[[0, 1, 1, 2, 3]])
    with pytest.raises(InputError, match=r"/points: time stamps do not increase, \d+.\d{6} s comes twice; repair"):
        open_log({"kind": "rosbag", "root": path, "height_m": HEIGHT_M})
    path = write_rosbag(tmp_path / "boot", drive, stamps_s=stamps_s - stamps_s[0] + 100)
    with pytest.raises(InputError, match=r"known of 5 of 5 scans \(5 before the poses\): .*log.poses=odometry"):
        open_log({"kind": "rosbag", "root": path, "height_m": HEIGHT_M})


def test_poses_of_the_vehicle_at_another_rate_are_interpolated(drive, tmp_path):
    root = write_folder(tmp_path / "mine", drive, poses=None)
    stamps_s = np.array([sweep.stamp_s for sweep in drive])
    sensor = Trajectory(stamps_s, np.stack([sweep.world_from_sensor for sweep in drive]))
    dense_s = np.linspace(stamps_s[0], stamps_s[-1], 81)
    vehicle = Trajectory(dense_s, sensor.at(dense_s) @ invert(TURNED))
    (root / "odom.txt").write_text(tum_text(vehicle))
    log = folder_log(root, poses_of="vehicle", mount=[0.776, 0, 1.5, 0, 0, -90])
    assert_equal(log, drive)


def test_folders_of_drives_are_scenes_and_those_that_cannot_be_read_are_left_out(drive, tmp_path):
    for name in ("one", "two", "three"):
        write_folder(tmp_path / name, drive, poses="kitti", times=True)
    (tmp_path / "two/times.txt").write_text("0\n1\n1\n2\n3\n")
    with pytest.warns(UserWarning, match="scene two is left out: .*000002.bin: time stamps do not increase"):
        log = folder_log(tmp_path)
    assert log.scenes() == ["one", "three"] and log.left_out == ("two",)


def test_settings_and_files_are_in_the_name(drive, tmp_path):
    root = write_folder(tmp_path / "mine", drive)
    names = {folder_log(root).name, folder_log(root, height_m=2.0).name, folder_log(root, mount=[]).name}
    (root / "poses.txt").write_text((root / "poses.txt").read_text().replace("1557", "1558"))
    assert len(names) == 3 and "by its scans" not in names.pop()
    assert folder_log(write_folder(tmp_path / "other/mine", drive), height_m=0).name.endswith(
        "m over the road by its scans)")


def test_the_height_over_the_road_is_measured(drive, tmp_path):
    log = folder_log(write_folder(tmp_path / "mine", drive), height_m=0)
    (first, *_) = log.sweeps("mine")
    assert (invert(first.world_from_ego) @ first.world_from_sensor)[2, 3] == pytest.approx(HEIGHT_M, abs=0.25)


@pytest.mark.parametrize("kind", ["folder", "rosbag"])
def test_a_sensor_whose_y_is_ahead_is_turned_and_that_is_told(drive, tmp_path, kind):
    moved = []
    for number, sweep in enumerate(drive):
        pose = sweep.world_from_sensor.copy()
        pose[:3, 3] += 2.0 * number * pose[:3, 1]
        moved.append(replace(sweep, world_from_sensor=pose))
    root = (write_folder if kind == "folder" else partial(write_rosbag, body="lidar"))(tmp_path / "mine", moved)
    log = partial(opened, kind=kind, root=root, height_m=HEIGHT_M)
    with pytest.warns(UserWarning, match=r"drives \+.*as by log.mount=\[0,0,0,0,0,-90\]"):
        turned = list(log().sweeps("mine"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = list(log(mount=[0, 0, 0, 0, 0, -90]).sweeps("mine"))
    for one, other in zip(turned, told, strict=True):
        assert one.world_from_ego == pytest.approx(other.world_from_ego, abs=1e-9)
        np.testing.assert_allclose(one.world_from_ego[:3, 0], one.world_from_sensor[:3, 1], atol=1e-9)
    with pytest.warns(UserWarning, match=r"if it does not reverse.*log.mount=\[x,y,z,roll,pitch,-90\]"):
        list(log(mount=[0, 0, 0, 0, 0, 0]).sweeps("mine"))


@pytest.mark.parametrize("poses", ["odometry", "tf"])
@pytest.mark.parametrize("kind", ROS_KINDS)
def test_a_ros_recording_reads_back(drive, tmp_path, kind, poses):
    path = write_rosbag(tmp_path / "bags/drive", drive, kind, poses, mount=TURNED)
    for root in (path, path.parent):
        log = open_log({"kind": "rosbag", "root": root, "height_m": HEIGHT_M})
        assert log.scenes() == ["drive"]
        assert_equal(log, drive)
    assert_equal(pickle.loads(pickle.dumps(log)), drive)
    (first, *_) = log.sweeps("drive")
    np.testing.assert_allclose((invert(first.world_from_ego) @ first.world_from_sensor)[:3, 3], [0.776, 0, HEIGHT_M],
                               atol=1e-9)
    assert described_log(path.parent)["kind"] == "rosbag"


def test_points_that_know_their_times_are_brought_to_the_stamp(drive, tmp_path):
    """A post 10 m ahead of a car that drives 10 m/s, measured for 0.1 s: a smear of 1 m, and a post again."""
    points = np.zeros((100, 3), np.float32)
    offsets_s = np.linspace(0, 0.0995, 100).astype(np.float32)
    points[:, 0] = 10 - 10 * offsets_s
    sweeps = []
    for number in range(3):
        pose = np.eye(4)
        pose[0, 3] = number
        sweeps.append(replace(drive[0], stamp_s=1e9 + number / 10, points_sensor=points, world_from_sensor=pose))
    path = write_rosbag(tmp_path / "drive", sweeps, times=offsets_s)
    log = open_log({"kind": "rosbag", "root": path, "height_m": 2.0})
    for sweep in log.sweeps("drive"):
        np.testing.assert_allclose(sweep.points_sensor, np.tile([10, 0, 0], (100, 1)), atol=0.01)


def test_what_is_ambiguous_or_missing_in_a_ros_recording_is_one_line(drive, tmp_path):
    path = write_rosbag(tmp_path / "drive", drive, mount=TURNED)
    for settings, message in (({"points": "/velodyne"}, "no topic '/velodyne' .*it has /points; .*log.points=TOPIC"),
                              ({"poses": "/gps"}, "no topic '/gps' of nav_msgs/Odometry, it has /odom"),
                              ({"poses": "tf"}, "tf does not tell where .*'lidar' moves"),
                              ({"mount": [1, 2]}, "log.mount: needs six numbers")):
        with pytest.raises(InputError, match=message):
            open_log({"kind": "rosbag", "root": path, "height_m": HEIGHT_M, **settings})


def boxes_of(drive: list[Sweep]) -> list[tuple[Box, ...]]:
    log = open_log({"kind": "recording", "root": DRIVE})
    return [tuple(box for box in log.boxes_at(log.scenes()[0], sweep.stamp_s)
                  if CLASS_NAMES[box.label] in CATEGORIES_OF_CLASS) for sweep in drive]


def test_argoverse_2_reads_back_with_its_boxes(drive, tmp_path):
    boxes = boxes_of(drive)
    write_argoverse2(tmp_path / "val", drive, boxes)
    log = open_log({"kind": "argoverse2", "root": tmp_path, "height_m": HEIGHT_M})
    assert log.splits()["val"] == ["log-1"] and described_log(tmp_path)["kind"] == "argoverse2"
    assert_equal(log, drive, 1e-4)
    for found, sweep, expected in zip(log.sweeps("log-1"), drive, boxes):
        np.testing.assert_allclose(found.world_from_ego, sweep.world_from_ego, atol=2e-3)
        read = log.boxes_at("log-1", found.stamp_s)
        assert [(box.track, box.label) for box in read] == [(box.track, box.label) for box in expected]
        assert len(read) > 20
        for box, other in zip(read, expected):
            np.testing.assert_allclose(box.world_from_box, other.world_from_box, atol=1e-6)
            np.testing.assert_allclose(box.size_lwh_m, other.size_lwh_m)
    without = open_log({"kind": "argoverse2", "root": write_argoverse2(tmp_path / "test", drive)})
    assert without.keyframes(without.scenes()[0])[0].boxes == () and "by its scans" in without.name


def test_rows_of_bin_files_are_told_by_their_lengths_and_by_what_stands_in_them(tmp_path):
    rng = np.random.default_rng(0)
    for columns in (4, 5):
        rows = rng.normal(size=(60, columns)).astype("<f4")  # 60 rows of 4 are 48 of 5
        rows[:, 3:] = rng.integers(0, 64, (60, columns - 3))
        rows.tofile(tmp_path / "scan.bin")
        np.testing.assert_array_equal(read_cloud(tmp_path / "scan.bin", 0.0).points, rows[:, :3])
    rng.normal(size=(60, 4)).astype("<f4").tofile(tmp_path / "scan.bin")
    with pytest.raises(InputError, match="nothing tells which; set log.columns"):
        read_cloud(tmp_path / "scan.bin", 0.0)
    assert len(read_cloud(tmp_path / "scan.bin", 0.0, columns=4).points) == 60


@pytest.mark.parametrize("times, expected", [
    (np.linspace(0, 0.1, 5), np.linspace(0, 0.1, 5)),                             # seconds after the stamp
    (np.linspace(-0.1, 0, 5).astype(np.float32), np.linspace(-0.1, 0, 5)),        # before it
    (np.linspace(0, 1e8, 5).astype(np.uint32), np.linspace(0, 0.1, 5)),           # nanoseconds
    (np.linspace(0, 1e5, 5).astype(np.float32), np.linspace(0, 0.1, 5)),          # microseconds
    (1.5e9 + np.linspace(0.2, 0.3, 5), np.linspace(0.2, 0.3, 5)),                 # seconds since 1970
    (1_500_000_000_000_000_000 + np.linspace(0, 1e8, 5).astype(np.int64), np.linspace(0, 0.1, 5)),
    (77.0 + np.linspace(0, 0.1, 5), np.linspace(0, 0.1, 5)),                      # of a clock of their own
    (np.array([0, np.nan, 0.1]), np.array([0, 0, 0.1])),
    (np.zeros(5), None), (np.full(5, np.nan), None), (np.linspace(0, 3, 5), None)])  # nothing that a revolution takes
def test_times_of_points_are_understood_in_every_unit(times, expected):
    found = point_offsets_s(times, 1.5e9)
    assert (found is None) == (expected is None)
    if expected is not None:
        np.testing.assert_allclose(found, expected, atol=1e-6)


PCD = "VERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH {n}\nHEIGHT 1\nPOINTS {n}\nDATA {data}\n"
PLY = "ply\nformat binary_little_endian 1.0\nelement vertex {n}\nproperty float {x}\nproperty float y\n" \
      "property float z\nend_header\n"


@pytest.mark.parametrize("name, content, message", [
    ("a.pcd", PCD.format(n=10**12, data="binary").encode() + bytes(12), "number of points"),
    ("a.pcd", PCD.format(n=10, data="binary_compressed").encode() + b"\1\0\0\0\xff\xff\xff\xff", "when unpacked"),
    ("a.pcd", PCD.format(n=2, data="binary").encode() + bytes(23), "broken or truncated"),
    ("a.pcd", PCD.format(n=2, data="binary").encode() + bytes(12), "1 points, not 2"),
    ("a.pcd", PCD.format(n=2, data="ascii").encode() + b"1 2 3\n", "1 points, not 2"),
    ("a.pcd", PCD.format(n=1, data="ascii").replace("x y z", "a y z").encode() + b"1 2 3\n", "no field x"),
    ("a.pcd", b"hello", "broken or truncated"), ("a.ply", b"hello", "broken or truncated"),
    ("a.ply", PLY.format(n=10**12, x="x").encode(), "number of points"),
    ("a.ply", PLY.format(n=1, x="a").encode() + bytes(12), "no field"), ("a.bin", b"", "empty scan"),
    ("a.npy", b"\x93NUMPY\1\0v\0{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 3), }", "broken or"),
    ("a.npy", b"\x80\4K\1.", "broken or truncated"), ("a.las", b"x", "no scan; known are")])
def test_what_a_scan_claims_is_checked(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_cloud(tmp_path / name, 0.0)
    assert "\n" not in str(error.value)


def test_an_extra_that_is_missing_is_named(drive, tmp_path, monkeypatch):
    roots = {"pypcd4": write_folder(tmp_path / "pcd", drive, ".pcd"), "trimesh.exchange.ply": write_folder(
        tmp_path / "ply", drive, ".ply")}
    for module, root in roots.items():
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(InputError, match=r"needs \w+ .*pip install 'occflow\[scans\]'"):
            list(folder_log(root).sweeps(root.name))
    path = write_rosbag(tmp_path / "drive", drive)
    monkeypatch.setitem(sys.modules, "rosbags.highlevel", None)
    with pytest.raises(InputError, match=r"pip install 'occflow\[ros\]'"):
        open_log({"kind": "rosbag", "root": path})
