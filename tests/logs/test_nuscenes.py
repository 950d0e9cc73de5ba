"""The nuScenes reader on a tiny hand-made log: what it returns, and how it refuses broken data."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import numpy as np
import pytest

from occflow.errors import InputError
from occflow.geometry import planar_pose
from occflow.grid import CLASS_NAMES
from occflow.logs.nuscenes import NuScenesLog
from occflow.logs.open import open_log
from occflow.logs.protocol import UNLABELLED

VERSION = "v1.0-tiny"


def edit(root: Path, table: str, token: str, **fields) -> None:
    """Change fields of one record of a table."""
    path = root / VERSION / f"{table}.json"
    records = json.loads(path.read_text())
    next(record for record in records if record["token"] == token).update(fields)
    path.write_text(json.dumps(records))


def read_all(root: Path) -> list:
    log = NuScenesLog(root, VERSION)
    return [(log.keyframes(scene), list(log.sweeps(scene))) for scene in log.scenes()]


def test_scenes_keyframes_and_sweeps(tiny_log_root):
    log = NuScenesLog(tiny_log_root, VERSION)
    assert log.scenes() == ["tiny-1", "tiny-2"]
    keyframes, sweeps = log.keyframes("tiny-1"), list(log.sweeps("tiny-1"))
    assert [keyframe.token for keyframe in keyframes] == ["tiny-1-sample0", "tiny-1-sample1", "tiny-1-sample2"]
    assert [sweep.keyframe for sweep in sweeps] == ["tiny-1-sample0", None, "tiny-1-sample1", None, "tiny-1-sample2"]
    assert np.allclose(np.diff([sweep.stamp_s for sweep in sweeps]), 0.25)
    assert np.allclose(sweeps[3].world_from_ego, planar_pose(103, 50, 0))
    assert np.allclose(sweeps[3].world_from_sensor, planar_pose(104, 50, 0, 2))
    assert sweeps[1].labels is None
    assert sweeps[0].labels.tolist() == [11] * 40 + [15] * 40 + [UNLABELLED]


def test_box_size_is_length_width_height(tiny_log_root):
    box = NuScenesLog(tiny_log_root, VERSION).keyframes("tiny-1")[0].boxes[0]
    assert box.size_lwh_m.tolist() == [4.5, 2.0, 1.5]
    assert CLASS_NAMES[box.label] == "car"
    assert np.allclose(box.world_from_box, planar_pose(110, 50, 0, 1))


def test_boxes_between_keyframes(tiny_log_root):
    log = NuScenesLog(tiny_log_root, VERSION)
    start = log.keyframes("tiny-1")[0].stamp_s
    [car] = log.boxes_at("tiny-1", start + 0.25)  # the pedestrian is not known before the second keyframe
    assert np.allclose(car.world_from_box, planar_pose(110, 51, np.pi / 4, 1), atol=1e-6)
    assert [box.track for box in log.boxes_at("tiny-1", start + 0.5)] == ["tiny-1-car", "tiny-1-person"]
    assert len(log.boxes_at("tiny-1", start + 0.75)) == 2
    assert log.boxes_at("tiny-1", start - 0.1) == [] == log.boxes_at("tiny-1", start + 1.1)


def test_splits(tiny_log_root):
    assert NuScenesLog(tiny_log_root, VERSION).splits() == {"train": [], "val": ["tiny-1", "tiny-2"]}
    splits = tiny_log_root / VERSION / "splits.json"
    splits.write_text('{"train": ["tiny-2"], "val": ["tiny-1"]}')
    assert NuScenesLog(tiny_log_root, VERSION).splits() == {"train": ["tiny-2"], "val": ["tiny-1"]}
    splits.write_text('{"train": ["elsewhere"]}')
    with pytest.raises(InputError, match="splits.json.*elsewhere"):
        NuScenesLog(tiny_log_root, VERSION)


def test_a_published_version_has_the_official_splits(tiny_log_root):
    (tiny_log_root / VERSION).rename(tiny_log_root / "v1.0-mini")
    (tiny_log_root / "lidarseg" / VERSION).rename(tiny_log_root / "lidarseg" / "v1.0-mini")
    scenes = tiny_log_root / "v1.0-mini" / "scene.json"
    scenes.write_text(scenes.read_text().replace('"name": "tiny-1"', '"name": "scene-0061"')
                      .replace('"name": "tiny-2"', '"name": "scene-0103"'))
    assert NuScenesLog(tiny_log_root, "v1.0-mini").splits() == {"train": ["scene-0061"], "val": ["scene-0103"]}


def test_a_log_travels_to_another_process_by_its_place(tiny_log_root):
    log = NuScenesLog(tiny_log_root, VERSION)
    twin = copy.copy(log)  # by __reduce__, as worker processes do
    assert twin.name == log.name and twin.scenes() == log.scenes()


CHANGES_IN_PLACE = {
    "a digit of a pose": ("v1.0-tiny/ego_pose.json", lambda data: data.replace(b"101.0", b"102.0", 1)),
    "half a scan": ("sweeps/LIDAR_TOP/tiny-1-sweep1.pcd.bin", lambda data: data[:20 * 40]),
    "no scan": ("sweeps/LIDAR_TOP/tiny-1-sweep1.pcd.bin", None),
    "labels": ("lidarseg/v1.0-tiny/tiny-1-sweep0_lidarseg.bin", lambda data: data[:40]),
    "a class": ("v1.0-tiny/category.json", lambda data: data.replace(b"static.manmade", b"static.natural", 1)),
}


@pytest.mark.parametrize("case", CHANGES_IN_PLACE)
def test_a_log_that_was_changed_in_place_is_another_log(tiny_log_root, case):
    name, change = CHANGES_IN_PLACE[case]
    before, path = NuScenesLog(tiny_log_root, VERSION).name, tiny_log_root / name
    assert NuScenesLog(tiny_log_root, VERSION).name == before
    path.unlink() if change is None else path.write_bytes(change(path.read_bytes()))
    assert NuScenesLog(tiny_log_root, VERSION).name != before


@pytest.mark.parametrize("table, token, fields, message", [
    ("category", "vehicle.car", {"index": 1e300}, "v1.0-tiny/category.json: index 1e.300"),
    ("ego_pose", "tiny-1-sweep0", {"translation": [10 ** 400, 0, 0]}, "v1.0-tiny.*OverflowError"),
    ("sample_data", "tiny-1-sweep0", {"timestamp": 10 ** 400}, "v1.0-tiny.*OverflowError"),
    ("sample_annotation", "tiny-1-sweep0-car", {"size": [10 ** 400, 1, 1]}, "v1.0-tiny.*OverflowError")])
def test_numbers_beyond_all_measure_are_refused_with_their_place(tiny_log_root, table, token, fields, message):
    edit(tiny_log_root, table, token, **fields)
    with pytest.raises(InputError, match=message):
        log = NuScenesLog(tiny_log_root, VERSION)
        log.keyframes("tiny-1"), list(log.sweeps("tiny-1"))


def test_non_finite_points_are_dropped_and_counted(tiny_log_root):
    path = tiny_log_root / "sweeps/LIDAR_TOP/tiny-1-sweep1.pcd.bin"
    points = np.fromfile(path, np.float32)
    points[[0, 7]] = np.nan, np.inf
    points.tofile(path)
    with pytest.warns(UserWarning, match="tiny-1: dropped 2 non-finite .* in 1 sweeps.*sweep1") as caught:
        sweeps = list(NuScenesLog(tiny_log_root, VERSION).sweeps("tiny-1"))
    assert len(caught) == 1
    assert [len(sweep.points_sensor) for sweep in sweeps] == [81, 79, 81, 81, 81]


def test_points_farther_than_any_lidar_are_dropped_and_a_missing_sweep_is_skipped(tiny_log_root):
    path = tiny_log_root / "sweeps/LIDAR_TOP/tiny-1-sweep1.pcd.bin"
    points = np.fromfile(path, np.float32)
    points[0] = 1e9
    points.tofile(path)
    (tiny_log_root / "sweeps/LIDAR_TOP/tiny-1-sweep3.pcd.bin").unlink()
    with pytest.warns(UserWarning) as caught:
        sweeps = list(NuScenesLog(tiny_log_root, VERSION).sweeps("tiny-1"))
    assert [len(sweep.points_sensor) for sweep in sweeps] == [81, 80, 81, 81]
    assert ["dropped 1" in str(w.message) or "skipped 1" in str(w.message) for w in caught] == [True, True]


def test_keyframes_without_labels_beside_others_are_counted(tiny_log_root):
    path = tiny_log_root / VERSION / "lidarseg.json"
    path.write_text(json.dumps(json.loads(path.read_text())[1:]))
    (tiny_log_root / "lidarseg" / VERSION / "tiny-1-sweep0_lidarseg.bin").unlink()
    with pytest.warns(UserWarning, match="tiny-1: 1 sweeps without labels .*sweep0"):
        sweeps = list(NuScenesLog(tiny_log_root, VERSION).sweeps("tiny-1"))
    assert sweeps[0].labels is None and sweeps[2].labels is not None


BROKEN_RECORDS = {
    "nan pose": ("ego_pose", "tiny-1-sweep1", {"translation": [float("nan"), 0, 0]}, "ego_pose.json.*tiny-1-sweep1"),
    "no rotation": ("ego_pose", "tiny-1-sweep2", {"rotation": [0, 0, 0, 0]}, "ego_pose.json.*rigid"),
    "short rotation": ("calibrated_sensor", "mount", {"rotation": [1, 0, 0]}, "calibrated_sensor.json.*rigid"),
    "word in a pose": ("ego_pose", "tiny-1-sweep2", {"translation": ["east", 0, 0]}, "v1.0-tiny.*broken"),
    "flat box": ("sample_annotation", "tiny-1-sweep0-car", {"size": [1, 0, 1]}, "sample_annotation.json.*size"),
    "box of two": ("sample_annotation", "tiny-1-sweep0-car", {"size": [1, 1]}, "v1.0-tiny.*broken"),
    "scan stamps": ("sample_data", "tiny-1-sweep2", {"timestamp": 0}, "time stamps of scene tiny-1 do not increase"),
    "scans in a circle": ("sample_data", "tiny-1-sweep3", {"next": "tiny-1-sweep0"}, "do not increase"),
    "samples in a circle": ("sample", "tiny-1-sample2", {"next": "tiny-1-sample0"}, "circle"),
    "broken chain": ("sample_data", "tiny-1-sweep1", {"next": ""}, "not in the chain"),
    "no such token": ("sample_data", "tiny-1-sweep1", {"next": "elsewhere"}, "v1.0-tiny.*elsewhere"),
    "no such mount": ("sample_data", "tiny-1-sweep1", {"calibrated_sensor_token": "x"}, "v1.0-tiny.*broken"),
    "missing file": ("sample_data", "tiny-1-sweep2", {"filename": "sweeps/x.pcd.bin"}, "x.pcd.bin: missing"),
    "no file name": ("sample_data", "tiny-1-sweep1", {"filename": None}, "v1.0-tiny.*broken"),
    "scan outside": ("sample_data", "tiny-1-sweep1", {"filename": "../secret.bin"}, "v1.0-tiny.*leads out of"),
    "scan anywhere": ("sample_data", "tiny-1-sweep2", {"filename": "/etc/passwd"}, "v1.0-tiny.*leads out of"),
    "labels outside": ("lidarseg", "tiny-1-sweep0", {"filename": "../secret.bin"}, "v1.0-tiny.*leads out of"),
    "nameless box": ("sample_annotation", "tiny-1-sweep0-car", {"instance_token": "x"}, "1 boxes without a track"),
    "endless size": ("sample_annotation", "tiny-1-sweep0-car", {"size": [1, float("inf"), 1]}, "size .* not positive"),
    "no keyframe scan": ("sample_data", "tiny-1-sweep2", {"is_key_frame": False}, "no LIDAR_TOP"),
}


@pytest.mark.parametrize("case", BROKEN_RECORDS)
def test_a_broken_record_is_refused_with_one_line(tiny_log_root, case):
    table, token, fields, message = BROKEN_RECORDS[case]
    edit(tiny_log_root, table, token, **fields)
    with pytest.raises(InputError, match=message) as error:
        read_all(tiny_log_root)
    assert "\n" not in str(error.value)


BROKEN_FILES = {
    "truncated scan": ("samples/LIDAR_TOP/tiny-1-sweep0.pcd.bin", lambda p: p.write_bytes(p.read_bytes()[:-7]),
                       "sweep0.pcd.bin: truncated"),
    "empty scan": ("samples/LIDAR_TOP/tiny-1-sweep0.pcd.bin", lambda p: p.write_bytes(b""), "pcd.bin: empty scan"),
    "nothing finite": ("samples/LIDAR_TOP/tiny-1-sweep0.pcd.bin",
                       lambda p: np.full(81 * 5, np.nan, np.float32).tofile(p), "no point of it is finite"),
    "short labels": ("lidarseg/v1.0-tiny/tiny-1-sweep0_lidarseg.bin", lambda p: p.write_bytes(b"\x18" * 80),
                     "80 labels for a scan of 81 points"),
    "unknown label": ("lidarseg/v1.0-tiny/tiny-1-sweep0_lidarseg.bin", lambda p: p.write_bytes(b"\xc8" * 81),
                      "index 200 is not in category.json"),
    "missing labels": ("lidarseg/v1.0-tiny/tiny-1-sweep0_lidarseg.bin", Path.unlink, "1 label|label files"),
    "broken table": ("v1.0-tiny/sample_data.json", lambda p: p.write_text(p.read_text()[:-9]),
                     "sample_data.json: broken JSON"),
    "binary table": ("v1.0-tiny/sample.json", lambda p: p.write_bytes(b"\xff\xfe\x00"), "sample.json: broken JSON"),
    "deep table": ("v1.0-tiny/scene.json", lambda p: p.write_text("[" * 100_000), "scene.json: broken JSON .*deep"),
    "deep splits": ("v1.0-tiny/splits.json", lambda p: p.write_text("[" * 100_000), "splits.json: .*deep"),
    "endless table": ("v1.0-tiny/scene.json", lambda p: os.truncate(p, 8 << 30), "scene.json: .*bytes"),
    "endless scan": ("samples/LIDAR_TOP/tiny-1-sweep0.pcd.bin", lambda p: os.truncate(p, 20 << 30), "sweep0.*bytes"),
    "no list": ("v1.0-tiny/ego_pose.json", lambda p: p.write_text("3"), "ego_pose.json: a table must be a list"),
    "missing table": ("v1.0-tiny/ego_pose.json", Path.unlink, "ego_pose.json: missing table"),
    "empty scenes": ("v1.0-tiny/scene.json", lambda p: p.write_text("[]"), "scene.json: no scene"),
    "empty map table": ("v1.0-tiny/map.json", lambda p: p.write_text("[]"), "v1.0-tiny"),
    "missing map": ("maps/blank.png", Path.unlink, "blank.png"),
    "broken splits": ("v1.0-tiny/splits.json", lambda p: p.write_text("[1]"), "splits.json: not a dictionary"),
}


@pytest.mark.parametrize("case", BROKEN_FILES)
def test_a_broken_file_is_refused_with_one_line(tiny_log_root, case):
    name, damage, message = BROKEN_FILES[case]
    damage(tiny_log_root / name)
    with pytest.raises(InputError, match=message) as error:
        read_all(tiny_log_root)
    assert "\n" not in str(error.value)


def test_a_wrong_place_is_refused_with_the_way_out(tiny_log_root):
    with pytest.raises(InputError, match="no such log folder.*log.root"):
        NuScenesLog(tiny_log_root / "nowhere", VERSION)
    with pytest.raises(InputError, match="found: v1.0-tiny"):
        NuScenesLog(tiny_log_root, "v1.0-trainval")
    with pytest.raises(InputError, match="no scene 'x'"):
        NuScenesLog(tiny_log_root, VERSION).keyframes("x")
    for log in ({"kind": "rosbag"}, {}, {"kind": "nuscenes", "root": "x"}):
        with pytest.raises(InputError, match=r"log\."):
            open_log(log)


def test_a_real_recording(real_log_root):
    log = open_log({"kind": "nuscenes", "root": str(real_log_root), "version": "v1.0-pandaset"})
    [scene] = log.scenes()
    keyframes, sweeps = log.keyframes(scene), list(log.sweeps(scene))
    assert (len(keyframes), len(sweeps)) == (16, 72)
    assert sum(len(keyframe.boxes) for keyframe in keyframes) == 1504
    assert [sweep.keyframe for sweep in sweeps if sweep.keyframe] == [keyframe.token for keyframe in keyframes]
    assert all((sweep.labels is None) == (sweep.keyframe is None) for sweep in sweeps)
    between = log.boxes_at(scene, sweeps[1].stamp_s)
    assert {box.track for box in between} <= {box.track for box in keyframes[0].boxes}
