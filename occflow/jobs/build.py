"""The job behind the command build_occupancy; it loads no network, so that its worker processes stay small."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from occflow.logs.open import open_log
from occflow.occupancy.building.build import build_store
from occflow.occupancy.readers.ready_made import import_store, is_ready_made, open_sequences
from occflow.occupancy.settings import OccupancySettings, configured_grid
from occflow.occupancy.storage.store import OccupancyStore


def build_configured_store(config: Mapping, path: Path, shard: tuple[int, int] = (0, 1)) -> OccupancyStore | None:
    """The occupancy of the configured log, built from its sweeps, or imported where it is ready-made occupancy.

    Args:
        path: folder of the store.
        shard: as in `fill_store`.

    Returns:
        the store; None where scenes of other shards are still missing.

    Raises:
        InputError: bad data or settings, or a folder that holds something else.
    """
    data, workers = config["data"], config["workers"]
    if config["log"]["kind"] == "store":
        return OccupancyStore.open(path)
    if is_ready_made(config["log"]):
        return import_store(open_sequences(config["log"]), path, workers, shard)
    grid, settings = configured_grid(data), OccupancySettings.from_dict(data.get("occupancy", {}))
    return build_store(open_log(config["log"]), grid, settings, path, workers, shard)
