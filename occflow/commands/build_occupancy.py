"""Build the occupancy store (data.store) of a driving log (log.root), or import ready-made occupancy into one.

Goes on where an interrupted run stopped; a finished store of the same log and settings is left as it is.
With data.shard=i/n it builds one of n shares of the scenes; n machines that share a disk make one store.
Scenes that cannot be read are left out with a warning each; the exit status is then 3, and 2 where none can.
"""

from __future__ import annotations

READS = ("log", "data", "workers", "tasks")
SOME_LEFT_OUT = 3  # exit status: the store is finished, but lacks scenes of the log


def main(config: dict) -> None:
    import time
    from pathlib import Path

    from occflow.jobs.build import build_configured_store
    from occflow.occupancy.settings import configured_shard

    started_s = time.perf_counter()
    data, path = config["data"], Path(config["data"]["store"])
    store = build_configured_store(config, path, configured_shard(data))
    if store is None:
        print(f"{path}: shard {data['shard']} is done; the store is finished when all shards are")
        return
    summary = store.summary()
    print(f"{store.path}: {summary.scenes} scenes, {summary.frames} frames, {summary.occupied_share:.2%} occupied, "
          f"{summary.megabytes:.1f} MB, {time.perf_counter() - started_s:.1f} s")
    if store.left_out:
        print(f"left out {len(store.left_out)} scenes that cannot be read: {', '.join(store.left_out)}")
        raise SystemExit(SOME_LEFT_OUT)
