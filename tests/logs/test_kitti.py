"""KITTI readers: poses bring the static world together, bad files are refused."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import REAL_LOGS
from small_logs import TRACKLETS, write_drive

from occflow.errors import InputError
from occflow.geometry import is_rigid, transform
from occflow.grid import CLASS_NAMES
from occflow.logs.kitti_files import keyframe_numbers, read_scan
from occflow.logs.kitti_raw import KittiRawLog, oxts_poses
from occflow.logs.semantickitti import read_classes


def test_keyframes_are_nearest_to_two_hertz():
    assert keyframe_numbers(np.arange(21) * 0.1) == [0, 5, 10, 15, 20]
    assert keyframe_numbers(np.array([0.0, 0.5, 0.9])) == [0, 1, 2]


def test_oxts_north_is_y_east_is_x():
    metre = np.degrees(1 / 6378137.0)
    rows = np.zeros((3, 30))
    rows[1, 0], rows[2, 1], rows[2, 5] = metre, metre, np.pi / 2
    poses = oxts_poses(rows)
    assert np.allclose(poses[:, :3, 3], [[0, 0, 0], [0, 1, 0], [1, 0, 0]], atol=1e-6)
    assert all(map(is_rigid, poses)) and np.allclose(poses[2, :3, 0], [0, 1, 0])


def test_truncated_scans_and_labels_of_another_length_are_refused(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"0" * 17)
    (tmp_path / "a.label").write_bytes(b"0" * 8)
    with pytest.raises(InputError, match="truncated"):
        read_scan(tmp_path / "a.bin")
    with pytest.raises(InputError, match="3 points"):
        read_classes(tmp_path / "a.label", 3)


def test_tracklets_are_boxes_at_their_scans_and_between(tmp_path):
    folder = write_drive(tmp_path, tracklets=TRACKLETS)
    log, scene = KittiRawLog(tmp_path), folder.name
    start_s = log.keyframes(scene)[0].stamp_s
    assert log.boxes_at(scene, start_s) == [] and log.boxes_at(scene, start_s + 0.3) == []
    (box,) = log.boxes_at(scene, start_s + 0.15)
    assert CLASS_NAMES[box.label] == "car" and box.size_lwh_m.tolist() == [4, 1.8, 2]
    assert np.allclose(box.world_from_box[:3, 3], [9.5, 2, -0.7], atol=1e-3)  # its middle, from tz of its bottom
    assert np.allclose(box.world_from_box[:2, 0], [np.cos(1.5), np.sin(1.5)])


@pytest.mark.parametrize("old, new, message", [
    ("<!DOCTYPE boost_serialization>", '<!DOCTYPE b [<!ENTITY a "aaaa"><!ENTITY c "&a;&a;">]>', "entity 'a'"),
    ("</tracklets>", "", "broken XML"), ("Van", "Spaceship", "Spaceship"), ("<h>2</h>", "", "not the tracklets"),
    ("<h>2</h>", "<h>nan</h>", "not usable"), ("<first_frame>1", "<first_frame>10", "frames 10 to 11 of 11")])
def test_broken_tracklets_are_refused(tmp_path, old, new, message):
    folder = write_drive(tmp_path, tracklets=TRACKLETS.replace(old, new))
    with pytest.raises(InputError, match=message):
        KittiRawLog(tmp_path).keyframes(folder.name)


def test_a_missing_scan_is_skipped_and_its_neighbour_is_the_keyframe(tmp_path):
    folder = write_drive(tmp_path)
    (folder / "velodyne_points/data/0000000005.bin").unlink()
    log = KittiRawLog(tmp_path)
    assert [keyframe.token[-2:] for keyframe in log.keyframes(folder.name)] == ["00", "04", "10"]
    with pytest.warns(UserWarning, match="skipped 1 sweeps"):
        assert len(list(log.sweeps(folder.name))) == 10


@pytest.mark.parametrize("change", ["scan", "pose", "calibration"])
def test_a_changed_drive_has_another_name(tmp_path, change):
    folder = write_drive(tmp_path)
    name = KittiRawLog(tmp_path).name
    paths = {"scan": folder / "velodyne_points/data/0000000001.bin", "pose": folder / "oxts/data/0000000001.txt",
             "calibration": folder.parent / "calib_imu_to_velo.txt"}
    assert KittiRawLog(tmp_path).name == name
    paths[change].write_bytes(paths[change].read_bytes().replace(b"1", b"2") + b" " * 16)
    assert KittiRawLog(tmp_path).name != name


@pytest.mark.skipif(not (REAL_LOGS / "kitti_raw_0001").is_dir(), reason="no real recording; set OCCFLOW_REAL_LOGS")
def test_poses_bring_a_real_drive_together():
    log = KittiRawLog(REAL_LOGS / "kitti_raw_0001")
    scene = log.scenes()[0]
    sweeps = [sweep for sweep, _ in zip(log.sweeps(scene), range(6))]
    shares = []
    for pose in (lambda s: s.world_from_sensor, lambda s: np.eye(4)):
        clouds = []
        for sweep in (sweeps[0], sweeps[5]):
            distance = np.linalg.norm(sweep.points_sensor[:, :2], axis=1)
            near = sweep.points_sensor[(distance > 3) & (distance < 30)]
            clouds.append(set(map(tuple, np.floor(transform(pose(sweep), near) / 0.4).astype(int).tolist())))
        shares.append(len(clouds[0] & clouds[1]) / min(map(len, clouds)))
    assert shares[0] > shares[1] + 0.05 and len(log.keyframes(scene)) == 23
