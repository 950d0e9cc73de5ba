"""The job behind the command build_occupancy; it loads no network, so that its worker processes stay small."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from occflow.dask_tasks import DaskCluster
from occflow.errors import InputError
from occflow.logs.open import NO_LOG, open_log
from occflow.occupancy.building.build import build_store
from occflow.occupancy.readers.ready_made import import_store, is_ready_made, open_sequences
from occflow.occupancy.settings import OccupancySettings, configured_grid
from occflow.occupancy.storage.store import OccupancyStore
from occflow.worker_process import Workers


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
    data, workers = config["data"], task_workers(config, config["workers"])
    if config["log"]["kind"] == NO_LOG:
        return OccupancyStore.open(path)
    if is_ready_made(config["log"]):
        return import_store(open_sequences(config["log"]), path, workers, shard)
    grid, settings = configured_grid(data), OccupancySettings.from_dict(data.get("occupancy", {}))
    return build_store(open_log(config["log"]), grid, settings, path, workers, shard)


def task_workers(config: Mapping, number: int) -> Workers:
    """What makes the scenes of a store, or scores them: `number` processes, or the Dask cluster that group `tasks` asks
    for.

    Raises:
        InputError: a scheduler is named and Dask is not asked for.
    """
    tasks = config.get("tasks", {})
    scheduler, is_dask = tasks.get("scheduler"), tasks.get("engine") == "dask"
    if scheduler is not None and not is_dask:
        raise InputError(f"tasks.scheduler: {scheduler} is a Dask scheduler; ask for it with tasks.engine=dask")
    return DaskCluster(scheduler, number) if is_dask else number
