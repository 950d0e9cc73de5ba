"""The procedural world: a log that the devkit reads, agents that behave, the same bytes from the same seed."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from occflow.errors import InputError
from occflow.geometry import invert, points_in_box, transform
from occflow.grid import FREE
from occflow.logs.nuscenes import NuScenesLog
from occflow.simulation.drive import simulate_log
from occflow.simulation.exact import GRID

TINY = {"train_scenes": 1, "val_scenes": 1, "duration_s": 2.0, "keyframe_hz": 2, "sweep_hz": 4, "beams": 16,
        "azimuths": 240, "max_range_m": 60.0, "lowest_beam_deg": -92 / 3, "highest_beam_deg": 32 / 3,
        "mount_height_m": 1.84, "varied": False, "range_noise_m": 0.02, "dropout": 0.05, "vehicles": 60,
        "parked_share": 0.3, "pedestrians": 10, "motion_during_revolution": False, "exact_occupancy": True}
VERSION = "v1.0-test-world"


@pytest.fixture(scope="module")
def log_root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("world") / "log"
    simulate_log(root, VERSION, TINY, seed=3, workers=1)
    return root


def digest(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_devkit_reads_it(log_root):
    from nuscenes.nuscenes import NuScenes

    devkit = NuScenes(VERSION, str(log_root), verbose=False)
    assert len(devkit.scene) == 2 and len(devkit.sample) == 10 and len(devkit.sample_data) == 18
    assert len(devkit.lidarseg) == 10 and len(devkit.lidarseg_idx2name_mapping) == 32


def test_readers_see_scenes_keyframes_and_sweeps(log_root):
    log = NuScenesLog(log_root, VERSION)
    assert log.splits() == {"train": ["scene-0000"], "val": ["scene-0001"]}
    sweeps = list(log.sweeps("scene-0000"))
    assert len(log.keyframes("scene-0000")) == 5 and len(sweeps) == 9
    assert [sweep.keyframe is not None for sweep in sweeps] == [True, False] * 4 + [True]


def test_points_labelled_car_lie_in_car_boxes(log_root):  # through the reader, which uses the devkit
    log, inside, cars = NuScenesLog(log_root, VERSION), 0, 0
    for scene in log.scenes():
        boxes = {frame.token: frame.boxes for frame in log.keyframes(scene)}
        for sweep in log.sweeps(scene):
            if sweep.keyframe is None:
                continue
            near = np.linalg.norm(sweep.points_sensor, axis=1) < 50  # boxes are annotated up to 60 m
            points = transform(sweep.world_from_sensor, sweep.points_sensor[(sweep.labels == 4) & near])
            covered = np.zeros(len(points), dtype=bool)
            for box in boxes[sweep.keyframe]:
                covered |= points_in_box(points, box.world_from_box, box.size_lwh_m, 0.1)
            inside, cars = inside + int(covered.sum()), cars + len(points)
    assert cars > 100 and inside / cars > 0.99


def test_the_seed_makes_the_log_whatever_the_workers(log_root, tmp_path):
    simulate_log(tmp_path / "again", VERSION, TINY, seed=3, workers=2)
    simulate_log(tmp_path / "other", VERSION, {**TINY, "val_scenes": 0, "duration_s": 1.0}, seed=4, workers=1)
    assert digest(tmp_path / "again") == digest(log_root)
    first, other = (min(root.glob("samples/LIDAR_TOP/*.bin")) for root in (log_root, tmp_path / "other"))
    assert first.read_bytes() != other.read_bytes()


def test_a_finished_log_is_left_alone(log_root):
    before = digest(log_root)
    assert simulate_log(log_root, VERSION, TINY, seed=3, workers=1)["seconds"] == 0.0
    assert digest(log_root) == before


def test_somebody_elses_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="holds no simulated log"):
        simulate_log(tmp_path, VERSION, TINY, seed=3, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_interrupted_simulation_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("occflow.simulation.drive.simulate_scene", interrupted)
    with pytest.raises(KeyboardInterrupt):
        simulate_log(tmp_path / "log", VERSION, TINY, seed=3, workers=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [{"train_scenes": 0, "val_scenes": 0}, {"sweep_hz": 3}, {"duration_s": 0.0},
                                    {"beams": 0}, {"dropout": 1.0}, {"vehicles": -1}, {"vehicles": "many"},
                                    {"beams": None}, {"train_scenes": 1.5}, {"range_noise_m": float("inf")},
                                    {"motion_during_revolution": 1}, {"exact_occupancy": "yes"}, {"varied": 1},
                                    {"varied": True}, {"lowest_beam_deg": 20.0}, {"highest_beam_deg": 90.0},
                                    {"mount_height_m": 0.0}, {"mount_height_m": float("nan")}])
def test_impossible_settings(change, tmp_path):
    with pytest.raises(InputError, match="simulation."):
        simulate_log(tmp_path / "log", VERSION, {**TINY, **change}, seed=0, workers=1)


@pytest.mark.parametrize("version, seed", [("../elsewhere", 0), ("a/b", 0), ("", 0), ("v1.0-x", -1)])
def test_names_and_seeds(version, seed, tmp_path):
    with pytest.raises(InputError):
        simulate_log(tmp_path / "log", version, TINY, seed=seed, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_key_is_named(tmp_path):
    with pytest.raises(InputError, match="simulation.beams"):
        simulate_log(tmp_path / "log", VERSION, {k: v for k, v in TINY.items() if k != "beams"}, 0, 1)


def test_annotations_are_chained_without_gaps(log_root):
    from nuscenes.nuscenes import NuScenes

    devkit = NuScenes(VERSION, str(log_root), verbose=False)
    for row in devkit.sample_annotation:
        if row["next"]:
            following = devkit.get("sample_annotation", row["next"])
            assert devkit.get("sample", row["sample_token"])["next"] == following["sample_token"]
            assert following["instance_token"] == row["instance_token"]


def test_the_ego_drives_on_the_map_s_road(log_root):
    from nuscenes.nuscenes import NuScenes

    devkit = NuScenes(VERSION, str(log_root), verbose=False)
    for scene in devkit.scene:
        mask = devkit.get("map", devkit.get("log", scene["log_token"])["map_token"])["mask"]
        x, y, _ = devkit.get("ego_pose", devkit.get("sample_data", devkit.get(
            "sample", scene["first_sample_token"])["data"]["LIDAR_TOP"])["ego_pose_token"])["translation"]
        assert mask.is_on_mask(x, y).all() and not mask.is_on_mask(15.0, 15.0).any()


def test_returns_lie_in_occupied_voxels(log_root):
    log, total, free, agree = NuScenesLog(log_root, VERSION), 0, 0, 0
    for scene in log.scenes():
        for sweep in log.sweeps(scene):
            if sweep.keyframe is None:
                continue
            with np.load(log_root / "gts" / scene / sweep.keyframe / "labels.npz") as arrays:
                volume = arrays["semantics"]
                assert arrays["mask_lidar"].all() and arrays["mask_camera"].shape == volume.shape == (200, 200, 16)
            indices, inside = GRID.indices(transform(invert(sweep.world_from_ego) @ sweep.world_from_sensor,
                                                     sweep.points_sensor))
            found = volume[tuple(indices[inside].T)]
            total, free = total + len(found), free + int((found == FREE).sum())
            agree += int((found == sweep.labels[inside]).sum())
    assert total > 1000 and free / total < 0.03 and agree / total > 0.9
