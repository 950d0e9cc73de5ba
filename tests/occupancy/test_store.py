"""The store: it keeps what was built, goes on after an interruption, and refuses what is broken or not its own."""

from __future__ import annotations

import json
import shutil
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_sightings import looking_ahead, random_sighting, sighting_of

from occflow.errors import InputError
from occflow.geometry import planar_pose
from occflow.grid import VoxelGrid
from occflow.jobs.inspect import describe, inspect_store
from occflow.logs.nuscenes import NuScenesLog
from occflow.logs.protocol import UNLABELLED, Box
from occflow.occupancy.building import build
from occflow.occupancy.building.build import build_store
from occflow.occupancy.building.scene_frames import build_scene_and_causal
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.settings import OccupancySettings
from occflow.occupancy.storage.frame_block import read_block, write_block
from occflow.occupancy.storage.scene_file import SceneFile, write_scene
from occflow.occupancy.storage.store import (
    FIRST_HALF,
    SECOND_HALF,
    OccupancyStore,
    StoreLayout,
    finish_store,
    start_store,
)
from occflow.occupancy.windows import WindowSource, refuse_other_interval, window_keys
from occflow.packing import pack
from occflow.records import sealed

SETTINGS = OccupancySettings()


@pytest.fixture
def store(street, grid, tmp_path):
    return build_store(street, grid, SETTINGS, tmp_path / "store")


def same(read, written) -> bool:
    """Two frames agree in everything, exactly."""
    boxes = [(a.track, a.label, a.world_from_box.tobytes(), a.size_lwh_m.tobytes()) for a in read.boxes]
    return (np.array_equal(read.flat, written.flat) and np.array_equal(read.labels, written.labels)
            and np.array_equal(read.world_from_grid, written.world_from_grid)
            and (read.stamp_s, read.token) == (written.stamp_s, written.token)
            and boxes == [(b.track, b.label, b.world_from_box.tobytes(), b.size_lwh_m.tobytes()) for b in written.boxes]
            and (read.observed is None) == (written.observed is None)
            and (read.observed is None or np.array_equal(read.observed, written.observed)))


def test_what_is_built_is_read_back(street, grid, store):
    assert store.scenes() == ["street-1", "street-2"]
    assert (store.scenes("train"), store.scenes("val")) == (["street-1"], ["street-2"])
    assert store.grid == grid and store.num_frames("street-1") == 4
    frames, causal = build_scene_and_causal(street, "street-1", grid, SETTINGS)
    for index in (2, 0, 3, 1):  # any frame, in any order
        read = store.frame("street-1", index)
        assert same(read, frames[index]) and same(store.causal_frame("street-1", index), causal[index])
        assert same_sighting(store.sighting("street-1", index), causal[index])
        assert read.flat.dtype == np.int64 and read.labels.dtype == np.uint8
    assert sorted(path.name for path in store.path.iterdir()) == ["meta.json", "street-1.occ", "street-2.occ"]


def test_windows_are_cut_from_it(store):
    keys = window_keys(store, "val", history=2, horizon=1)
    assert [(key.scene, key.start) for key in keys] == [("street-2", 0), ("street-2", 1)]
    assert WindowSource(store, 2, 1).read(keys[1]).present.token == "street-2-2"


def test_every_scene_has_a_first_half_to_learn_from_and_a_second_to_score(store):
    assert store.parts("val") == [("street-2", range(4))] and store.parts() == [("street-1", range(4)),
                                                                               ("street-2", range(4))]
    first, second = store.parts(FIRST_HALF), store.parts(SECOND_HALF)
    assert first == [("street-1", range(2)), ("street-2", range(2))]
    assert second == [("street-1", range(2, 4)), ("street-2", range(2, 4))]
    for half, start in ((FIRST_HALF, 0), (SECOND_HALF, 2)):  # no window has frames of both
        keys = window_keys(store, half, history=1, horizon=1)
        assert [(key.scene, key.start) for key in keys] == [("street-1", start), ("street-2", start)]
    with pytest.raises(InputError, match="no scene of split 'first_half' has the 2 [+] 1 frames"):
        window_keys(store, FIRST_HALF, history=2, horizon=1)
    with pytest.raises(InputError, match="no split 'third_half'"):
        store.parts("third_half")


def test_a_source_cuts_windows_as_it_is_told(store):
    source = WindowSource(store, 2, 1, "causal", "anchored")
    window = source.read(source.keys("val")[0])
    assert all((frame.labels == UNLABELLED).all() and not frame.boxes for frame in window.history)
    assert (window.truth[0].labels != UNLABELLED).all()
    assert len({frame.world_from_grid.tobytes() for frame in (*window.history, *window.truth)}) == 1
    assert source.read(window.key, "occupancy").history[0].boxes
    for wrong in ({"input_kind": "camera"}, {"grid_pose": "moon"}):
        with pytest.raises(InputError, match="not known"):
            WindowSource(store, 2, 1, **wrong)


def test_frames_at_another_rate_are_refused(store):
    refuse_other_interval(store, 0.5)
    with pytest.raises(InputError, match="0.5 s apart, data.frame_interval_s is 0.1"):
        refuse_other_interval(store, 0.1)


def test_a_frame_and_a_scene_without_anything_are_kept(street_with, tmp_path):
    sky = VoxelGrid((0, 0, 100), (4, 4, 4), 0.8)
    with pytest.warns(UserWarning, match="street-2: no voxel of its 4 frames is occupied"):
        store = build_store(street_with(boxed=False), sky, SETTINGS, tmp_path / "sky")
    frame = store.frame("street-1", 0)
    assert len(frame.flat) == 0 and frame.boxes == () and store.summary().occupied_share == 0


@pytest.mark.parametrize("scenes", [{}, {"a": 0}, {"a": 0, "b": 4}])
def test_scenes_without_frames_and_frames_without_voxels_are_kept_and_described(grid, tmp_path, scenes):
    folder, layout = tmp_path / "store", StoreLayout(grid, None, "log", {"val": list(scenes)})
    start_store(folder, layout, list(scenes))
    counts = {}
    for scene, count in scenes.items():
        free = [OccupancyFrame(np.zeros(0, np.int64), np.zeros(0, np.uint8), np.eye(4), index / 2)
                for index in range(count)]
        counts[scene] = write_scene(folder, scene, free, [sighting_of(frame, grid) for frame in free])
    finish_store(folder, layout, counts)
    store = OccupancyStore.open(folder)
    figures = inspect_store(store)
    assert (figures.scenes, figures.frames) == (len(scenes), sum(scenes.values())) and describe(store, figures)
    if scenes.get("b"):
        window = WindowSource(store, 2, 2, "causal", "anchored").read(window_keys(store, "val", 2, 2)[0])
        assert not any(len(frame.flat) for frame in (*window.history, *window.truth))
    else:
        with pytest.raises(InputError, match="no scene of split 'val' has the 2 [+] 2 frames"):
            window_keys(store, "val", 2, 2)
    if scenes:
        with pytest.raises(InputError, match="scene a has no frames"):
            store.frame("a", 0)


def test_a_finished_store_is_not_built_again(street, grid, store, monkeypatch):
    monkeypatch.setattr(build, "build_scene_and_causal", None)
    assert build_store(street, grid, SETTINGS, store.path).scenes() == store.scenes()


def test_an_interrupted_build_goes_on_where_it_stopped(street, grid, tmp_path, monkeypatch):
    built = []

    def counting(log, scene, *rest):
        built.append(scene)
        if len(built) == 2:
            raise KeyboardInterrupt
        return build_scene_and_causal(log, scene, *rest)

    monkeypatch.setattr(build, "build_scene_and_causal", counting)
    with pytest.raises(KeyboardInterrupt):
        build_store(street, grid, SETTINGS, tmp_path / "store")
    with pytest.raises(InputError, match="unfinished"):
        OccupancyStore.open(tmp_path / "store")
    (tmp_path / "store" / ".street-2.x.partial.occ").write_bytes(b"of a build that was killed")
    store = build_store(street, grid, SETTINGS, tmp_path / "store")
    assert built == ["street-1", "street-2", "street-2"]
    assert sorted(path.name for path in store.path.iterdir()) == ["meta.json", "street-1.occ", "street-2.occ"]


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


@pytest.mark.parametrize("error", [InputError("broken"), KeyboardInterrupt()])
def test_nothing_is_left_of_a_build_that_stops_before_its_first_scene(street, grid, tmp_path, monkeypatch, error):
    def stop(*arguments):
        raise error

    monkeypatch.setattr(build, "build_scene_and_causal", stop)
    with pytest.raises(type(error)):
        build_store(street, grid, SETTINGS, tmp_path / "a/store")
    assert list((tmp_path / "a").iterdir()) == []
    with pytest.raises(type(error)):  # beside other machines nobody knows whether it is the first
        build_store(street, grid, SETTINGS, tmp_path / "b/store", shard=(0, 2))
    assert [path.name for path in (tmp_path / "b/store").iterdir()] == ["meta.json"]


def test_windows_across_a_gap_are_left_out_and_counted(grid, tmp_path):
    layout, folder = StoreLayout(grid, None, "log", {"val": ["s"]}), tmp_path / "gap"
    start_store(folder, layout, ["s"])
    stamps_s = [0.0, 0.5, 1.1, 1.5, 3.0, 3.5, 4.0]  # a frame is missing at 2.0 and one at 2.5
    frames = [OccupancyFrame(np.array([3]), np.array([4], np.uint8), np.eye(4), stamp_s) for stamp_s in stamps_s]
    finish_store(folder, layout, {"s": write_scene(folder, "s", frames)})
    store = OccupancyStore.open(folder)
    with pytest.warns(UserWarning, match="left out 2 windows across a gap .* first at frame 2 of scene s"):
        assert [key.start for key in window_keys(store, "val", 2, 1)] == [0, 1, 4]
    assert [key.start for key in window_keys(store, "val", 2, 1, across_gaps=True)] == [0, 1, 2, 3, 4]
    with pytest.raises(InputError, match="3 [+] 2 frames of a window without a gap"):
        window_keys(store, "val", 3, 2)


@pytest.mark.parametrize("change_of, message", [
    ({"settings": OccupancySettings(min_points=3)}, "another settings.*name another folder"),
    ({"grid": VoxelGrid((0, 0, 0), (4, 4, 4), 0.8)}, "another grid.*name another folder"),
    ({"log": {"name": "avenue"}}, "another log.*name another folder"),
])
def test_a_store_of_something_else_is_refused(street_with, grid, store, change_of, message):
    log = street_with(**change_of.get("log", {}))
    with pytest.raises(InputError, match=message):
        build_store(log, change_of.get("grid", grid), change_of.get("settings", SETTINGS), store.path)


def test_a_store_of_the_former_state_of_a_log_is_refused_with_the_remedy(tiny_log_root, tmp_path):
    grid = VoxelGrid((-8, -8, -1), (20, 20, 8), 0.8)
    build_store(NuScenesLog(tiny_log_root, "v1.0-tiny"), grid, SETTINGS, tmp_path / "store")
    scan = tiny_log_root / "samples/LIDAR_TOP/tiny-2-sweep2.pcd.bin"
    scan.write_bytes(scan.read_bytes()[:20 * 40])
    with pytest.raises(InputError, match="another log or another state of it .*remove the folder to have it built"):
        build_store(NuScenesLog(tiny_log_root, "v1.0-tiny"), grid, SETTINGS, tmp_path / "store")


def test_a_folder_that_is_no_store_is_left_alone(street, grid, tmp_path):
    (tmp_path / "thesis.txt").write_text("chapter one")
    with pytest.raises(InputError, match="no occupancy store"):
        build_store(street, grid, SETTINGS, tmp_path)
    with pytest.raises(InputError, match="a file"):
        build_store(street, grid, SETTINGS, tmp_path / "thesis.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("damage, message", [
    (lambda data: data[:len(data) // 2], "truncated"), (lambda data: data[:-1], "truncated"),
    (lambda data: data + b"x", "something was added"), (lambda data: b"", ""),
    (lambda data: b"no archive" * 9, "format"),
    (lambda data: data[:40] + bytes([data[40] ^ 255]) + data[41:], "checksum of the header"),
    (lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], "checksum differs"),
])
def test_a_damaged_scene_file_is_refused_with_one_line(store, damage, message):
    path = store.path / "street-1.occ"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=f"street-1.occ: .*broken scene file.*{message}") as error:
        OccupancyStore.open(store.path).sighting("street-1", 3)
    assert "\n" not in str(error.value)


def test_two_scene_files_that_were_swapped_are_refused(store):
    one, two = (store.path / f"street-{number}.occ" for number in (1, 2))
    one.rename(store.path / "third"), two.rename(one), (store.path / "third").rename(two)
    for scene, other in (("street-1", "street-2"), ("street-2", "street-1")):
        with pytest.raises(InputError, match=f"{scene}.occ: broken scene file .of scene {other}, under another name"):
            OccupancyStore.open(store.path).frame(scene, 0)


@pytest.mark.parametrize("fields, message", [
    ({"scenes": {"street-1": 10 ** 18, "street-2": 4}}, "frames of scene street-1 of 1e"),
    ({"scenes": {"street-1": -1, "street-2": 4}}, "frames of scene street-1 of -1"),
    ({"scenes": {"street-1": "4", "street-2": 4}}, "scenes.street-1"), ({"splits": {"val": "all"}}, "splits.val"),
    ({"settings": 3}, "settings"), ({"log": ["x"]}, "log"), ({"grid": {"shape": [1e9, 1, 1]}}, "grid|origin"),
])
def test_a_description_that_lies_is_refused_with_one_line(store, fields, message):
    path = store.path / "meta.json"
    path.write_text(json.dumps(sealed({**read_unsealed(path), **fields})))
    with pytest.raises(InputError, match=f"meta.json: broken field .*{message}") as error:
        OccupancyStore.open(store.path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("fields", [
    {"splits": {"train": ["street-2"], "val": ["street-1"]}}, {"log": "another"}, {"settings": None}, {"sha256": "0"},
    {"scenes": {"street-2": 4, "street-1": 4}}])
def test_a_description_that_was_changed_is_refused_with_one_line(store, fields):
    path = store.path / "meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    with pytest.raises(InputError, match="meta.json: .*not as it was written.*remove the folder"):
        OccupancyStore.open(store.path)


def read_unsealed(path) -> dict:
    return {name: value for name, value in json.loads(path.read_text()).items() if name != "sha256"}


def test_a_scene_that_was_deleted_of_a_finished_store_is_built_again(street, grid, store):
    kept = (store.path / "street-1.occ").read_bytes()
    (store.path / "street-1.occ").unlink()
    again = build_store(street, grid, SETTINGS, store.path)
    assert (store.path / "street-1.occ").read_bytes() == kept and again.num_frames("street-1") == 4


def rewrite_header(path, **fields) -> None:
    """Write a scene's file with some fields of the header changed, and its checksum with them."""
    data = path.read_bytes()
    magic, length, _ = struct.unpack("<8sII", data[:16])
    header = json.loads(zlib.decompress(data[16:16 + length]))
    header.update({name: edit(header[name]) for name, edit in fields.items()})
    packed = zlib.compress(json.dumps(header).encode())
    path.write_bytes(struct.pack("<8sII", magic, len(packed), zlib.crc32(packed)) + packed + data[16 + length:])


@pytest.mark.parametrize("fields, message", [
    ({"stamps_s": lambda stamps: stamps[::-1]}, "increase"),
    ({"stamps_s": lambda stamps: stamps[:-1] + [float("nan")]}, "NaN is not a number"),
    ({"stamps_s": lambda stamps: ["0.0", *stamps[1:]]}, "stamps_s.0"), ({"scene": lambda name: 3}, "scene"),
    ({"blocks": lambda marks: [[1 << 60, 0], *marks[1:]]}, "bytes of 1.15"),
    ({"tracks": lambda tracks: json.loads("[" * 200 + "]" * 200)}, "nested"),
    ({"tokens": lambda tokens: tokens[1:]}, "length"), ({"causal": lambda marks: marks[1:]}, "length"),
    ({"cells": lambda marks: marks[1:]}, "length"), ({"cells": lambda marks: None}, "length"),
    ({"cells": lambda marks: [[1 << 60, 0], *marks[1:]]}, "bytes of 1.15"),
    ({"grid": lambda grid: {**grid, "voxel_size_m": 9.0}}, "grid"),
    ({"class_names": lambda names: names[::-1]}, "classes"),
    ({"format": lambda name: "occflow-scene-9"}, "format"), ({"tracks": lambda tracks: []}, "index"),
    ({"blocks": lambda marks: [[-5, 0], *marks[1:]]}, "bytes"), ({"blocks": lambda marks: None}, ""),
])
def test_a_header_that_lies_is_refused(store, fields, message):
    rewrite_header(store.path / "street-1.occ", **fields)
    with pytest.raises(InputError, match=f"street-1.occ: .*broken scene file.*{message}"):
        OccupancyStore.open(store.path).frame("street-1", 0)


def test_a_file_that_unpacks_beyond_measure_is_not_unpacked(store, grid, monkeypatch):
    frame = store.frame("street-1", 0)
    bomb = write_block(frame, grid, {"car": 0})[:9] + pack(bytes(50_000_000))
    assert len(bomb) < 50_000
    with pytest.raises(ValueError, match="does not unpack"):
        read_block(bomb, grid, ["car"])
    with pytest.raises(ValueError, match="more than there can be"):
        read_block(b"\xff" * 8 + bomb[8:], grid, ["car"])
    monkeypatch.setattr("occflow.occupancy.storage.scene_file.MAX_HEADER_BYTES", 100)
    with pytest.raises(InputError, match="header of more than"):
        OccupancyStore.open(store.path).frame("street-1", 0)


def same_sighting(read, written) -> bool:
    return same(read, written) and all(
        np.array_equal(getattr(read, part), getattr(written, part)) and getattr(read, part).dtype == kind
        for part, kind in (("cells", np.int64), ("counts", np.uint8), ("youngest", np.uint8), ("oldest", np.uint8))
    ) and read.area == written.area and np.array_equal(read.passed, written.passed)


def random_frame(rng, grid, index, masked) -> OccupancyFrame:
    flat = np.flatnonzero(rng.random(grid.num_voxels) < rng.random())
    labels = rng.integers(0, 17, len(flat)).astype(np.uint8)
    boxes = tuple(Box(f"track {rng.integers(5)}", int(rng.integers(17)), planar_pose(*rng.normal(size=4) * 1e4),
                      rng.random(3)) for _ in range(rng.integers(3)))
    observed = np.packbits(rng.random(grid.num_voxels) < 0.3) if masked else None
    return OccupancyFrame(flat, labels, planar_pose(*rng.normal(size=4)), index + rng.random() / 2, f"{index} é",
                          boxes, observed)


@settings(max_examples=40, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 20)] * 3), seed=st.integers(0, 2 ** 32 - 1), count=st.integers(1, 3),
       masked=st.booleans(), causal=st.booleans(), wider=st.tuples(*[st.integers(0, 9)] * 4))
def test_any_frames_are_read_as_they_were_written(tmp_path_factory, shape, seed, count, masked, causal, wider):
    rng, folder, grid = np.random.default_rng(seed), tmp_path_factory.mktemp("scene"), VoxelGrid((0, 0, 0), shape, 0.5)
    layout = StoreLayout(grid, None, "log", {"val": ["s"]})
    start_store(folder, layout, ["s"])
    frames = [random_frame(rng, grid, i, masked) for i in range(count)]
    known = [looking_ahead(rng, grid, wider, frame.stamp_s, frame.token, masked, rng.random() ** 2)
             if any(wider) and rng.random() < 0.8 else
             random_sighting(rng, grid, frame.stamp_s, frame.token, masked, share=rng.random() ** 2)
             for frame in frames] if causal else None
    finish_store(folder, layout, {"s": write_scene(folder, "s", frames, known)})
    store = OccupancyStore.open(folder)
    assert all(same(store.frame("s", i), frame) for i, frame in enumerate(frames))
    for i, one in enumerate(known or []):
        assert same(store.causal_frame("s", i), one) and same_sighting(store.sighting("s", i), one)


def test_any_flipped_byte_and_any_truncation_is_refused(store):
    path = store.path / "street-1.occ"
    data = path.read_bytes()
    for place in np.random.default_rng(0).choice(len(data), 300, replace=False):
        for broken in (data[:place], data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1:]):
            path.write_bytes(broken)
            with pytest.raises(InputError, match="broken scene file"):
                file = SceneFile(store.path, "street-1", store.grid)
                for index in range(4):
                    file.frame(index), file.sighting(index)


def test_a_store_without_causal_occupancy_says_so(street, grid, tmp_path):
    store = build_store(street, grid, OccupancySettings(causal_window_s=0, visibility=False), tmp_path / "bare")
    assert store.frame("street-1", 0).observed is None
    for read in (store.causal_frame, store.sighting):
        with pytest.raises(InputError, match="without causal occupancy.*causal_window_s"):
            read("street-1", 0)


def test_frames_in_memory_stay_within_their_budget(store, monkeypatch):
    monkeypatch.setattr("occflow.occupancy.storage.store.KEPT_BYTES", 1)
    frames = [store.frame("street-1", index) for index in (0, 1, 0)]
    assert same(frames[0], frames[2]) and frames[0] is not frames[2] and store.frame("street-1", 0) is frames[2]


def test_shards_build_one_store_together(street, grid, store, tmp_path):
    path = tmp_path / "shared"
    assert build_store(street, grid, SETTINGS, path, shard=(1, 2)) is None
    (path / ".street-1.x.partial.occ").write_bytes(b"another machine is writing this")
    with pytest.raises(InputError, match="unfinished"):
        OccupancyStore.open(path)
    assert sorted(file.name for file in path.glob("*.occ")) == [".street-1.x.partial.occ", "street-2.occ"]
    shared = build_store(street, grid, SETTINGS, path, shard=(0, 2))
    assert all(same(shared.frame(scene, 1), store.frame(scene, 1)) for scene in store.scenes())
    assert sorted(file.name for file in path.iterdir()) == ["meta.json", "street-1.occ", "street-2.occ"]


def test_missing_parts_are_named(store):
    (store.path / "street-1.occ").unlink()
    for ask, message in [(lambda: store.frame("street-1", 0), "street-1.occ: missing"),
                         (lambda: store.frame("street-2", 4), "frames 0 to 3"),
                         (lambda: store.num_frames("street-9"), "street-9"),
                         (lambda: store.scenes("test"), "no split 'test'"),
                         (lambda: OccupancyStore.open(store.path / "x"), "no occupancy store")]:
        with pytest.raises(InputError, match=message):
            ask()


@pytest.mark.parametrize("text, message", [
    ("{", "broken"), ("[]", "broken"), ("\udcff", "broken"), ('{"format": "occflow-occupancy-9"}', "broken"),
    ('{"format": "occflow-occupancy-9", "scenes": {}, "log": ""}', "format 'occflow-occupancy-9'"),
    ('{"format": "occflow-occupancy-4", "scenes": {}, "log": ""}', "broken field"),
    ('{"format": "occflow-occupancy-2", "scenes": {}, "log": ""}', "format 'occflow-occupancy-2'.*remove.*built anew"),
    ("[" * 10_000_000, "broken record .*nested"), ('{"scenes": NaN}', "broken record .*NaN"),
])
def test_a_broken_description_is_refused(store, text, message):
    (store.path / "meta.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=message):
        OccupancyStore.open(store.path)


@pytest.mark.parametrize("name", ["../street-1", "a/b", ""])
def test_a_scene_name_never_leaves_the_folder(store, name):
    meta = read_unsealed(store.path / "meta.json")
    meta["scenes"] = {name: 1}
    meta["splits"] = {"train": [], "val": [name]}
    (store.path / "meta.json").write_text(json.dumps(sealed(meta)))
    with pytest.raises(InputError, match="do not agree"):
        OccupancyStore.open(store.path)


def test_a_store_can_be_moved(store, tmp_path):
    shutil.move(store.path, tmp_path / "elsewhere")
    assert len(OccupancyStore.open(tmp_path / "elsewhere").frame("street-2", 1).flat)
