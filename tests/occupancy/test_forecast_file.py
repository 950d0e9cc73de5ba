"""The forecast file: what goes in comes out, and nothing else gets in."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from occflow.errors import InputError
from occflow.geometry import planar_pose
from occflow.grid import VoxelGrid
from occflow.logs.protocol import Box
from occflow.occupancy.forecast_file import load_forecasts, save_forecasts
from occflow.occupancy.frame import OccupancyFrame

GRID = VoxelGrid((-4, -4, -1), (10, 8, 4), 0.8)


def make_frame(seed: int, voxels: int = 20) -> OccupancyFrame:
    rng = np.random.default_rng(seed)
    flat = np.sort(rng.choice(GRID.num_voxels, voxels, replace=False)).astype(np.int64)
    return OccupancyFrame(flat, rng.integers(0, 17, voxels).astype(np.uint8), planar_pose(seed, 1, 0.1 * seed),
                          1.5e9 + seed / 2, f"token-{seed}")


def make_window(horizon: int = 2):
    return SimpleNamespace(key=SimpleNamespace(scene="scene-0007", start=3), history=(make_frame(0), make_frame(1)),
                           horizon=tuple(make_frame(2 + i) for i in range(horizon)))


def save(path, window, **forecasts) -> None:
    save_forecasts(path, GRID, window, forecasts)


def assert_same(frames, expected) -> None:
    assert len(frames) == len(expected)
    for frame, other in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(frame.flat, other.flat)
        np.testing.assert_array_equal(frame.labels, other.labels)
        np.testing.assert_array_equal(frame.world_from_grid, other.world_from_grid)
        assert (frame.stamp_s, frame.token) == (other.stamp_s, other.token)
        assert (frame.flat.dtype, frame.labels.dtype) == (np.int64, np.uint8)


def test_round_trip(tmp_path):
    window, path = make_window(), tmp_path / "run" / "forecast.npz"
    forecasts = {"teacher-10": window.horizon, "student-1": (make_frame(2, voxels=0), make_frame(3, voxels=5))}
    save_forecasts(path, GRID, window, forecasts)
    record = load_forecasts(path)
    assert (record.grid, record.scene, list(record.forecasts)) == (GRID, "scene-0007", ["teacher-10", "student-1"])
    assert_same(record.history, window.history)
    assert_same(record.truth, window.horizon)
    for name, frames in forecasts.items():
        assert_same(record.forecasts[name], frames)
    assert [record.seconds(frame) for frame in record.history] == [-0.5, 0.0]
    assert [entry.name for entry in path.parent.iterdir()] == ["forecast.npz"]


def test_samples_and_boxes_come_back(tmp_path):
    window, path = make_window(), tmp_path / "forecast.npz"
    boxes = tuple(Box(f"car {x}", 4, planar_pose(x, 2, 0.3), np.array([4.6, 1.9, 1.6])) for x in (1.0, 7.5))
    window.history = (window.history[0], replace(window.history[1], boxes=boxes))
    futures = [window.horizon, (make_frame(2, voxels=1), make_frame(3, voxels=2))]
    save_forecasts(path, GRID, window, {"student-1": window.horizon}, {"student-1": futures})
    record = load_forecasts(path)
    assert list(record.forecasts) == list(record.samples) == ["student-1"]
    for future, expected in zip(record.samples["student-1"], futures, strict=True):
        assert_same(future, expected)
    assert record.history[0].boxes == () and [box.track for box in record.history[1].boxes] == ["car 1.0", "car 7.5"]
    for box, expected in zip(record.history[1].boxes, boxes, strict=True):
        np.testing.assert_array_equal(box.world_from_box, expected.world_from_box)
        np.testing.assert_array_equal(box.size_lwh_m, expected.size_lwh_m)


def test_same_content_same_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        save(tmp_path / name, make_window(), student=make_window().horizon)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_log_that_ends_at_the_present_has_no_truth(tmp_path):
    forecast = make_window().horizon
    poses_only = make_window()
    poses_only.horizon = (make_frame(2, voxels=0), make_frame(3, voxels=0))
    for number, window in enumerate((make_window(horizon=0), poses_only)):
        path = tmp_path / f"{number}.npz"
        save(path, window, student=forecast)
        record = load_forecasts(path)
        assert record.truth == ()
        assert_same(record.forecasts["student"], forecast)


def test_missing_file_names_itself_and_the_remedy(tmp_path):
    with pytest.raises(InputError, match=r"absent\.npz: no forecast file; .*view\.source"):
        load_forecasts(tmp_path / "absent.npz")


@pytest.mark.parametrize("keep", [0, 1, 30, 0.3, 0.7, 0.99])
def test_truncated_file_is_refused(tmp_path, keep):
    path = tmp_path / "forecast.npz"
    save(path, make_window(), student=make_window().horizon)
    whole = path.read_bytes()
    path.write_bytes(whole[:keep if isinstance(keep, int) else int(keep * len(whole))])
    with pytest.raises(InputError) as caught:
        load_forecasts(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_damaged_bytes_are_refused_or_harmless(tmp_path):
    """A flipped byte never gets past as another exception, nor as other voxels."""
    path, window = tmp_path / "forecast.npz", make_window()
    save(path, window, student=window.horizon)
    whole = path.read_bytes()
    for position in range(0, len(whole), 37):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1:])
        try:
            record = load_forecasts(path)
        except InputError as error:
            assert str(path) in str(error)
        else:
            assert_same(record.truth, window.horizon)


@pytest.mark.parametrize(("key", "change", "reason"), [
    ("0_flat", lambda a: a[::-1], "outside the grid"),
    ("0_flat", lambda a: a + GRID.num_voxels, "outside the grid"),
    ("0_labels", lambda a: a + 17, "unknown classes"),
    ("0_counts", lambda a: a + 1, "do not agree"),
    ("0_counts", lambda a: a * np.array([-1, 3]), "do not agree"),
    ("0_poses", lambda a: a * 2, "pose"),
    ("0_poses", lambda a: a[:1], "do not agree"),
    ("0_stamps_s", lambda a: a * np.nan, "time stamp"),
    ("1_poses", lambda a: a[::-1], "another grid pose"),
    ("layout", lambda a: np.array("not JSON"), "not a usable"),
    ("layout", lambda a: np.array("[1]"), "not a usable"),
    ("layout", lambda a: np.array(str(a).replace("forecast-1", "forecast-9")), "format"),
    ("layout", lambda a: np.array(str(a).replace('"history"', '"past"')), "history"),
    ("layout", lambda a: np.array(json.dumps({**json.loads(str(a)), "grid": {"origin_m": None}})), "not a usable"),
    ("layout", lambda a: np.array([object()]), "not a usable"),
])
def test_wrong_content_is_refused(tmp_path, key, change, reason):
    path = tmp_path / "forecast.npz"
    save(path, make_window(), student=make_window().horizon)
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays[key] = change(arrays[key])
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=reason) as caught:
        load_forecasts(path)
    assert str(path) in str(caught.value)
