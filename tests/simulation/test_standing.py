"""What another record made is replaced by name only, and never what the simulator has not written."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from pathlib import Path

import pytest

from occflow.errors import InputError
from occflow.simulation.branches import branch_log
from occflow.simulation.drive import RECORD, simulate_log

VERSION = "v1.0-test-world"
SMALL = {"train_scenes": 1, "val_scenes": 1, "duration_s": 1.0, "keyframe_hz": 2, "sweep_hz": 4, "beams": 1,
         "azimuths": 8, "max_range_m": 60.0, "lowest_beam_deg": -92 / 3, "highest_beam_deg": 32 / 3,
         "mount_height_m": 1.84, "varied": False, "range_noise_m": 0.02, "dropout": 0.05, "vehicles": 0,
         "parked_share": 0.3, "pedestrians": 0, "motion_during_revolution": False, "exact_occupancy": False,
         "branches": 1, "branch_every": 1, "branch_frames": 1}


def digest(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("standing") / "log"
    simulate_log(root, VERSION, SMALL, seed=3, workers=1)
    branch_log(root, VERSION, SMALL, seed=3, workers=1)
    return root


@pytest.fixture
def log_root(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "log"))


@pytest.mark.parametrize("changed, seed, told", [
    ({}, 5, "seed: there 3, wanted 5"), ({"beams": 2}, 3, "settings.beams: there 1, wanted 2"),
    ({}, 3, "world: there 1, wanted 3")])
def test_another_log_is_refused_with_what_differs_and_the_remedy(changed, seed, told, log_root):
    if told.startswith("world"):
        record = json.loads((log_root / RECORD).read_text())
        (log_root / RECORD).write_text(json.dumps({**record, "world": 1}))
    before = digest(log_root)
    with pytest.raises(InputError, match=f"{told}.; simulation.replace=true replaces it, or name another log.root"):
        simulate_log(log_root, VERSION, {**SMALL, **changed}, seed=seed, workers=1)
    assert digest(log_root) == before


@pytest.mark.parametrize("name", ["notes.txt", "samples/LIDAR_TOP/mine.pcd.bin", "v1.0-mine/scene.json", "maps/a/b.png",
                                  "branches/scene-0001/mine.npz", "gts/scene-0000/link"])
def test_a_file_of_the_user_s_is_never_removed(name, log_root):
    (log_root / name).parent.mkdir(parents=True, exist_ok=True)
    (log_root / name).symlink_to(log_root / "maps") if name.endswith("link") else (log_root / name).write_text("mine")
    before = digest(log_root)
    with pytest.raises(InputError, match=f"{name}: is not of the simulated log and would be lost; move it away"):
        simulate_log(log_root, VERSION, {**SMALL, "replace": True}, seed=5, workers=1)
    assert digest(log_root) == before


def test_another_log_is_replaced_where_that_is_asked_for(log_root):
    before = digest(log_root)
    assert simulate_log(log_root, VERSION, {**SMALL, "replace": True}, seed=3, workers=1)["seconds"] == 0
    assert digest(log_root) == before
    simulate_log(log_root, VERSION, {**SMALL, "replace": True}, seed=5, workers=1)
    record = json.loads((log_root / RECORD).read_text())
    assert record["seed"] == 5 and "replace" not in record["settings"] and not (log_root / "branches").exists()
    assert [path.name for path in log_root.parent.iterdir()] == ["log"]


def test_a_log_whose_record_is_broken_is_not_taken_for_nobody_s(log_root):
    (log_root / RECORD).write_text("[" * 10_000)
    before = digest(log_root)
    with pytest.raises(InputError, match="holds no simulated log"):
        simulate_log(log_root, VERSION, SMALL, seed=3, workers=1)
    assert digest(log_root) == before


def test_branches_of_the_same_record_are_left_and_others_refused(log_root):
    before = digest(log_root)
    summary = branch_log(log_root, VERSION, SMALL, seed=3, workers=1)
    assert summary == {"keyframes": 2, "branches": 2, "seconds": 0.0} and digest(log_root) == before
    with pytest.raises(InputError, match="branches: there 1, wanted 2.; simulation.replace=true"):
        branch_log(log_root, VERSION, {**SMALL, "branches": 2}, seed=3, workers=1)
    (log_root / "branches/mine.npz").touch()
    with pytest.raises(InputError, match="mine.npz: is not of the simulated branching futures"):
        branch_log(log_root, VERSION, {**SMALL, "branches": 2, "replace": True}, seed=3, workers=1)
    (log_root / "branches/mine.npz").unlink()
    assert digest(log_root) == before
    assert branch_log(log_root, VERSION, {**SMALL, "branches": 2, "replace": True}, seed=3, workers=1)["branches"] == 4


def test_a_full_disk_names_the_log_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError) as caught:
        simulate_log(tmp_path / "log", VERSION, SMALL, seed=3, workers=1)
    assert caught.value.filename == str(tmp_path / "log") and list(tmp_path.iterdir()) == []
