"""Time what a forecast costs on this machine, stage by stage: forecast.checkpoint on windows of data.store.

In a checkout: sparse against dense, and how both grow (python -m studies.sparse_dense); beside networks of the shapes
that others have published (python -m studies.peers).
"""

from __future__ import annotations

READS = ("data", "perception", "forecast", "seed", "device", "workers")
WARM_UP, TIMED = 2, 20  # forecasts, each of another window: what has been encoded before costs nothing


def main(config: dict) -> None:
    from pathlib import Path

    import numpy as np

    from occflow.errors import InputError
    from occflow.forecasting.rows import load_any
    from occflow.jobs.sources import configured_device, prepare_torch
    from occflow.occupancy.storage.store import OccupancyStore
    from occflow.occupancy.windows import window_keys

    prepare_torch(config)
    device = configured_device(config)
    forecaster = load_any(Path(config["forecast"]["checkpoint"]), device)
    store, frames = OccupancyStore.open(config["data"]["store"]), forecaster.settings
    keys = window_keys(store, None, frames.num_history, frames.num_horizon)
    if len(keys) < WARM_UP + TIMED:
        raise InputError(f"{store.path}: has {len(keys)} windows, {WARM_UP + TIMED} are wanted; name a larger store")
    chosen = [keys[place] for place in np.linspace(0, len(keys) - 1, WARM_UP + TIMED).astype(int)]
    tasks = (store.task(key.scene, key.start + frames.num_history - 1, frames.num_history, frames.num_horizon)
             for key in chosen)
    times = [forecaster.samples(task, [config["seed"]])[0].ms for task in tasks][WARM_UP:]
    rows = {stage: [one[stage] for one in times] for stage in times[0]}
    rows["total"] = [sum(one.values()) for one in times]
    print(f"{forecaster.name} on {device}: milliseconds a forecast of {frames.num_horizon} frames, {TIMED} windows\n\n"
          "| stage | median | 95th percentile |\n|---|---|---|")
    for stage, spent in rows.items():
        print(f"| {stage} | {np.median(spent):.0f} | {np.percentile(spent, 95):.0f} |")
