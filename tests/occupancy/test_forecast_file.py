"""The forecast file: what goes in comes out, and nothing else gets in."""

import io
import json
import random
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from fuzzing.edits import edited
from fuzzing.json_edits import edit_json

from occflow.errors import InputError
from occflow.geometry import planar_pose
from occflow.grid import VoxelGrid
from occflow.logs.protocol import UNLABELLED, Box
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.storage.forecast_file import load_forecasts, save_forecasts

GRID = VoxelGrid((-4, -4, -1), (10, 8, 4), 0.8)


def make_frame(seed: int, voxels: int = 20) -> OccupancyFrame:
    rng = np.random.default_rng(seed)
    flat = np.sort(rng.choice(GRID.num_voxels, voxels, replace=False)).astype(np.int64)
    return OccupancyFrame(flat, rng.integers(0, 17, voxels).astype(np.uint8), planar_pose(seed, 1, 0.1 * seed),
                          1.5e9 + seed / 2, f"token-{seed}")


def make_window(horizon: int = 2):
    """As much of a window's task and truth as a file holds."""
    return SimpleNamespace(scene="scene-0007", history=(make_frame(0), make_frame(1)),
                           truth=tuple(make_frame(2 + i) for i in range(horizon)))


def save(path, window, **forecasts) -> None:
    save_forecasts(path, GRID, window, forecasts, truth=window.truth)


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
    forecasts = {"teacher-10": window.truth, "student-1": (make_frame(2, voxels=0), make_frame(3, voxels=5))}
    save(path, window, **forecasts)
    record = load_forecasts(path)
    assert (record.grid, record.scene, list(record.forecasts)) == (GRID, "scene-0007", ["teacher-10", "student-1"])
    assert_same(record.history, window.history)
    assert_same(record.truth, window.truth)
    for name, frames in forecasts.items():
        assert_same(record.forecasts[name], frames)
    assert [record.seconds(frame) for frame in record.history] == [-0.5, 0.0]
    assert [entry.name for entry in path.parent.iterdir()] == ["forecast.npz"]


def test_samples_and_boxes_come_back(tmp_path):
    window, path = make_window(), tmp_path / "forecast.npz"
    boxes = tuple(Box(f"car {x}", 4, planar_pose(x, 2, 0.3), np.array([4.6, 1.9, 1.6])) for x in (1.0, 7.5))
    window.history = (window.history[0], replace(window.history[1], boxes=boxes))
    futures = [window.truth, (make_frame(2, voxels=1), make_frame(3, voxels=2))]
    save_forecasts(path, GRID, window, {"student-1": window.truth}, {"student-1": futures}, window.truth)
    record = load_forecasts(path)
    assert list(record.forecasts) == list(record.samples) == ["student-1"]
    for future, expected in zip(record.samples["student-1"], futures, strict=True):
        assert_same(future, expected)
    assert record.history[0].boxes == () and [box.track for box in record.history[1].boxes] == ["car 1.0", "car 7.5"]
    for box, expected in zip(record.history[1].boxes, boxes, strict=True):
        np.testing.assert_array_equal(box.world_from_box, expected.world_from_box)
        np.testing.assert_array_equal(box.size_lwh_m, expected.size_lwh_m)


def test_a_history_without_classes_comes_back_and_nothing_else_may_lack_them(tmp_path):
    """What a car saw has no labels (data.input=causal); what is forecast, and the truth, have."""
    window, path = make_window(), tmp_path / "forecast.npz"
    window.history = tuple(replace(frame, labels=np.full_like(frame.labels, UNLABELLED)) for frame in window.history)
    save(path, window, student=window.truth)
    assert_same(load_forecasts(path).history, window.history)
    window.truth = tuple(replace(frame, labels=np.full_like(frame.labels, UNLABELLED)) for frame in window.truth)
    save(path, window, student=window.truth)
    with pytest.raises(InputError, match="'truth': .*unknown classes"):
        load_forecasts(path)


def test_same_content_same_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        save(tmp_path / name, make_window(), student=make_window().truth)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_log_that_ends_at_the_present_has_no_truth(tmp_path):
    path, forecast = tmp_path / "forecast.npz", make_window().truth
    save_forecasts(path, GRID, make_window(), {"student": forecast})
    record = load_forecasts(path)
    assert record.truth == ()
    assert_same(record.forecasts["student"], forecast)


def test_a_truth_in_which_nothing_is_is_one(tmp_path):
    """An open field: that nothing came is what happened, not a guess that nothing is known."""
    path, window = tmp_path / "forecast.npz", make_window()
    window.truth = (make_frame(2, voxels=0), make_frame(3, voxels=0))
    save(path, window, student=make_window().truth)
    assert_same(load_forecasts(path).truth, window.truth)


def test_missing_file_names_itself_and_the_remedy(tmp_path):
    with pytest.raises(InputError, match=r"absent\.npz: no forecast file; .*view\.source"):
        load_forecasts(tmp_path / "absent.npz")


@pytest.mark.parametrize("keep", [0, 1, 30, 0.3, 0.7, 0.99])
def test_truncated_file_is_refused(tmp_path, keep):
    path = tmp_path / "forecast.npz"
    save(path, make_window(), student=make_window().truth)
    whole = path.read_bytes()
    path.write_bytes(whole[:keep if isinstance(keep, int) else int(keep * len(whole))])
    with pytest.raises(InputError) as caught:
        load_forecasts(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_damaged_bytes_are_refused_or_harmless(tmp_path):
    """A flipped byte never gets past as another exception, nor as other voxels."""
    path, window = tmp_path / "forecast.npz", make_window()
    save(path, window, student=window.truth)
    whole = path.read_bytes()
    for position in range(0, len(whole), 37):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1:])
        try:
            record = load_forecasts(path)
        except InputError as error:
            assert str(path) in str(error)
        else:
            assert_same(record.truth, window.truth)


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
    save(path, make_window(), student=make_window().truth)
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays[key] = change(arrays[key])
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=reason) as caught:
        load_forecasts(path)
    assert str(path) in str(caught.value)


def with_arrays(path, **changed) -> None:
    """The file with other arrays; None leaves one out."""
    with np.load(path) as stored:
        arrays = {**dict(stored), **changed}
    np.savez(path, **{name: values for name, values in arrays.items() if values is not None})


def with_layout(path, **changed) -> None:
    with np.load(path) as stored:
        layout = json.loads(str(stored["layout"]))
    with_arrays(path, layout=np.array(json.dumps({**layout, **changed})))


BOX = Box("car 1", 4, planar_pose(1, 2, 0.3), np.array([4.6, 1.9, 1.6]))


def saved(path):
    """A file with everything in it, and its bytes."""
    window = make_window()
    window.history = (window.history[0], replace(window.history[1], boxes=(BOX,)))
    save_forecasts(path, GRID, window, {"student-1": window.truth}, {"student-1": [window.truth] * 2}, window.truth)
    return path.read_bytes()


def refused(path, reason: str | None = None) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        load_forecasts(path)
    assert str(caught.value).startswith(f"{path}: not a usable") and len(str(caught.value)) < len(str(path)) + 300
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("reason, changed", [
    ("no array '5_flat'", {"sequences": ["history", "truth", *(f"forecast/{i}" for i in range(9))]}),
    ("two sequences have one name", {"sequences": ["history", "truth", "forecast/a", "forecast/a"]}),
    ("no sequence 'truth'", {"sequences": ["history"]}),
    ("field 'sequences.1'", {"sequences": ["history", 3]}),
    ("field 'scene'", {"scene": None}), ("is no name", {"scene": "x" * 5000}), ("is no name", {"scene": "a\nb"}),
    ("field 'grid.shape.0'", {"grid": {**GRID.to_dict(), "shape": ["9", 8, 4]}}),
    ("field 'grid'", {"grid": [1]}), ("voxels", {"grid": {**GRID.to_dict(), "shape": [10 ** 9, 8, 4]}}),
    ("field 'format'", {"format": 1})])
def test_odd_fields_of_the_layout_are_named(tmp_path, reason, changed):
    path = tmp_path / "forecast.npz"
    saved(path)
    with_layout(path, **changed)
    refused(path, reason)


@pytest.mark.parametrize("name, values", [
    ("0_flat", np.zeros(40)), ("0_flat", np.array(["a"] * 40)), ("0_flat", np.array([None] * 40)), ("0_flat", None),
    ("0_labels", np.zeros(40, np.int64)), ("0_counts", np.array([2 ** 63, 2 ** 63], np.uint64)),
    ("0_counts", np.array([2 ** 62, 2 ** 62])), ("0_counts", np.array([[20, 20]])), ("0_poses", np.eye(4)),
    ("0_poses", np.full((2, 4, 4), np.nan)), ("0_poses", np.stack([planar_pose(1e300, 0, 0)] * 2)),
    ("0_stamps_s", np.array([0, 1e300])), ("0_stamps_s", np.array(["1", "2"])), ("0_tokens", np.array([1, 2])),
    ("0_tokens", np.array(["a" * 300, "b"])), ("0_tokens", np.zeros(2, "<U4").view(np.uint32) + 0x7fffffff),
    ("0_box_counts", np.array([0, -1])), ("0_box_counts", np.array([0, 10 ** 9])), ("0_box_labels", np.uint8([17])),
    ("0_box_sizes_m", np.array([[np.nan, 1, 1]])), ("0_box_sizes_m", np.array([[1e30, 1, 1]])), ("0_box_poses", None),
    ("0_box_tracks", np.array([5])), ("3_stamps_s", np.zeros(0)),
    ("layout", np.array("[" * 10_000_000)), ("layout", np.array("[" * 500_000)), ("layout", np.array(["a", "b"]))])
@pytest.mark.filterwarnings("error")
def test_odd_arrays_are_refused_in_one_line(tmp_path, name, values):
    path = tmp_path / "forecast.npz"
    saved(path)
    with_arrays(path, **{name: values})
    refused(path)


def test_more_frames_or_boxes_than_there_can_be_are_refused_before_they_are_read(tmp_path):
    path, frames = tmp_path / "forecast.npz", 10 ** 6
    saved(path)
    with_arrays(path, **{"1_poses": np.lib.stride_tricks.as_strided(np.eye(4), (frames, 4, 4), (0, 32, 8))[:30_000]})
    refused(path, "number of frames of 30008")
    saved(path)
    with_arrays(path, **{"0_box_poses": np.zeros((200_000, 0, 0))})
    refused(path, "number of boxes of 200000")


def test_a_file_that_claims_400_gigabytes_or_inflates_to_many_is_refused(tmp_path, monkeypatch):
    path, header = tmp_path / "forecast.npz", io.BytesIO()
    whole = saved(path)
    np.lib.format.write_array_header_1_0(header, {"descr": "<i4", "fortran_order": False, "shape": (10 ** 11,)})
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, header.getvalue() if name == "1_flat.npy" else old.read(name))
    refused(path, "1_flat: its size in the archive is not that of its shape")
    monkeypatch.setattr("occflow.occupancy.storage.forecast_file.MOST_BYTES", 1 << 20)
    path.write_bytes(whole)
    load_forecasts(path)
    with_arrays(path, **{"1_flat": np.zeros(1 << 20, np.int32)})
    refused(path, "1_flat: would inflate beyond")


def test_a_sample_of_another_length_than_its_forecast_is_refused(tmp_path):
    path, window = tmp_path / "forecast.npz", make_window(horizon=0)
    save_forecasts(path, GRID, window, {"a": (make_frame(2),)}, {"a": [(make_frame(2), make_frame(3))]})
    refused(path, "a sample of 'a' has 2 frames")


@pytest.mark.parametrize("seed", range(2))
def test_accidents_are_refused_or_change_nothing(tmp_path, seed):
    path = tmp_path / "forecast.npz"
    whole = saved(path)
    sound = load_forecasts(path)
    for number in range(100):
        path.write_bytes(edited(whole, f"forecast {seed}", ("bytes",), number).content)
        try:
            found = load_forecasts(path)
        except InputError as error:
            assert str(path) in str(error) and len(str(error).splitlines()) == 1
        else:
            for one, other in ((found.history, sound.history), (found.truth, sound.truth),
                               (found.forecasts["student-1"], sound.forecasts["student-1"])):
                assert_same(one, other)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.filterwarnings("error")
def test_edited_arrays_and_layouts_are_sound_or_refused_in_one_line(tmp_path, seed):
    path, rng = tmp_path / "forecast.npz", random.Random(seed)
    whole = saved(path)
    with np.load(path) as stored:
        layout = json.loads(str(stored["layout"]))
    for number in range(60):
        path.write_bytes(edited(whole, f"arrays {seed}", ("npz",), number).content if number % 2 else whole)
        if number % 2 == 0:
            with_arrays(path, layout=np.array(edit_json(json.dumps(layout).encode(), rng).decode()))
        try:
            load_forecasts(path)
        except InputError as error:
            assert str(path) in str(error) and len(str(error).splitlines()) == 1
