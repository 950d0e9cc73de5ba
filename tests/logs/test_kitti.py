"""KITTI readers: poses bring the static world together, bad files are refused."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import REAL_LOGS
from small_logs import LABEL_LINE, TRACKLETS, write_drive, write_semantickitti, write_tracking

from occflow.errors import InputError
from occflow.geometry import invert, is_rigid, transform
from occflow.grid import CLASS_NAMES, VoxelGrid
from occflow.logs.kitti_files import keyframe_numbers, read_scan
from occflow.logs.kitti_raw import KittiRawLog, oxts_poses
from occflow.logs.kitti_tracking import KittiTrackingLog
from occflow.logs.semantickitti import SemanticKittiLog, read_classes
from occflow.occupancy.scene_frames import build_scene
from occflow.occupancy.settings import OccupancySettings


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
    ('encoding="UTF-8"', 'encoding="UTF-2"', "broken XML"), ('encoding="UTF-8"', 'encoding=""', "broken XML"),
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


def test_a_tracking_label_is_a_box_at_its_place_ahead_of_the_scanner(tmp_path):
    lines = [LABEL_LINE.format(frame=2, track=7, type="Van", x=-2, z=10, turn=0.5),
             LABEL_LINE.format(frame=3, track=7, type="Van", x=-2, z=9, turn=0.5),
             "2 -1 DontCare -1 -1 -10 0 0 1 1 -1000 -1000 -1000 -10 -1 -1 -1"]
    log = KittiTrackingLog(write_tracking(tmp_path, labels="\n".join(lines)))
    assert log.scenes() == ["0000"] and [keyframe.stamp_s for keyframe in log.keyframes("0000")] == [0, 0.5, 1]
    sweep = list(log.sweeps("0000"))[2]
    (box,) = log.boxes_at("0000", sweep.stamp_s)
    assert (box.track, CLASS_NAMES[box.label], box.size_lwh_m.tolist()) == ("track-7", "car", [4, 1.8, 2])
    velodyne_from_box = invert(sweep.world_from_sensor) @ box.world_from_box
    assert is_rigid(velodyne_from_box)
    # camera 2 m left of, 10 m ahead of and 1.7 m below: x ahead, y left, z up, its middle 1 m over its bottom
    assert np.allclose(velodyne_from_box[:3, 3], [10, 2, -0.7], atol=1e-6)
    # rotation_y = 0 looks along the camera's x, right, and -pi / 2 ahead: about the camera's y, down
    assert np.allclose(velodyne_from_box[:3, 0], [-np.sin(0.5), -np.cos(0.5), 0], atol=1e-6)
    assert np.allclose(velodyne_from_box[:3, 2], [0, 0, 1], atol=1e-6)
    (between,) = log.boxes_at("0000", 0.25)
    assert np.allclose((invert(sweep.world_from_sensor) @ between.world_from_box)[:3, 3], [9.5, 2, -0.7], atol=1e-6)


def test_camera_and_scanner_may_be_mounted_apart(tmp_path):
    root, calib = write_tracking(tmp_path), tmp_path / "training/calib/0000.txt"
    turn = [np.cos(0.1), 0.0, np.sin(0.1), 0.0, 1.0, 0.0, -np.sin(0.1), 0.0, np.cos(0.1)]
    calib.write_text(calib.read_text().replace("0 -1 0 0 0 0 -1 0 1 0 0 0", "0 -1 0 0.5 0 0 -1 -0.1 1 0 0 -0.3")
                     .replace("R_rect 1 0 0 0 1 0 0 0 1", f"R_rect {' '.join(map(str, turn))}"))
    (box,) = KittiTrackingLog(root).scans("0000")[0].boxes()
    rectified = np.array(turn).reshape(3, 3)
    camera = rectified.T @ [-2, 1.7 - 1.0, 5]  # unrectified, the box's middle
    expected = [camera[2] + 0.3, -(camera[0] - 0.5), -(camera[1] + 0.1)]
    assert np.allclose(box.world_from_box[:3, 3], expected, atol=1e-6)


@pytest.mark.parametrize("old, new, message", [
    ("Car", "Spaceship", "line 1 .*Spaceship"), (" 1.8 ", " 0 ", "not usable"), (" 1.8 ", " nan ", "not usable"),
    (" 1.8 ", " ", "16 columns"), (" 1.8 ", " wide ", "wide"), ("0 3 Car", "-1 3 Car", "frame -1 of 11")])
def test_broken_tracking_labels_are_refused(tmp_path, old, new, message):
    root = write_tracking(tmp_path)
    labels = root / "label_02/0000.txt"
    labels.write_text(labels.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=f"0000.txt: .*{message}"):
        KittiTrackingLog(root).keyframes("0000")


def test_another_label_is_another_log_also_in_a_long_file(tmp_path):
    lines = [LABEL_LINE.format(frame=0, track=k, type="Car", x=-2, z=5, turn=0) for k in range(3000)]
    root = write_tracking(tmp_path, labels="\n".join(lines))
    before, labels = KittiTrackingLog(root).name, root / "label_02/0000.txt"
    labels.write_text(labels.read_text().replace(" 2999 ", " 3999 "))
    assert KittiTrackingLog(root).name != before


def test_a_track_that_is_twice_at_one_instant_is_refused(tmp_path):
    line = LABEL_LINE.format(frame=0, track=3, type="Car", x=-2, z=5, turn=0)
    with pytest.raises(InputError, match="line 2 .*track-3 twice"):
        KittiTrackingLog(write_tracking(tmp_path, labels=f"{line}\n{line}")).keyframes("0000")


def test_boxes_without_a_track_are_never_taken_for_each_other(tmp_path):
    lines = [LABEL_LINE.format(frame=frame, track=-1, type="Car", x=x, z=5, turn=0)
             for frame in (0, 1) for x in (-2, 6)]
    log = KittiTrackingLog(write_tracking(tmp_path, labels="\n".join(lines)))
    boxes = log.boxes_at("0000", 0.05)
    assert [box.track for box in boxes] == [""] * 4
    assert np.allclose(sorted(box.world_from_box[1, 3] for box in boxes), [-6, -6, 2, 2])


@pytest.mark.parametrize("name, damage, message", [
    ("velodyne_points/timestamps.txt", lambda path: path.write_text(""), "timestamps.txt: no time stamp"),
    ("velodyne_points/timestamps.txt", lambda path: path.write_bytes(b"\xff\xfe"), "timestamps.txt: not a text"),
    ("oxts/data/0000000004.txt", lambda path: path.write_text(""), "0004.txt: needs rows"),
    ("oxts/data/0000000004.txt", lambda path: path.write_text("95 " + "0 " * 29), "0004.bin: pose .* is not finite"),
    ("../calib_imu_to_velo.txt", lambda path: path.write_bytes(b"\xff\xfe"), "imu_to_velo.txt: not a text"),
    ("velodyne_points/data/0000000011.bin", lambda path: path.touch(), "0011.bin: no such scan among the 11 time"),
    ("velodyne_points/data/0000000001 (copy).bin", lambda path: path.touch(), "no such scan")])
def test_a_broken_drive_is_refused(tmp_path, name, damage, message):
    folder = write_drive(tmp_path)
    damage(folder / name)
    with pytest.raises(InputError, match=message):
        build_scene(KittiRawLog(tmp_path), folder.name, VoxelGrid((-8, -8, -3), (20, 20, 8), 0.8), OccupancySettings())


def test_scans_and_labels_that_are_not_there_are_counted(tmp_path):
    root = write_semantickitti(tmp_path)
    (root / "sequences/00/velodyne/000003.bin").unlink()
    (root / "sequences/00/labels/000005.label").unlink()
    with pytest.warns(UserWarning) as caught:
        sweeps = list(SemanticKittiLog(root).sweeps("00"))
    assert [sweep.path.stem for sweep in sweeps if sweep.labels is None] == ["000005"] and len(sweeps) == 10
    said = " ".join(str(warning.message) for warning in caught)
    assert len(caught) == 2 and "skipped 1 sweeps" in said and "1 sweeps without labels" in said
