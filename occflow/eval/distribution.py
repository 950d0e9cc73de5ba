"""Forecasters as distributions: K samples a window, scored by the energy score (PROTOCOLS section 4)."""

from __future__ import annotations

import numpy as np
from tqdm import tqdm

from occflow.eval.ensemble import energy_score
from occflow.eval.evaluate import forecast_seed
from occflow.occupancy.forecast import Forecaster
from occflow.occupancy.store import OccupancyStore
from occflow.occupancy.windows import WindowKey, read_window


def evaluate_distributions(store: OccupancyStore, keys: list[WindowKey], history: int, horizon: int,
                           forecasters: list[Forecaster], samples: int, seed: int) -> dict:
    """Mean energy scores of `samples` forecasts a window, over all voxels and over movable ones.

    Returns:
        {"windows", "samples", "rows": [{"name", "distance", "diversity", "energy", "movable_distance",
        "movable_diversity", "movable_energy"}]}: means over the windows; distances are 1 - IoU of whole futures.
    """
    terms: dict[str, list[list[float]]] = {one.name: [] for one in forecasters}
    for number, key in enumerate(tqdm(keys, desc="ensembles", unit="window", dynamic_ncols=True)):
        window = read_window(store, key, history, horizon)
        for forecaster in forecasters:
            seeds = [forecast_seed(seed, number * samples + k) for k in range(samples)]
            futures = [forecast.frames for forecast in forecaster.samples(window, seeds)]
            scores = [energy_score(futures, window.horizon, movable_only) for movable_only in (False, True)]
            terms[forecaster.name].append([value for one in scores
                                           for value in (one.distance, one.diversity, one.score)])
    names = ("distance", "diversity", "energy", "movable_distance", "movable_diversity", "movable_energy")
    rows = [{"name": name, **dict(zip(names, (round(float(v), 6) for v in np.mean(values, axis=0))))}
            for name, values in terms.items()]
    return {"windows": len(keys), "samples": samples, "rows": rows}
