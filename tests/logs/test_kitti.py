"""KITTI readers: poses bring the static world together, bad files are refused."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from small_logs import LABEL_LINE, SCAN, TRACKLETS, write_drive, write_semantickitti, write_tracking

from occflow.errors import InputError
from occflow.geometry import invert, is_rigid, transform
from occflow.grid import CLASS_NAMES, VoxelGrid
from occflow.logs.kitti_raw import KittiRawLog, oxts_poses
from occflow.logs.kitti_scenes import SCAN_COLUMNS
from occflow.logs.kitti_tracking import KittiTrackingLog
from occflow.logs.open import open_log
from occflow.logs.scan_log import keyframe_numbers
from occflow.logs.scan_points import read_scan
from occflow.logs.semantickitti import SemanticKittiLog, read_labels
from occflow.occupancy.building.scene_frames import build_scene
from occflow.occupancy.settings import OccupancySettings


def test_keyframes_are_nearest_to_two_hertz():
    assert keyframe_numbers(np.arange(21) * 0.1) == [0, 5, 10, 15, 20]
    assert keyframe_numbers(np.array([0.0, 0.5, 0.9])) == [0, 1, 2]
    assert keyframe_numbers(np.array([0.0, 0.3, 1.6, 1.76, 2.1])) == [0, 1, 2, 4]
    assert keyframe_numbers(np.zeros(1)) == [0]


def test_a_stamp_of_a_far_future_takes_no_memory():
    stamps_s = np.append(np.arange(20) * 0.1, 1e15)
    assert keyframe_numbers(stamps_s) == [0, 5, 10, 15, 19, 20]


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
        read_scan(tmp_path / "a.bin", SCAN_COLUMNS)
    with pytest.raises(InputError, match="3 points"):
        read_labels(tmp_path / "a.label", 3)


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


def test_poses_bring_a_real_drive_together(recording):
    log = KittiRawLog(recording("kitti_raw_0001"))
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
    (box,) = KittiTrackingLog(root).scans("0000")[0].boxes
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


def empty_lines(path, numbers) -> None:
    """Make lines of a file of stamps empty."""
    lines = path.read_text().splitlines()
    path.write_text("".join(f"{'' if number in numbers else line}\n" for number, line in enumerate(lines)))


def test_instants_without_a_stamp_and_a_scan_are_skipped_and_counted(tmp_path):
    """As in the published drive 2011_09_26_drive_0009, with four of them."""
    folder = write_drive(tmp_path, tracklets=TRACKLETS)
    for number in (3, 4):
        (folder / f"velodyne_points/data/{number:010d}.bin").unlink()
    empty_lines(folder / "velodyne_points/timestamps.txt", (3, 4))
    log = open_log({"kind": "kitti_raw", "root": tmp_path})
    with pytest.warns(UserWarning, match="0001_sync: skipped 2 instants without scan and time stamp") as caught:
        keyframes, sweeps = log.keyframes(folder.name), list(log.sweeps(folder.name))
    assert len(caught) == 1 and [int(keyframe.token) for keyframe in keyframes] == [0, 5, 10]
    assert [int(sweep.path.stem) for sweep in sweeps] == [0, 1, 2, 5, 6, 7, 8, 9, 10]
    assert len(log.boxes_at(folder.name, sweeps[2].stamp_s)) == 1 and not log.boxes_at(folder.name, sweeps[3].stamp_s)
    (folder / "velodyne_points/data/0000000004.bin").write_bytes(SCAN.tobytes())
    with pytest.raises(InputError, match="0000000004.bin: line 5 of timestamps.txt, which is its time, is empty"):
        open_log({"kind": "kitti_raw", "root": tmp_path})


def test_a_drive_that_cannot_be_read_is_left_out_and_the_others_stay(tmp_path):
    sound = write_drive(tmp_path)
    broken = sound.parent / sound.name.replace("0001", "0002")
    shutil.copytree(sound, broken)
    (broken / "oxts/data/0000000004.txt").write_text("")
    before = KittiRawLog(tmp_path).name
    with pytest.warns(UserWarning, match=f"scene {broken.name} is left out: .*0004.txt: needs rows") as caught:
        log = open_log({"kind": "kitti_raw", "root": tmp_path})
    assert len(caught) == 1 and log.scenes() == [sound.name] == log.splits()["val"] and log.left_out == (broken.name,)
    (sound / "oxts/data/0000000004.txt").write_text("")
    with pytest.raises(InputError, match="0001_sync.*0004.txt: needs rows"):
        open_log({"kind": "kitti_raw", "root": tmp_path})
    shutil.copy(sound / "oxts/data/0000000005.txt", broken / "oxts/data/0000000004.txt")
    assert KittiRawLog(tmp_path).name != before  # a store that lacks the drive is not used once it is repaired


def test_sequences_that_cannot_be_read_are_left_out(tmp_path):
    root = write_tracking(tmp_path)
    for part, suffix in (("oxts", ".txt"), ("calib", ".txt"), ("velodyne", "")):
        source = root / f"{part}/0000{suffix}"
        (shutil.copytree if source.is_dir() else shutil.copy)(source, root / f"{part}/0001{suffix}")
    (root / "calib/0001.txt").write_text("R_rect 1 0 0\n")
    with pytest.warns(UserWarning, match="scene 0001 is left out: .*calib/0001.txt"):
        assert open_log({"kind": "kitti_tracking", "root": root}).scenes() == ["0000"]
    root = write_semantickitti(tmp_path)
    shutil.copytree(root / "sequences/00", root / "sequences/01")
    (root / "sequences/01/times.txt").write_text("0\n")
    with pytest.warns(UserWarning, match="scene 01 is left out: .*1 times and 11 poses"):
        assert open_log({"kind": "semantickitti", "root": root}).splits()["train"] == ["00"]


@pytest.mark.parametrize("mark", ["", ":"])
@pytest.mark.parametrize("old, new", [("R_rect", "R0_rect"), ("Tr_velo_cam", "Tr_velo_to_cam"),
                                      ("Tr_imu_velo", "Tr_imu_to_velo")])
def test_the_calibration_may_have_either_of_its_usual_names(tmp_path, old, new, mark):
    root = write_tracking(tmp_path)
    calib = root / "calib/0000.txt"
    expected = KittiTrackingLog(root).scans("0000")[0].boxes[0].world_from_box
    calib.write_text(calib.read_text().replace(f"{old} ", f"{new}{mark} "))
    assert np.array_equal(KittiTrackingLog(root).scans("0000")[0].boxes[0].world_from_box, expected)
    calib.write_text(calib.read_text().replace(new, "R"))
    with pytest.raises(InputError, match=f"calib/0000.txt: no usable line {old} or {new}"):
        KittiTrackingLog(root).scans("0000")


def test_scans_and_labels_that_are_not_there_are_counted(tmp_path):
    root = write_semantickitti(tmp_path)
    (root / "sequences/00/velodyne/000003.bin").unlink()
    (root / "sequences/00/labels/000005.label").unlink()
    with pytest.warns(UserWarning) as caught:
        sweeps = list(SemanticKittiLog(root).sweeps("00"))
    assert [sweep.path.stem for sweep in sweeps if sweep.labels is None] == ["000005"] and len(sweeps) == 10
    said = " ".join(str(warning.message) for warning in caught)
    assert len(caught) == 2 and "skipped 1 sweeps" in said and "1 sweeps without labels" in said


def test_semantickittis_standing_cars_accumulate_and_moving_ones_stay_at_their_own_keyframe(tmp_path):
    root = write_semantickitti(tmp_path)
    right = SCAN[:, 1] < -0.5
    left = SCAN[:, 1] > 0.5
    for number in range(11):  # to the right a car that stands (10), to the left one that is there at scan 5 (252)
        labels = np.full(len(SCAN), 50, "<u4")
        labels[right], labels[left] = 10, 252 if number == 5 else 1
        labels.tofile(root / f"sequences/00/labels/{number:06d}.label")
    log, grid = SemanticKittiLog(root), VoxelGrid((-8, -8, -3), (20, 20, 8), 0.8)
    assert [sweep.moving.any() for sweep in log.sweeps("00")] == [number == 5 for number in range(11)]
    with pytest.warns(UserWarning, match=rf"00: {left.sum()} points of movers lie in no box \(car {left.sum()}\)"):
        frames = build_scene(log, "00", grid, OccupancySettings())
    cars = [grid.centres(grid.unflatten(frame.flat[frame.labels == CLASS_NAMES.index("car")]))[:, 1]
            for frame in frames]
    assert all((places < 0).any() for places in cars)
    assert [bool((places > 0).any()) for places in cars] == [False, True, False]
