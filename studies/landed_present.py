"""What a present is worth that stands still, moved into later grids as whole voxels and as networks have learnt it.

    python -m studies.landed_present STORE SPLIT STRIDE SEEN pretrained/student.safetensors [--picture PATH]

The store, a split ("all": all scenes), every how many windows, what is seen (occupancy or lidar), checkpoints. IoU at
1, 2 and 3 s, percent, counted over all windows, without the voxels that something movable truly fills then; of
occupancy only where the present's grid reaches. The picture shows 3 s of the fourth window from above: the truth,
whole voxels, and the first checkpoint's one forecast and one sample; white to grey what is right, by height, blue what
is missed, red what is not there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from occflow.eval.protocols import horizon_frames
from occflow.eval.sections import table
from occflow.forecasting.rows import LoadedForecaster, load_any
from occflow.front_door import perceiver
from occflow.geometry import invert, transform
from occflow.grid import FREE, IS_MOVABLE, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.storage.store import OccupancyStore
from occflow.occupancy.warp import landings, warp
from occflow.occupancy.windows import Window, WindowSource

HISTORY, HORIZON, INTERVAL_S = 3, 6, 0.5
PICTURED = 3  # place of the pictured window
WHOLE = "whole voxels"
MISSED_RGB, WRONG_RGB = (0.2, 0.4, 1.0), (1.0, 0.3, 0.2)


def told(window: Window, truth: OccupancyFrame, grid: VoxelGrid, within: bool) -> np.ndarray:
    """[V] bool: the voxels of a later grid that count; `within`: only where the present's grid reaches."""
    counts = np.ones(grid.num_voxels, dtype=bool)
    counts[truth.flat[IS_MOVABLE[truth.labels]]] = False
    if within:
        source_from_target = invert(window.present.world_from_grid) @ truth.world_from_grid
        counts &= grid.indices(transform(source_from_target, grid.centres(grid.unflatten(np.arange(len(counts))))))[1]
    return counts


def main(store: Path, split: str, stride: int, seen: str, checkpoints: list[str], picture: Path | None) -> None:
    """Print the table, and draw."""
    opened = OccupancyStore.open(store)
    grid, source = opened.grid, WindowSource(opened, HISTORY, HORIZON, seen,
                                             perceive=perceiver() if seen == "lidar" else None)
    models = {path: load_any(Path(path)) for path in checkpoints}
    keys, totals = source.keys(None if split == "all" else split, stride), {}
    instants = horizon_frames(INTERVAL_S, HORIZON)
    for key in keys:
        window = source.read(key)
        poses = window.task.poses[list(instants)]
        moved = {WHOLE: landings(window.present, grid, poses)}
        with torch.inference_mode():
            moved |= {path: model.centre.model.landing.landings(window.history, grid, poses)
                      for path, model in models.items()}
        for place, index in enumerate(instants):
            truth = window.truth[index]
            true = truth.dense(grid).reshape(-1) != FREE
            counts = told(window, truth, grid, seen == "occupancy")
            for name, landed in moved.items():
                filled = landed[place].volume(grid).reshape(-1) != FREE
                total = totals.setdefault(name, np.zeros((len(instants), 2), dtype=np.int64))
                total[place] += (filled & true & counts).sum(), ((filled | true) & counts).sum()
    rows = [(name, " / ".join(f"{100 * both / max(1, either):.1f}" for both, either in total))
            for name, total in totals.items()]
    print(f"{len(keys)} windows", "", *table(("the present moved as", "IoU 1/2/3 s"), rows)[:-1], sep="\n")
    if picture:
        draw(source.read(keys[min(PICTURED, len(keys) - 1)]), grid, next(iter(models.values())), picture)


def draw(window: Window, grid: VoxelGrid, model: LoadedForecaster, path: Path) -> None:
    """The picture of a window's last frame."""
    from matplotlib import pyplot

    truth = window.truth[-1].dense(grid)
    shown = {"the truth after 3 s": truth,
             "stands still, whole voxels": warp(window.present, grid, window.task.poses[-1]).dense(grid),
             "the one forecast": model.forecast(window.task).frames[-1].dense(grid),
             "one sample": model.forecast(window.task, seed=1).frames[-1].dense(grid)}
    figure, panels = pyplot.subplots(1, len(shown), figsize=(5 * len(shown), 5.6), layout="constrained")
    for panel, (title, volume) in zip(panels, shown.items()):
        panel.imshow(np.rot90(compared(volume != FREE, truth != FREE)), interpolation="nearest")
        panel.set_title(title, fontsize=15)
        panel.axis("off")
    figure.savefig(path, dpi=55)
    pyplot.close(figure)


def compared(filled: np.ndarray, true: np.ndarray) -> np.ndarray:
    """[X, Y, 3] colours of columns [X, Y, Z] bool from above."""
    levels = filled.shape[2]
    height = (filled * np.arange(1, levels + 1)).max(axis=2) / levels
    image = np.repeat(height[:, :, None], 3, axis=2)
    missed, wrong = (true & ~filled).any(axis=2), (filled & ~true).any(axis=2)
    image[wrong], image[missed] = WRONG_RGB, MISSED_RGB
    return image


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("split")
    parser.add_argument("stride", type=int)
    parser.add_argument("seen", choices=("occupancy", "lidar"))
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument("--picture", type=Path)
    main(**vars(parser.parse_args()))
