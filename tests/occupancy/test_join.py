"""Stores joined to one: every frame is as it was, under another name; what does not fit or is broken is refused."""

from __future__ import annotations

import pytest

from occflow.errors import InputError
from occflow.grid import VoxelGrid
from occflow.jobs.build import build_configured_store
from occflow.occupancy.building.build import build_store
from occflow.occupancy.settings import OccupancySettings
from occflow.occupancy.storage.join import join_stores
from occflow.occupancy.storage.store import OccupancyStore


@pytest.fixture
def stores(street, grid, tmp_path) -> list[OccupancyStore]:
    """Of one street, built in two ways."""
    return [build_store(street, grid, settings, tmp_path / name) for name, settings in
            (("near", OccupancySettings(max_range_m=30.0)), ("far", OccupancySettings()))]


def test_all_frames_are_there_and_splits_of_one_name_are_one(stores, tmp_path):
    joined = join_stores(tmp_path / "both", [store.path for store in stores])
    assert joined.settings is None and joined.grid == stores[0].grid
    for split in stores[0].splits():
        assert joined.scenes(split) == [f"{number}.{scene}" for number in (1, 2) for scene in stores[0].scenes(split)]
    for number, store in enumerate(stores, 1):
        for scene in store.scenes():
            name = f"{number}.{scene}"
            assert joined.num_frames(name) == store.num_frames(scene) and joined.stamps_s(name) == store.stamps_s(scene)
            for index in range(store.num_frames(scene)):
                assert joined.frame(name, index).flat.tobytes() == store.frame(scene, index).flat.tobytes()
                assert joined.frame(name, index).labels.tobytes() == store.frame(scene, index).labels.tobytes()
                assert joined.sighting(name, index).cells.tobytes() == store.sighting(scene, index).cells.tobytes()


def test_the_way_of_building_is_told_where_it_is_one(stores, tmp_path):
    assert join_stores(tmp_path / "same", [stores[0].path] * 2).settings == stores[0].settings


def test_a_store_that_is_there_needs_no_log(stores, tmp_path):
    config = {"log": {"kind": "store"}, "data": {}, "workers": 1}
    assert build_configured_store(config, stores[0].path).scenes() == stores[0].scenes()
    with pytest.raises(InputError, match="no occupancy store"):
        build_configured_store(config, tmp_path / "nowhere")


def test_what_cannot_be_joined_is_refused_and_leaves_nothing(stores, street, grid, tmp_path, monkeypatch):
    other = build_store(street, VoxelGrid(grid.origin_m, grid.shape[:2] + (grid.shape[2] + 1,), grid.voxel_size_m),
                        OccupancySettings(), tmp_path / "higher")
    paths, new = [store.path for store in stores], tmp_path / "new"
    for parts, reason in (([], "no store"), ([paths[0], other.path], "different grids"),
                          ([paths[0], tmp_path / "nowhere"], "no occupancy store")):
        with pytest.raises(InputError, match=reason):
            join_stores(new, parts)
    with pytest.raises(InputError, match="is there already"):
        join_stores(paths[0], paths)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="built on a disk"):
        join_stores("s3://bucket/new", paths)
    assert not list(tmp_path.glob("s3*"))
    broken = next(paths[1].glob("*.occ"))
    content = bytearray(broken.read_bytes())
    content[-1] ^= 1
    broken.write_bytes(content)
    with pytest.raises(InputError, match="broken scene file"):
        join_stores(new, paths)
    assert not new.exists() and not list(tmp_path.glob(".new*"))
