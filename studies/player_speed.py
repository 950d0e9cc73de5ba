"""How fast the player draws: python -m studies.player_speed [VOXELS]   (60000 unless told; needs a display)"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from occflow.command_line import run
from occflow.errors import InputError
from occflow.grid import CLASS_NAMES, OCC3D_GRID
from occflow.occupancy.frame import OccupancyFrame
from occflow.viewing.film import OCCUPANCY, Film
from occflow.viewing.headless import require_display
from occflow.viewing.player import WINDOW_PX, Window

GRID = OCC3D_GRID
INSTANTS = 6
REPEATS = 12


def benchmark_player(voxels: int) -> str:
    """A table: milliseconds of a new instant, of one that was seen before, of the same picture drawn anew.

    Raises:
        InputError: no display, or more voxels than the street has.
    """
    require_display()
    film = Film(GRID, "street", tuple(0.5 * index for index in range(INSTANTS)), INSTANTS - 1,
                {OCCUPANCY: tuple(street(voxels, index) for index in range(INSTANTS))})
    window = Window(lambda number: film, "chase", 0.5, Path("."))
    window.tick()
    rows = {"a new instant (mesh and picture)": [milliseconds(lambda: step(window, "right"))
                                                for _ in range(INSTANTS - 1)],
            "an instant seen before": [milliseconds(lambda: step(window, "left")) for _ in range(INSTANTS - 1)],
            "the same picture anew": [milliseconds(window.redraw) for _ in range(REPEATS)]}
    lines = [f"{voxels} voxels, a window of {WINDOW_PX[0]} x {WINDOW_PX[1]} px; medians", "",
             "| what | ms | a second |", "|---|---|---|"]
    for name, values in rows.items():
        lines.append(f"| {name} | {np.median(values):.0f} | {1000 / np.median(values):.1f} |")
    return "\n".join(lines)


def step(window: Window, key: str) -> None:
    window.press(key)
    window.tick()


def milliseconds(job: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    job()
    return 1000 * (time.perf_counter() - started_s)


def street(voxels: int, seed: int) -> OccupancyFrame:
    """A ground of one layer and, on it, columns of growing height until there are so many voxels.

    Raises:
        InputError: fewer than the ground has, or more than the grid.
    """
    size_x, size_y, size_z = GRID.shape
    ground = size_x * size_y
    if not ground <= voxels <= GRID.num_voxels // 2:
        raise InputError(f"between {ground} and {GRID.num_voxels // 2} voxels, not {voxels}")
    heights, rng = np.ones((size_x, size_y), dtype=int), np.random.default_rng(seed)
    while heights.sum() < voxels:  # houses of 5 x 5 columns
        x, y, tall = rng.integers(size_x - 5), rng.integers(size_y - 5), rng.integers(2, size_z)
        heights[x:x + 5, y:y + 5] = np.maximum(heights[x:x + 5, y:y + 5], tall)
    flat = np.flatnonzero(np.arange(size_z) < heights[:, :, None])[:voxels]
    height = flat % size_z
    labels = np.where(height == 0, CLASS_NAMES.index("driveable_surface"),
                      np.where(height < 4, CLASS_NAMES.index("car"), CLASS_NAMES.index("manmade")))
    return OccupancyFrame(flat, labels.astype(np.uint8), np.eye(4), 0.5 * seed)


if __name__ == "__main__":
    voxels = int(sys.argv.pop(1)) if sys.argv[1:2] and sys.argv[1].isdigit() else 60000
    run(lambda config: print(benchmark_player(voxels)), __doc__)
