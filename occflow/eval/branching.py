"""Samples against branching futures: several true futures of one present (PROTOCOLS section 4).

FOLDER/SCENE/TOKEN.npz, one of a keyframe; frame 0 is the present, all branches have the recorded grid poses:
`world_from_grid` [F + 1, 4, 4]; `static` [F + 1, X, Y, Z] uint8 classes; `mover_flat`, `mover_labels`: those of branch
m and frame f from `mover_starts`[m * (F + 1) + f] on, before `static`; `origin_m` [3], `voxel_size_m`; `format`.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from occflow.errors import InputError
from occflow.eval.distribution import sampled_futures
from occflow.eval.ensemble import NEAR, Future, Membership, set_scores
from occflow.eval.intervals import mean_row
from occflow.eval.numbers import MeanCounts
from occflow.eval.occupancy_quality import restricted
from occflow.eval.scene_counts import SceneCounts
from occflow.geometry import invert, transform
from occflow.grid import MOVABLE_CLASSES, VoxelGrid
from occflow.occupancy.forecast import Forecaster
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.windows import Window, WindowKey, WindowSource

FORMAT = 1
IS_MOVABLE = np.isin(np.arange(256), MOVABLE_CLASSES)  # by label
SCORES = ("coverage", "precision", "energy_distance", "nearest")
BUILT = ("built_coverage", "built_precision")
RECORDED = "recorded future"  # row: the store's own future as the only sample, what the way of building costs


@dataclass(frozen=True)
class BranchFile:
    """The futures of one keyframe: the grid that they are in, and the arrays of the file."""

    path: Path
    grid: VoxelGrid
    arrays: dict[str, np.ndarray]

    @property
    def num_frames(self) -> int:
        """Frames of a branch, the present among them."""
        return len(self.arrays["world_from_grid"])

    @property
    def num_branches(self) -> int:
        return (len(self.arrays["mover_starts"]) - 1) // self.num_frames

    def futures(self, window: Window, grid: VoxelGrid) -> list[Future]:
        """Movable voxels that agents fill in every branch at the window's horizon, in its grids.

        Raises:
            InputError: the branches have fewer frames than the horizon.
        """
        if self.num_frames <= len(window.horizon):
            raise InputError(f"{self.path}: {self.num_frames - 1} future frames, the horizon has "
                             f"{len(window.horizon)}; make branches anew with simulation.branch_frames=")
        return [tuple(self._frame(branch, index + 1, target, grid) for index, target in enumerate(window.horizon))
                for branch in range(self.num_branches)]

    def _frame(self, branch: int, index: int, target: OccupancyFrame, grid: VoxelGrid) -> OccupancyFrame:
        start, end = self.arrays["mover_starts"][branch * self.num_frames + index:][:2]
        flat, labels = self.arrays["mover_flat"][start:end], self.arrays["mover_labels"][start:end]
        flat, labels = flat[IS_MOVABLE[labels]], labels[IS_MOVABLE[labels]]
        voxels, kept = self._in_grid(flat, index, target, grid)
        return OccupancyFrame(voxels, labels[kept], target.world_from_grid, target.stamp_s)

    def standing(self, index: int, target: OccupancyFrame, grid: VoxelGrid) -> np.ndarray:
        """[V] bool: voxels of the target's grid that hold what is movable and is no agent, such as a parked car."""
        mask = np.zeros(grid.num_voxels, dtype=bool)
        mask[self._in_grid(np.flatnonzero(IS_MOVABLE[self.arrays["static"][index]]), index, target, grid)[0]] = True
        return mask

    def _in_grid(self, flat: np.ndarray, index: int, target: OccupancyFrame,
                 grid: VoxelGrid) -> tuple[np.ndarray, np.ndarray]:
        """Voxels [M] of the target's grid that hold a centre of ours, each once, and for each a place in `flat`."""
        target_from_ours = invert(target.world_from_grid) @ self.arrays["world_from_grid"][index]
        voxels, inside = grid.indices(transform(target_from_ours, self.grid.centres(self.grid.unflatten(flat))))
        found, first = np.unique(grid.flatten(voxels[inside]), return_index=True)
        return found, np.flatnonzero(inside)[first]


def read_branch_file(path: Path) -> BranchFile:
    """The branches of one keyframe.

    Raises:
        InputError: no such file, or one that holds no branches.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        if int(arrays["format"]) != FORMAT:
            raise ValueError(f"format {int(arrays['format'])}, not {FORMAT}")
        static, flat, labels, starts = map(arrays.__getitem__, ("static", "mover_flat", "mover_labels", "mover_starts"))
        file = BranchFile(path, VoxelGrid(arrays["origin_m"], static.shape[1:], arrays["voxel_size_m"]), arrays)
        whole = len(static) == file.num_frames and len(starts) == file.num_branches * file.num_frames + 1
        if not whole or starts[0] != 0 or not len(flat) == len(labels) == starts[-1] or (np.diff(starts) < 0).any():
            raise ValueError("its arrays do not agree in number")
        if len(flat) and not (0 <= flat.min() and flat.max() < file.grid.num_voxels):
            raise ValueError("voxels outside the grid")
        return file
    except (OSError, ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile, InputError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: no branches can be read ({reason}); run tools/branch_futures.py") from None


def branch_windows(source: WindowSource, folder: Path, keys: list[WindowKey]) -> dict[WindowKey, Path]:
    """The windows whose present has branching futures.

    Raises:
        InputError: none has.
    """
    frame, present = source.store.frame, source.history - 1
    found = {key: folder / key.scene / f"{frame(key.scene, key.start + present).token}.npz" for key in keys}
    found = {key: path for key, path in found.items() if path.is_file()}
    if not found:
        raise InputError(f"{folder}: no branching futures of these windows; run tools/branch_futures.py first")
    return found


def evaluate_branches(source: WindowSource, windows: dict[WindowKey, Path], forecasters: list[Forecaster],
                      samples: int, seed: int) -> dict:
    """K samples against the branching futures of each window, on voxels of movable classes.

    Branches are exact, a store is built from a LiDAR. So only what the recorded drive observed is compared, without
    what stands in every branch (parked cars); and "built_coverage" and "built_precision" allow for the rest, with
    the distance of the store's recorded future from branch 0, the same future, added to the limit.

    Returns:
        {"windows", "samples", "branches", "rows": [{"name", "coverage", "precision", "built_coverage",
        "built_precision", "energy_distance", "nearest", "intervals"}]}: means over the windows in which an agent
        occurs.
    """
    means, branches = {name: SceneCounts(MeanCounts) for name in (RECORDED, *(one.name for one in forecasters))}, 0
    grid = source.store.grid
    for key, path in tqdm(windows.items(), desc="branches", unit="window", dynamic_ncols=True):
        window, file = source.read(key), read_branch_file(path)
        masks = comparable(file, window, grid)
        futures = within(file.futures(window, grid), masks)
        branches = max(branches, len(futures))
        if not any(len(frame.flat) for future in futures for frame in future):
            continue
        recorded = within([window.horizon], masks) * 2
        gap = Membership.of([recorded[0], futures[0]], movable_only=True).distances()[0, 1]
        sets = {RECORDED: recorded, **{one.name: within(sampled_futures(one, window, samples, seed), masks)
                                       for one in forecasters}}
        for name, sampled in sets.items():
            scores, built = set_scores(sampled, futures), set_scores(sampled, futures, NEAR + gap)
            counts = means[name].of(key.scene)
            for score in SCORES:
                counts.add(score, getattr(scores, score))
            counts.add("built_coverage", built.coverage)
            counts.add("built_precision", built.precision)
    rows = [mean_row(name, one, (*SCORES, *BUILT), seed) for name, one in means.items()]
    return {"windows": len(windows), "samples": samples, "branches": branches, "rows": rows}


def comparable(file: BranchFile, window: Window, grid: VoxelGrid) -> list[np.ndarray]:
    """Masks [V] bool of each horizon frame: observed in the recorded drive, and nothing standing there."""
    return [target.observed_mask(grid).reshape(-1) & ~file.standing(index + 1, target, grid)
            for index, target in enumerate(window.horizon)]


def within(futures: list[Future], masks: list[np.ndarray]) -> list[Future]:
    return [tuple(restricted(frame, mask) for frame, mask in zip(future, masks)) for future in futures]
