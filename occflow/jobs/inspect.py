"""What is in an occupancy store, in figures."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from occflow.grid import CLASS_NAMES, NUM_CLASSES
from occflow.occupancy.storage.store import OccupancyStore


@dataclass(frozen=True)
class StoreFigures:
    """Figures of a store, over all of its frames; shares are nan where there is nothing to divide by.

    Args:
        scenes, frames: numbers of them.
        occupied_share: mean share of the grid's voxels that are occupied.
        observed_share: mean share that were observed; nan where no frame knows.
        causal_share: mean share that are occupied in causal frames; nan without them.
        class_shares: [17] share of each class among the occupied voxels.
        frame_bytes, causal_bytes: mean bytes on disk a frame, full and causal.
    """

    scenes: int
    frames: int
    occupied_share: float
    observed_share: float
    causal_share: float
    class_shares: np.ndarray
    frame_bytes: float
    causal_bytes: float


def inspect_store(store: OccupancyStore) -> StoreFigures:
    """Read every frame of a store and count.

    Raises:
        InputError: a broken file, so this also checks a whole store.
    """
    voxels, classes = store.grid.num_voxels, np.zeros(NUM_CLASSES, dtype=np.int64)
    observed, causal, sizes, causal_sizes = [], [], [], []
    for scene in store.scenes():
        file = store.scene_file(scene)
        sizes += file.frame_bytes()
        causal_sizes += file.frame_bytes(causal=True)
        for index in range(len(file)):
            frame = file.frame(index)
            classes += np.bincount(frame.labels, minlength=NUM_CLASSES)[:NUM_CLASSES]
            if frame.observed is not None:
                observed.append(float(frame.observed_mask(store.grid).mean()))
            if file.causal:
                causal.append(len(file.frame(index, causal=True).flat) / voxels)
    occupied = int(classes.sum())
    return StoreFigures(len(store.scenes()), len(sizes), _mean([occupied / (voxels * len(sizes))] if sizes else []),
                        _mean(observed), _mean(causal), classes / occupied if occupied else classes * np.nan,
                        _mean(sizes), _mean(causal_sizes))


def describe(store: OccupancyStore, figures: StoreFigures) -> str:
    """The figures as lines of text."""
    grid = store.grid
    splits = ", ".join(f"{split} {len(store.scenes(split))}" for split in store.splits())
    lines = [f"{store.path}: occupancy of {store.log}",
             f"grid       {' x '.join(map(str, grid.shape))} voxels of {grid.voxel_size_m} m, from {grid.origin_m} m",
             f"scenes     {figures.scenes} ({splits})",
             f"frames     {figures.frames}",
             f"occupied   {_percent(figures.occupied_share)} of the grid",
             f"observed   {_percent(figures.observed_share)} of the grid",
             f"causal     {_percent(figures.causal_share)} of the grid occupied, from the sweeps until the frame",
             f"size       {figures.frame_bytes / 1000:.1f} kB a frame"
             + ("" if np.isnan(figures.causal_bytes) else f", {figures.causal_bytes / 1000:.1f} kB a causal frame"),
             f"settings   {json.dumps(store.settings) if store.settings else 'made by others'}",
             *([f"left out   {', '.join(store.left_out)}: not readable"] if store.left_out else []),
             "classes    share of the occupied voxels"]
    present = [label for label in np.argsort(-figures.class_shares) if figures.class_shares[label] > 0]
    return "\n".join(lines + [f"  {CLASS_NAMES[label]:<22}{figures.class_shares[label]:8.3%}" for label in present])


def _mean(values: list) -> float:
    return float(np.mean(values)) if values else float("nan")


def _percent(share: float) -> str:
    return "not known" if np.isnan(share) else f"{share:.2%}"
