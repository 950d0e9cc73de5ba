"""A store at a URL is read as the one in the folder that was uploaded."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
from dask_jobs import GRID, SCENES, make_scene

from occflow.errors import InputError
from occflow.occupancy.building.build import fill_store
from occflow.occupancy.storage import remote
from occflow.occupancy.storage.store import OccupancyStore, StoreLayout

fsspec = pytest.importorskip("fsspec", reason="no fsspec: pip install 'occflow[remote]'")
URL = "memory://bucket/store"


@pytest.fixture
def store(tmp_path, monkeypatch) -> OccupancyStore:
    """A store on disk, uploaded to URL."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = fill_store(make_scene, StoreLayout(GRID, None, "random", {"val": SCENES}), SCENES, tmp_path / "store")
    upload(store)
    yield store
    fsspec.filesystem("memory").rm("/bucket", recursive=True)


def upload(store: OccupancyStore) -> None:
    fsspec.filesystem("memory").put(f"{store.path}/", "/bucket/store/", recursive=True)


def copies() -> list[str]:
    return sorted(path.name for path in remote.cache_folder().glob("*/*"))


def test_only_the_scenes_that_are_asked_for_are_copied_and_once(store, monkeypatch):
    there = OccupancyStore.open(URL)
    assert there.path == URL and there.scenes("val") == SCENES and copies() == ["meta.json"]
    for _ in range(2):
        frame, same = (one.frame(SCENES[3], 1) for one in (pickle.loads(pickle.dumps(there)), store))
        assert np.array_equal(frame.flat, same.flat) and np.array_equal(frame.labels, same.labels)
    assert copies() == ["meta.json", f"{SCENES[3]}.occ"]
    assert there.summary() == store.summary() and len(copies()) == len(SCENES) + 1


def test_what_was_uploaded_anew_is_read_anew(store):
    def label() -> int:
        return int(OccupancyStore.open(URL).frame(SCENES[0], 0).labels[0])

    before = label()
    content = (store.path / f"{SCENES[0]}.occ").read_bytes()
    (store.path / f"{SCENES[0]}.occ").write_bytes(content[:-1])
    upload(store)
    with pytest.raises(InputError, match="truncated"):
        label()
    (store.path / f"{SCENES[0]}.occ").write_bytes(content)
    upload(store)
    assert label() == before


def test_what_cannot_be_read_is_one_line(store):
    fsspec.filesystem("memory").rm(f"/bucket/store/{SCENES[1]}.occ")
    with pytest.raises(InputError, match=f"memory://bucket/store/{SCENES[1]}.occ: no such file"):
        OccupancyStore.open(URL).frame(SCENES[1], 0)
    with pytest.raises(InputError, match="memory://elsewhere/meta.json: no such file"):
        OccupancyStore.open("memory://elsewhere")
    with pytest.raises(InputError, match="nothing://x/meta.json: cannot be read .*nothing"):
        OccupancyStore.open("nothing://x")
    assert not any(name.startswith(".") for name in copies())


def test_without_fsspec_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(InputError, match=r"occflow\[remote\]"):
        OccupancyStore.open(URL)


@pytest.mark.parametrize("place", ["s3://bucket/store", "s3:/bucket/store"])
def test_nothing_is_built_at_a_url(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="stores are built on a disk"):
        fill_store(make_scene, StoreLayout(GRID, None, "random", {"val": SCENES}), SCENES, place)
    assert list(tmp_path.iterdir()) == []
