"""How fast scores are counted, and that memory does not grow with the number of windows."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from occflow.command_line import run
from occflow.eval.distribution import DistributionCounts
from occflow.eval.evaluate import ForecasterScores
from occflow.eval.protocols import PROTOCOLS
from occflow.eval.views import ViewScores
from occflow.forecasting.forecast import Forecast
from occflow.grid import NUM_CLASSES, OCC3D_GRID
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.windows import Window, WindowKey

GRID = OCC3D_GRID
OCCUPIED, AGREEING, FRAMES = 0.05, 0.8, 6  # shares of voxels and of those that a forecast has right; frames a window
SECONDS = 3.0  # that each measure is run for


def random_window(rng: np.random.Generator) -> tuple[Window, Forecast]:
    """A window and a forecast of it, as full as real frames are; every voxel observed."""
    truth, forecast = [], []
    for index in range(FRAMES):
        flat = np.sort(rng.choice(GRID.num_voxels, int(OCCUPIED * GRID.num_voxels), replace=False))
        labels = rng.integers(0, NUM_CLASSES, len(flat)).astype(np.uint8)
        kept = rng.random(len(flat)) < AGREEING
        wrong = np.setdiff1d(rng.choice(GRID.num_voxels, (~kept).sum(), replace=False), flat)
        ours = np.concatenate([flat[kept], wrong])
        order = np.argsort(ours)
        classes = np.concatenate([labels[kept], rng.integers(0, NUM_CLASSES, len(wrong)).astype(np.uint8)])
        seen = np.packbits(np.ones(GRID.num_voxels, dtype=bool))
        truth.append(OccupancyFrame(flat, labels, np.eye(4), 0.5 * index, observed=seen))
        forecast.append(OccupancyFrame(ours[order], classes[order], np.eye(4), 0.5 * index))
    return Window.of(WindowKey("s", 0), (truth[0],), tuple(truth)), Forecast(tuple(forecast))


def benchmark_scores() -> str:
    """A table: forecast frames a second of each measure on one core, and bytes that further windows leave behind."""
    rng = np.random.default_rng(0)
    made = [random_window(rng) for _ in range(4)]
    rows = [f"| {name} | {_rate(count, made):.0f} | {_left_behind(count, made)} |"
            for name, count in measures().items()]
    return "\n".join(["| measure | frames a second | bytes left by 20 more windows |", "|---|---|---|", *rows])


def measures() -> dict[str, Callable[[Window, Forecast], None]]:
    """What is timed, as functions that count one window."""
    scores, views = ForecasterScores("x", 0), ViewScores(GRID, PROTOCOLS["occworld-strict"], [1, 3, 5])
    ensemble = DistributionCounts(2)
    return {"IoU, all classes": scores.add, "views (two bands, observed)": lambda w, f: views.watch(w, {"x": f}),
            "ensemble of 2": lambda w, f: ensemble.add([f.frames] * 2, w.truth, GRID.num_voxels)}


def _rate(count: Callable[[Window, Forecast], None], made: list[tuple[Window, Forecast]]) -> float:
    count(*made[0])
    start, windows = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        count(*made[windows % len(made)])
        windows += 1
    return windows * FRAMES / (time.perf_counter() - start)


def _left_behind(count: Callable[[Window, Forecast], None], made: list[tuple[Window, Forecast]]) -> int:
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(20):
        count(*made[number % len(made)])
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return after - before


if __name__ == "__main__":
    run(lambda config: print(benchmark_scores()), __doc__)
