"""Stores joined to one, so that trainings learn from the drives of several logs: other sensors, towns, simulators."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from occflow.atomic import atomic_folder
from occflow.errors import InputError
from occflow.occupancy.settings import OccupancySettings
from occflow.occupancy.storage.remote import refuse_url
from occflow.occupancy.storage.scene_file import copy_scene
from occflow.occupancy.storage.store import OccupancyStore, StoreLayout, finish_store, start_store


def join_stores(path: str | Path, parts: Sequence[str | Path]) -> OccupancyStore:
    """Write a store with all scenes of others, which stay as they are.

    Scene X of the first one is named 1.X, of the second one 2.X, ...; a split holds the scenes of the splits of that
    name. Where they were built in different ways, the new one does not say how it was.

    Args:
        path: folder of the new store; it must not be there.
        parts: folders or URLs of finished stores of one grid.

    Raises:
        InputError: no store, stores that do not fit together, a broken one, or a path that is taken.
    """
    refuse_url(path)
    path, stores = Path(path), [OccupancyStore.open(part) for part in parts]
    if not stores:
        raise InputError("no store is named that could be joined")
    if path.exists():
        raise InputError(f"{path}: is there already; name another folder")
    first, *others = stores
    for other in others:
        if other.grid != first.grid:
            raise InputError(f"{first.path} and {other.path}: of different grids, {first.grid.to_dict()} and "
                             f"{other.grid.to_dict()}; build them on one")
    splits: dict[str, list[str]] = {}
    for number, store in enumerate(stores, 1):
        for split in store.splits():
            splits.setdefault(split, []).extend(_named(number, scene) for scene in store.scenes(split))
    alike = first.settings is not None and all(other.settings == first.settings for other in others)
    layout = StoreLayout(first.grid, OccupancySettings.from_dict(first.settings) if alike else None,
                         " + ".join(store.log for store in stores), splits,
                         tuple(_named(number, scene) for number, store in enumerate(stores, 1)
                               for scene in store.left_out))
    with atomic_folder(path) as partial:
        start_store(partial, layout, [])
        finish_store(partial, layout, {
            _named(number, scene): copy_scene(store.scene_file(scene), partial, _named(number, scene))
            for number, store in enumerate(stores, 1) for scene in store.scenes()})
    return OccupancyStore.open(path)


def _named(number: int, scene: str) -> str:
    return f"{number}.{scene}"
