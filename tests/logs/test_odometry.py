"""Poses that are estimated from scans: near the true ones, kept, and said to be estimates."""

from __future__ import annotations

import numpy as np
import pytest
from scan_writers import write_folder

from occflow.errors import InputError
from occflow.geometry import invert, planar_pose, transform
from occflow.logs.odometry import _at_stamps
from occflow.logs.open import open_log
from occflow.logs.protocol import Sweep
from occflow.logs.trajectory import read_poses
from studies.odometry_error import error_of, measured

SCANS = 8


def street(rng: np.random.Generator) -> np.ndarray:
    """Points [N, 3] of a road, two walls and posts between them, world frame."""
    road = np.column_stack([rng.uniform(-30, 40, 4000), rng.uniform(-8, 8, 4000), np.zeros(4000)])
    walls = np.column_stack([rng.uniform(-30, 40, 3000), rng.choice([-8.0, 8.0], 3000), rng.uniform(0, 4, 3000)])
    posts = np.column_stack([rng.integers(-4, 6, 1500) * 7.0, rng.choice([-6.0, 5.0], 1500), rng.uniform(0, 3, 1500)])
    ends = np.column_stack([rng.choice([-30.0, 40.0], 800), rng.uniform(-8, 8, 800), rng.uniform(0, 4, 800)])
    return np.concatenate([road, walls, posts, ends])


@pytest.fixture(scope="module")
def sweeps() -> list[Sweep]:
    """A scanner 1.8 m over a road that drives 0.4 m a scan in a bend; every scan sees other points of the street."""
    made, rng = [], np.random.default_rng(0)
    for number in range(SCANS):
        pose = planar_pose(0.4 * number, 0.01 * number**2, 0.02 * number, 1.8)
        points = transform(invert(pose), street(rng)).astype(np.float32)
        made.append(Sweep(1e9 + number / 10, points, None, pose, pose, None, None))
    return made


def test_estimated_poses_are_near_the_true_ones_kept_and_told(sweeps, tmp_path, recwarn):
    pytest.importorskip("kiss_icp")
    root, cache = write_folder(tmp_path / "mine", sweeps, poses=None), tmp_path / "cache"
    log = open_log({"kind": "folder", "root": root, "cache": cache})
    assert "poses estimated by KISS-ICP" in log.name and "over the road by its scans" in log.name
    with pytest.warns(UserWarning, match="mine has no poses: they are estimated by KISS-ICP .*drift"):
        found = list(log.sweeps("mine"))
    (kept,) = cache.iterdir()
    stamps_s, poses = read_poses(kept)
    true = np.stack([sweep.world_from_sensor for sweep in sweeps])
    error = error_of(np.stack([sweep.world_from_sensor for sweep in found]), true, stamps_s)
    assert error.ate_m < 0.1 and error.way_m == pytest.approx(2.84, abs=0.05)
    np.testing.assert_allclose(found[0].world_from_ego, np.eye(4), atol=1e-9)  # the world is level, on the road
    assert [path.name for path in root.iterdir()] == ["scans"]  # nothing is left in the user's folder
    kept.write_text(kept.read_text().replace(" 0.000000 ", " 5.000000 ", 1))
    (first, *_) = open_log({"kind": "folder", "root": root, "cache": cache}).sweeps("mine")
    assert first.world_from_sensor[0, 3] == 5  # it was read, not estimated again
    kept.write_text("\n".join(kept.read_text().splitlines()[1:]))
    with pytest.raises(InputError, match="poses of other scans; remove the file"):
        open_log({"kind": "folder", "root": root, "cache": cache})


def test_poses_may_be_estimated_although_there_are_some(sweeps, tmp_path):
    pytest.importorskip("kiss_icp")
    log = open_log({"kind": "folder", "root": write_folder(tmp_path / "mine", sweeps[:3]), "poses": "odometry",
                    "cache": tmp_path / "cache"})
    assert "poses estimated" in log.name


def test_what_cannot_be_estimated_is_one_line(sweeps, tmp_path, monkeypatch):
    pytest.importorskip("kiss_icp")
    root = write_folder(tmp_path / "mine", sweeps[:2], poses=None)
    path = sorted((root / "scans").iterdir())[1]
    path.write_bytes(path.read_bytes()[:16 * 20])
    settings = {"kind": "folder", "root": root, "cache": tmp_path / "cache"}
    with pytest.raises(InputError, match="scan 1 has 20 usable points, too few"):
        open_log(settings)
    monkeypatch.setitem(__import__("sys").modules, "kiss_icp.kiss_icp", None)
    with pytest.raises(InputError, match=r"needs kiss_icp .*pip install 'occflow\[odometry\]'"):
        open_log(settings)


def test_a_pose_at_the_end_of_a_revolution_is_brought_to_the_stamp():
    stamps_s = np.array([0.0, 0.1, 0.2, 0.3])
    ends = np.stack([planar_pose(speed, 0, 0) for speed in (0.0, 1.0, 2.0, 4.0)])  # 0.1 s after each stamp
    found = _at_stamps(stamps_s, stamps_s + 0.1, ends)
    np.testing.assert_allclose(found[:, 0, 3], [0, 1, 2, 3], atol=1e-9)


def test_errors_are_measured_as_the_field_defines_them():
    stamps_s = np.arange(31) / 10
    true = np.stack([planar_pose(number, 0.1 * number**2, 0) for number in range(31)])
    turned = planar_pose(3.0, -2.0, 0.7) @ true  # another world
    assert error_of(turned, true, stamps_s).ate_m == pytest.approx(0, abs=1e-9)
    drifting = true.copy()
    drifting[:, :3, 3] *= 1.1
    error = error_of(drifting, true, stamps_s)
    assert error.rpe[1.0][0] > 1 and error.rpe[1.0][1] == pytest.approx(0, abs=1e-6)
    assert error.ate_from_first_m > error.ate_m > 0.5
    assert str(error).startswith("31 scans, 97.5 m: ATE 2.9")


def test_the_study_measures_a_log(sweeps):
    pytest.importorskip("kiss_icp")

    class Log:
        def sweeps(self, scene: str):
            return iter(sweeps)

    assert measured(Log(), "street").ate_m < 0.1
