"""Samples against branching futures: several true futures of one present (docs/scores.md, "Ensembles").

FOLDER/SCENE/TOKEN.npz, one of a keyframe, as occflow.simulation.branches describes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.eval.counts import MeanCounts, SceneCounts, merge_rows
from occflow.eval.distribution import sampled_futures
from occflow.eval.ensemble import NEAR, Future, Membership, set_scores
from occflow.eval.evaluate import Progress, Reference, with_bar
from occflow.eval.intervals import mean_row
from occflow.forecasting.forecast import Forecaster
from occflow.geometry import invert, is_rigid, transform
from occflow.grid import IS_MOVABLE, NUM_CLASSES, VoxelGrid
from occflow.npz_file import FLOATING, UNSIGNED, WHOLE, open_npz
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.storage.prediction_file import window_file
from occflow.occupancy.tasks import Target
from occflow.occupancy.windows import WindowKey, WindowSource
from occflow.records import one_line

FORMAT = 1
KINDS = {"format": (WHOLE, ()), "world_from_grid": (FLOATING, (None, 4, 4)), "static": (UNSIGNED, (None,) * 4),
         "mover_flat": (WHOLE, (None,)), "mover_labels": (UNSIGNED, (None,)), "mover_starts": (WHOLE, (None,)),
         "origin_m": (FLOATING, (3,)), "voxel_size_m": (FLOATING, ())}
MOST_BYTES = 1 << 30  # of the arrays; 64 branches of 20 frames in a crowded street have some 60 MB
MAX_FRAMES, MAX_BRANCHES = 1000, 64  # of a branch, of a file
SCORES = ("coverage", "precision", "energy_distance", "nearest")
PARTING = tuple(f"parting_{score}" for score in SCORES)
TRUE = "true futures"  # row: the branches themselves as samples
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

    def futures(self, targets: tuple[Target, ...], grid: VoxelGrid) -> list[Future]:
        """Movable voxels that agents fill in every branch at the targets, in their grids.

        Raises:
            InputError: the branches have fewer frames than there are targets.
        """
        self._refuse_more_than_there_are(targets)
        return [tuple(self._frame(branch, index + 1, target, grid) for index, target in enumerate(targets))
                for branch in range(self.num_branches)]

    def exact(self, targets: tuple[Target, ...]) -> tuple[list[Future], Future]:
        """What agents fill in every branch at the instants of the targets, of whatever class, and what stands on the
        ground in all of them: in the grids and at the poses of the file, as fine as it is.

        Raises:
            InputError: as `futures`.
        """
        self._refuse_more_than_there_are(targets)
        poses, static = self.arrays["world_from_grid"], self.arrays["static"]
        placed = [(index, poses[index], target.stamp_s) for index, target in enumerate(targets, start=1)]
        movers = [tuple(OccupancyFrame(*self._movers(branch, index), pose, stamp_s) for index, pose, stamp_s in placed)
                  for branch in range(self.num_branches)]
        return movers, tuple(OccupancyFrame.from_dense(static[index], pose, stamp_s) for index, pose, stamp_s in placed)

    def _movers(self, branch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        start, end = self.arrays["mover_starts"][branch * self.num_frames + index:][:2]
        return self.arrays["mover_flat"][start:end], self.arrays["mover_labels"][start:end]

    def _refuse_more_than_there_are(self, targets: tuple[Target, ...]) -> None:
        if self.num_frames <= len(targets):
            raise InputError(f"{self.path}: {self.num_frames - 1} future frames, the horizon has "
                             f"{len(targets)}; make branches anew with simulation.branch_frames=")

    def _frame(self, branch: int, index: int, target: Target, grid: VoxelGrid) -> OccupancyFrame:
        flat, labels = self._movers(branch, index)
        flat, labels = flat[IS_MOVABLE[labels]], labels[IS_MOVABLE[labels]]
        voxels, kept = self._in_grid(flat, index, target, grid)
        return OccupancyFrame(voxels, labels[kept], target.world_from_grid, target.stamp_s)

    def _in_grid(self, flat: np.ndarray, index: int, target: Target,
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
        with open_npz(path, MOST_BYTES) as stored:
            arrays = {name: stored.read(name, *kind) for name, kind in KINDS.items()}
        arrays |= {name: arrays[name].astype(np.int64) for name in ("mover_flat", "mover_starts")}
        if int(arrays["format"]) != FORMAT:
            raise ValueError(f"format {int(arrays['format'])}, not {FORMAT}")
        file = BranchFile(path, VoxelGrid(arrays["origin_m"], arrays["static"].shape[1:], arrays["voxel_size_m"]),
                          arrays)
        _check(file)
        return file
    except (OSError, ValueError, InputError) as error:
        raise InputError(f"{path}: no branches can be read ({one_line(error)}); run branch_futures") from None


def _check(file: BranchFile) -> None:
    poses, static, flat, labels, starts = (file.arrays[name] for name in (
        "world_from_grid", "static", "mover_flat", "mover_labels", "mover_starts"))
    if not (1 <= len(poses) <= MAX_FRAMES and 1 <= file.num_branches <= MAX_BRANCHES):
        raise ValueError(f"{len(poses)} poses and {len(starts)} starts do not agree, or are of more than "
                         f"{MAX_BRANCHES} branches of {MAX_FRAMES} frames")
    whole = len(static) == len(poses) and len(starts) == file.num_branches * len(poses) + 1
    if not whole or starts[0] != 0 or not len(flat) == len(labels) == starts[-1] or (np.diff(starts) < 0).any():
        raise ValueError("its arrays do not agree in number")
    if len(flat) and not (0 <= flat.min() and flat.max() < file.grid.num_voxels and labels.max() < NUM_CLASSES):
        raise ValueError("voxels outside the grid, or of unknown classes")
    if not all(map(is_rigid, poses)):
        raise ValueError("a grid pose is not rigid")


def branch_windows(source: WindowSource, folder: Path, keys: list[WindowKey]) -> dict[WindowKey, Path]:
    """The windows whose present has branching futures.

    Raises:
        InputError: none has.
    """
    frame, present = source.store.frame, source.history - 1
    found = {key: window_file(folder, key.scene, frame(key.scene, key.start + present).token) for key in keys}
    found = {key: path for key, path in found.items() if path.is_file()}
    if not found:
        raise InputError(f"{folder}: no branching futures of these windows; run branch_futures first")
    return found


@dataclass
class BranchCounts:
    """What was counted of samples against branching futures, `rows` by name; mergeable. `seed` is that of the
    intervals."""

    samples: int
    seed: int
    windows: int = 0
    branches: int = 0
    rows: dict[str, SceneCounts[MeanCounts]] = field(
        default_factory=lambda: {TRUE: SceneCounts(MeanCounts), RECORDED: SceneCounts(MeanCounts)})

    def merge(self, other: BranchCounts) -> None:
        """Add the counts of other windows."""
        self.windows, self.branches = self.windows + other.windows, max(self.branches, other.branches)
        merge_rows(self.rows, other.rows)

    def report(self) -> dict:
        """{"windows", "samples", "branches", "rows": [{"name", "coverage", "precision", "energy_distance", "nearest",
        the same with "parting_", "intervals"}]}: means over the windows whose futures part."""
        return {"windows": self.windows, "samples": self.samples, "branches": self.branches,
                "rows": [mean_row(name, one, (*SCORES, *PARTING), self.seed) for name, one in self.rows.items()]}


def evaluate_branches(source: WindowSource, windows: Mapping[WindowKey, Path],
                      forecasters: Sequence[Forecaster | Reference], samples: int, seed: int) -> dict:
    """The report of `count_branches`."""
    return count_branches(source, windows, forecasters, samples, seed).report()


def count_branches(source: WindowSource, windows: Mapping[WindowKey, Path],
                   forecasters: Sequence[Forecaster | Reference], samples: int, seed: int,
                   progress: Progress = with_bar) -> BranchCounts:
    """K samples against the branching futures of each window: on all movable voxels, and where the futures part.

    Branches are exact, a store is built from a LiDAR: only what the recorded drive observed is compared. Where the
    futures part ("parting_..."), the limit of a match is enlarged by the distance of the store's recorded future from
    branch 0, which is the same future: what the way of building costs there.
    """
    grid, found = source.store.grid, BranchCounts(samples, seed)
    for key in progress(windows, "branches"):
        window = source.read(key)
        futures = read_branch_file(windows[key]).futures(window.task.targets, grid)
        observed = [frame.observed_mask(grid).reshape(-1) for frame in window.truth]
        futures = within(futures, observed)
        parting = parting_voxels(futures, grid)
        found.branches = max(found.branches, len(futures))
        if not any(mask.any() for mask in parting):
            continue
        found.windows += 1
        sampled = {TRUE: futures, RECORDED: [window.truth] * 2,
                   **{one.name: sampled_futures(one, window, samples, seed) for one in forecasters}}
        gap = jaccard(*within([window.truth, futures[0]], parting))
        for name, sets in sampled.items():
            counts = found.rows.setdefault(name, SceneCounts(MeanCounts)).of(key.scene)
            whole = set_scores(within(sets, observed), futures)
            parted = set_scores(within(sets, parting), within(futures, parting), NEAR + gap)
            for score in SCORES:
                counts.add(score, getattr(whole, score))
                counts.add(f"parting_{score}", getattr(parted, score))
    return found


def parting_voxels(futures: list[Future], grid: VoxelGrid) -> list[np.ndarray]:
    """Masks [V] bool of each frame: what is movable fills the voxel in some future and not in all."""
    masks = []
    for frames in zip(*futures):
        filled = np.zeros(grid.num_voxels, dtype=np.int64)
        for frame in frames:
            filled[frame.flat[IS_MOVABLE[frame.labels]]] += 1
        masks.append((filled > 0) & (filled < len(frames)))
    return masks


def jaccard(one: Future, other: Future) -> float:
    """Distance of two futures on movable voxels."""
    return float(Membership.of([one, other], movable_only=True).distances()[0, 1])


def within(futures: list[Future], masks: list[np.ndarray]) -> list[Future]:
    """Futures on the voxels of one mask [V] bool a frame."""
    return [tuple(frame.within(mask) for frame, mask in zip(future, masks)) for future in futures]
