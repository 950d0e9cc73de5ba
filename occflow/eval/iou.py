"""Intersection over union from mergeable 64-bit counters, on sparse frames."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from occflow.grid import MOVABLE_CLASSES, NUM_CLASSES
from occflow.occupancy.frame import OccupancyFrame

BINARY, MOVABLE = NUM_CLASSES, NUM_CLASSES + 1  # columns after the classes: any occupied, any movable (GMO)
NUM_COLUMNS = NUM_CLASSES + 2
POSE_TOLERANCE_M = 1e-3


@dataclass
class IoUCounts:
    """Intersections and unions [F, NUM_COLUMNS] int64 for F horizon frames.

    Columns: the 17 classes, occupied against free, movable (any class of MOVABLE_CLASSES) against the rest.
    Counts are summed over windows, as the benchmark does, so that shards add up exactly.
    """

    num_horizon: int
    intersections: np.ndarray = field(init=False)
    unions: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.intersections = np.zeros((self.num_horizon, NUM_COLUMNS), dtype=np.int64)
        self.unions = np.zeros((self.num_horizon, NUM_COLUMNS), dtype=np.int64)

    def add(self, horizon_index: int, prediction: OccupancyFrame, truth: OccupancyFrame) -> None:
        """Count one frame.

        Raises:
            ValueError: the prediction lives in another grid than the truth.
        """
        refuse_other_grid_pose(prediction, truth)
        common, in_prediction, in_truth = np.intersect1d(prediction.flat, truth.flat, assume_unique=True,
                                                         return_indices=True)
        ours, theirs = prediction.labels[in_prediction], truth.labels[in_truth]
        both = np.zeros(NUM_COLUMNS, dtype=np.int64)
        both[:NUM_CLASSES] = np.bincount(ours[ours == theirs], minlength=NUM_CLASSES)
        both[BINARY] = len(common)
        both[MOVABLE] = np.count_nonzero(_movable(ours) & _movable(theirs))
        self.intersections[horizon_index] += both
        self.unions[horizon_index] += _totals(prediction.labels) + _totals(truth.labels) - both

    def merge(self, other: IoUCounts) -> None:
        """Add the counts of another shard.

        Raises:
            ValueError: the shard has another number of horizon frames.
        """
        if other.num_horizon != self.num_horizon:
            raise ValueError(f"counters of {other.num_horizon} horizon frames do not add to {self.num_horizon}")
        self.intersections += other.intersections
        self.unions += other.unions

    def _ratio(self) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.unions > 0, self.intersections / self.unions, np.nan)

    def iou(self) -> np.ndarray:
        """[F] IoU of occupied against free; nan where nothing was occupied."""
        return self._ratio()[:, BINARY]

    def class_iou(self) -> np.ndarray:
        """[F, 17] IoU a class; nan where the class is absent from prediction and truth."""
        return self._ratio()[:, :NUM_CLASSES]

    def miou(self, absent_counts_as_one: bool) -> np.ndarray:
        """[F] mean over the classes; an absent class counts as 1 (as released) or not at all."""
        classes = self.class_iou()
        return nan_mean(np.where(np.isnan(classes), 1.0, classes) if absent_counts_as_one else classes)

    def movable_iou(self) -> np.ndarray:
        """[F] IoU of movable against the rest (GMO of Cam4DOcc)."""
        return self._ratio()[:, MOVABLE]

    def movable_miou(self) -> np.ndarray:
        """[F] mean over the movable classes that occur."""
        return nan_mean(self.class_iou()[:, list(MOVABLE_CLASSES)])


def refuse_other_grid_pose(one: OccupancyFrame, other: OccupancyFrame) -> None:
    """Voxels are comparable in one and the same grid only.

    Raises:
        ValueError: the grid poses differ, or one of them is not finite.
    """
    difference = np.abs(one.world_from_grid - other.world_from_grid).max()
    if not difference <= POSE_TOLERANCE_M:  # so written, a nan is refused too
        raise ValueError("prediction and truth have different grid poses; forecast into the target's grid")


def nan_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without nans; nan where there is nothing else. [F, K] -> [F]."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(-1) / np.where(known.any(-1), known.sum(-1), np.nan)


def _movable(labels: np.ndarray) -> np.ndarray:
    return np.isin(labels, MOVABLE_CLASSES)


def _totals(labels: np.ndarray) -> np.ndarray:
    totals = np.zeros(NUM_COLUMNS, dtype=np.int64)
    totals[:NUM_CLASSES] = np.bincount(labels, minlength=NUM_CLASSES)
    totals[BINARY], totals[MOVABLE] = len(labels), np.count_nonzero(_movable(labels))
    return totals
