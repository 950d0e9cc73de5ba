"""Build the occupancy store (data.store) of a driving log (log.root).

Goes on where an interrupted run stopped; a finished store of the same log and settings is left as it is.
With data.shard=i/n it builds one of n shares of the scenes; n machines that share a disk make one store.
"""

from __future__ import annotations

import time
from pathlib import Path

from occflow.command_line import run
from occflow.logs.open import open_log
from occflow.occupancy.build import build_store
from occflow.occupancy.settings import OccupancySettings, configured_grid, configured_shard


def main(config: dict) -> None:
    started_s = time.perf_counter()
    data, path = config["data"], Path(config["data"]["store"])
    grid, settings = configured_grid(data), OccupancySettings.from_dict(data.get("occupancy", {}))
    store = build_store(open_log(config["log"]), grid, settings, path, config["workers"], configured_shard(data))
    if store is None:
        print(f"{path}: shard {data['shard']} is done; the store is finished when all shards are")
        return
    summary = store.summary()
    print(f"{store.path}: {summary.scenes} scenes, {summary.frames} frames, {summary.occupied_share:.2%} occupied, "
          f"{summary.megabytes:.1f} MB, {time.perf_counter() - started_s:.1f} s")


if __name__ == "__main__":
    run(main, __doc__)
