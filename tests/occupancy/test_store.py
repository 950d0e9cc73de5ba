"""The store: it keeps what was built, goes on after an interruption, and refuses what is broken or not its own."""

from __future__ import annotations

import json
import shutil
import zipfile

import numpy as np
import pytest

from occflow.errors import InputError
from occflow.grid import VoxelGrid
from occflow.logs.nuscenes import NuScenesLog
from occflow.occupancy import build
from occflow.occupancy.build import build_scene, build_store
from occflow.occupancy.settings import OccupancySettings
from occflow.occupancy.store import OccupancyStore
from occflow.occupancy.windows import read_window, window_keys

SETTINGS = OccupancySettings()


@pytest.fixture
def store(street, grid, tmp_path):
    return build_store(street, grid, SETTINGS, tmp_path / "store")


def change(store, **fields) -> None:
    """Write the file of scene street-1 again with some arrays replaced."""
    path = store.path / "street-1.npz"
    with np.load(path) as stored:
        arrays = {**stored, **{name: edit(stored[name].copy()) for name, edit in fields.items()}}
    np.savez(path, **arrays)


def set_first(value):
    def edit(array):
        array.reshape(-1)[0] = value
        return array
    return edit


def test_what_is_built_is_read_back(street, grid, store):
    assert store.scenes() == ["street-1", "street-2"]
    assert (store.scenes("train"), store.scenes("val")) == (["street-1"], ["street-2"])
    assert store.grid == grid and store.num_frames("street-1") == 4
    for index, built in enumerate(build_scene(street, "street-1", grid, SETTINGS)):
        read = store.frame("street-1", index)
        assert np.array_equal(read.flat, built.flat) and read.flat.dtype == np.int64
        assert np.array_equal(read.labels, built.labels) and read.labels.dtype == np.uint8
        assert np.array_equal(read.world_from_grid, built.world_from_grid)
        assert (read.stamp_s, read.token) == (built.stamp_s, built.token)
        assert (read.boxes[0].track, read.boxes[0].label) == (built.boxes[0].track, built.boxes[0].label)
        assert np.array_equal(read.boxes[0].world_from_box, built.boxes[0].world_from_box)
        assert np.array_equal(read.boxes[0].size_lwh_m, built.boxes[0].size_lwh_m)
    assert sorted(path.name for path in store.path.iterdir()) == ["meta.json", "street-1.npz", "street-2.npz"]


def test_windows_are_cut_from_it(store):
    keys = window_keys(store, "val", history=2, horizon=1)
    assert [(key.scene, key.start) for key in keys] == [("street-2", 0), ("street-2", 1)]
    assert read_window(store, keys[1], 2, 1).present.token == "street-2-2"


def test_a_frame_and_a_scene_without_anything_are_kept(street_with, tmp_path):
    sky = VoxelGrid((0, 0, 100), (4, 4, 4), 0.8)
    store = build_store(street_with(boxed=False), sky, SETTINGS, tmp_path / "sky")
    frame = store.frame("street-1", 0)
    assert len(frame.flat) == 0 and frame.boxes == () and store.summary().occupied_share == 0


def test_a_finished_store_is_not_built_again(street, grid, store, monkeypatch):
    monkeypatch.setattr(build, "build_scene", None)
    assert build_store(street, grid, SETTINGS, store.path).scenes() == store.scenes()


def test_an_interrupted_build_goes_on_where_it_stopped(street, grid, tmp_path, monkeypatch):
    built = []

    def counting(log, scene, *rest):
        built.append(scene)
        if len(built) == 2:
            raise KeyboardInterrupt
        return build_scene(log, scene, *rest)

    monkeypatch.setattr(build, "build_scene", counting)
    with pytest.raises(KeyboardInterrupt):
        build_store(street, grid, SETTINGS, tmp_path / "store")
    with pytest.raises(InputError, match="unfinished"):
        OccupancyStore.open(tmp_path / "store")
    (tmp_path / "store" / ".street-2.x.partial.npz").write_bytes(b"of a build that was killed")
    store = build_store(street, grid, SETTINGS, tmp_path / "store")
    assert built == ["street-1", "street-2", "street-2"]
    assert sorted(path.name for path in store.path.iterdir()) == ["meta.json", "street-1.npz", "street-2.npz"]


def test_worker_processes_build_the_same_store(tiny_log_root, tmp_path):
    log, grid = NuScenesLog(tiny_log_root, "v1.0-tiny"), VoxelGrid((-8, -8, -1), (20, 20, 8), 0.8)
    alone = build_store(log, grid, SETTINGS, tmp_path / "alone")
    together = build_store(log, grid, SETTINGS, tmp_path / "together", workers=2)
    assert together.scenes() == alone.scenes() == ["tiny-1", "tiny-2"]
    for scene in alone.scenes():
        for index in range(3):
            assert np.array_equal(alone.frame(scene, index).flat, together.frame(scene, index).flat)
            assert len(alone.frame(scene, index).flat)


def test_a_broken_log_leaves_no_broken_store(tiny_log_root, tmp_path):
    scan = tiny_log_root / "samples/LIDAR_TOP/tiny-2-sweep2.pcd.bin"
    points = scan.read_bytes()
    scan.write_bytes(points[:-3])
    log, grid = NuScenesLog(tiny_log_root, "v1.0-tiny"), VoxelGrid((-8, -8, -1), (20, 20, 8), 0.8)
    with pytest.raises(InputError, match="truncated"):
        build_store(log, grid, SETTINGS, tmp_path / "store", workers=2)
    scan.write_bytes(points)
    assert len(build_store(log, grid, SETTINGS, tmp_path / "store").scenes()) == 2


@pytest.mark.parametrize("change_of, message", [
    ({"settings": OccupancySettings(min_points=3)}, "another settings.*data.store"),
    ({"grid": VoxelGrid((0, 0, 0), (4, 4, 4), 0.8)}, "another grid.*data.store"),
    ({"log": {"name": "avenue"}}, "another log.*data.store"),
])
def test_a_store_of_something_else_is_refused(street_with, grid, store, change_of, message):
    log = street_with(**change_of.get("log", {}))
    with pytest.raises(InputError, match=message):
        build_store(log, change_of.get("grid", grid), change_of.get("settings", SETTINGS), store.path)


def test_a_folder_that_is_no_store_is_left_alone(street, grid, tmp_path):
    (tmp_path / "thesis.txt").write_text("chapter one")
    with pytest.raises(InputError, match="no occupancy store"):
        build_store(street, grid, SETTINGS, tmp_path)
    with pytest.raises(InputError, match="a file"):
        build_store(street, grid, SETTINGS, tmp_path / "thesis.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("fields, message", [
    ({"poses": set_first(np.nan)}, "pose"), ({"poses": set_first(2.0)}, "pose"),
    ({"flat_steps": set_first(2 ** 32 - 1)}, "outside"), ({"flat_steps": lambda a: np.zeros_like(a)}, "repeated"),
    ({"labels": set_first(17)}, "label 17"), ({"labels": lambda a: a[:-1]}, "length"),
    ({"voxel_counts": set_first(-1)}, "length"), ({"stamps_s": set_first(9.0)}, "increase"),
    ({"box_poses": set_first(np.inf)}, "box"), ({"box_sizes": lambda a: a[:-1]}, "boxes"),
    ({"tokens": lambda a: np.array([{}] * len(a), dtype=object)}, "pickle"),
    ({"flat_steps": lambda a: a.astype(np.float64)}, "type"),
])
def test_a_broken_scene_file_is_refused_with_one_line(store, fields, message):
    change(store, **fields)
    with pytest.raises(InputError, match=f"street-1.npz.*{message}") as error:
        store.frame("street-1", 0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("damage", [
    lambda data: data[:len(data) // 2], lambda data: b"", lambda data: b"no archive",
    lambda data: data[:200] + bytes([data[200] ^ 255]) + data[201:],
])
def test_a_truncated_or_corrupt_scene_file_is_refused(store, damage):
    path = store.path / "street-1.npz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match="street-1.npz: broken scene file"):
        store.frame("street-1", 0)


def test_a_scene_file_that_unpacks_beyond_measure_is_not_unpacked(store, monkeypatch):
    monkeypatch.setattr("occflow.occupancy.scene_file.MAX_SCENE_BYTES", 1000)
    assert zipfile.is_zipfile(store.path / "street-1.npz")
    with pytest.raises(InputError, match="bytes unpacked"):
        store.frame("street-1", 0)


def test_missing_parts_are_named(store):
    (store.path / "street-1.npz").unlink()
    for ask, message in [(lambda: store.frame("street-1", 0), "street-1.npz: missing"),
                         (lambda: store.frame("street-2", 4), "frames 0 to 3"),
                         (lambda: store.num_frames("street-9"), "street-9"),
                         (lambda: store.scenes("test"), "no split 'test'"),
                         (lambda: OccupancyStore.open(store.path / "x"), "no occupancy store")]:
        with pytest.raises(InputError, match=message):
            ask()


@pytest.mark.parametrize("text, message", [
    ("{", "broken"), ("[]", "broken"), ("\udcff", "broken"), ('{"format": "occflow-occupancy-9"}', "broken"),
    ('{"format": "occflow-occupancy-9", "scenes": {}, "log": ""}', "format 'occflow-occupancy-9'"),
    ('{"format": "occflow-occupancy-1", "scenes": {}, "log": ""}', "broken field"),
])
def test_a_broken_description_is_refused(store, text, message):
    (store.path / "meta.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=message):
        OccupancyStore.open(store.path)


@pytest.mark.parametrize("name", ["../street-1", "a/b", ""])
def test_a_scene_name_never_leaves_the_folder(store, name):
    meta = json.loads((store.path / "meta.json").read_text())
    meta["scenes"] = {name: 1}
    meta["splits"] = {"train": [], "val": [name]}
    (store.path / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(InputError, match="do not agree"):
        OccupancyStore.open(store.path)


def test_a_store_can_be_moved(store, tmp_path):
    shutil.move(store.path, tmp_path / "elsewhere")
    assert len(OccupancyStore.open(tmp_path / "elsewhere").frame("street-2", 1).flat)
